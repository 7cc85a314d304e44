package io.github.mnv2.core

import kotlin.math.max
import kotlin.math.min

/** How overlapping boxes are removed. */
class DetectionSettings(
    val candidates: Int,
    val iouThreshold: Float,
    val maxDetections: Int,
    val maxPerClass: Int,
    val scoreThreshold: Float,
)

/** A box in fractions of the network's input. */
class Detection(
    val x1: Float,
    val y1: Float,
    val x2: Float,
    val y2: Float,
    val score: Float,
    val index: Int, // of its class, from 1 on
) {
    companion object {
        const val SIDES = 4 // x1, y1, x2, y2
        const val COLUMNS = 6 // and score, class
    }
}

/** What is on the photo. */
class FoundObject(val index: Int, val score: Float, val box: Box)

/** The rows of a `detections` output (places, 6); a score of -1 says that a place is empty. */
fun detectionsOf(rows: FloatArray): List<Detection> =
    (rows.indices step Detection.COLUMNS)
        .filter { rows[it + 4] >= 0 }
        .map { i ->
            Detection(
                rows[i],
                rows[i + 1],
                rows[i + 2],
                rows[i + 3],
                rows[i + 4],
                rows[i + 5].toInt(),
            )
        }

/** Those that score [threshold] at least and have an area on the photo. */
fun objectsOf(found: List<Detection>, framing: Framing, threshold: Float): List<FoundObject> =
    found
        .filter { it.score >= threshold }
        .map { FoundObject(it.index, it.score, framing.toPhoto(it.x1, it.y1, it.x2, it.y2)) }
        .filter { it.box.hasArea }

/**
 * Greedy, class-aware non-maximum suppression in float32, as the exporter defines it: of `boxes`
 * (anchors, 4), corners, and `scores` (anchors, classes), the background first.
 */
class Suppression(private val settings: DetectionSettings, private val classes: Int) {

    /** Best first; of equal scores the lower anchor, then the lower class. */
    fun apply(boxes: FloatArray, scores: FloatArray): List<Detection> {
        val kept = ArrayList<Int>()
        val ofClass = HashMap<Int, MutableList<Int>>()
        for (pair in competitors(scores)) {
            if (kept.size == settings.maxDetections) break
            val rivals = ofClass.getOrPut(pair % classes) { ArrayList() }
            if (rivals.size == settings.maxPerClass) continue
            if (rivals.none { overlaps(boxes, pair / classes, it / classes) }) {
                rivals.add(pair)
                kept.add(pair)
            }
        }
        return kept.map { pair -> detection(boxes, scores, pair) }
    }

    /**
     * Positions in `scores` above the threshold, best first. Of more than the settings allow, those
     * that tie with the first one left out are left out as well, so that the order of equals, which
     * runtimes do not agree on, decides nothing.
     */
    private fun competitors(scores: FloatArray): List<Int> {
        val sorted = scores.indices
            .filter { it % classes > 0 && scores[it] > settings.scoreThreshold }
            .sortedByDescending { scores[it] } // stable
        if (sorted.size <= settings.candidates) return sorted
        val floor = scores[sorted[settings.candidates]]
        return sorted.takeWhile { scores[it] > floor }
    }

    private fun overlaps(boxes: FloatArray, a: Int, b: Int): Boolean {
        val i = a * Detection.SIDES
        val j = b * Detection.SIDES
        val width = max(min(boxes[i + 2], boxes[j + 2]) - max(boxes[i], boxes[j]), 0f)
        val height = max(min(boxes[i + 3], boxes[j + 3]) - max(boxes[i + 1], boxes[j + 1]), 0f)
        val inner = width * height
        val union = area(boxes, i) + area(boxes, j) - inner
        return inner > union * settings.iouThreshold
    }

    private fun area(boxes: FloatArray, i: Int): Float =
        max(boxes[i + 2] - boxes[i], 0f) * max(boxes[i + 3] - boxes[i + 1], 0f)

    private fun detection(boxes: FloatArray, scores: FloatArray, pair: Int): Detection {
        val i = pair / classes * Detection.SIDES
        return Detection(
            boxes[i],
            boxes[i + 1],
            boxes[i + 2],
            boxes[i + 3],
            scores[pair],
            pair % classes,
        )
    }
}
