package io.github.mnv2.core

/** The class of every pixel, one byte each, row by row. */
class LabelMap(val width: Int, val height: Int, val values: ByteArray)

/** The pixels of one class; index 0 is the background. */
class Region(val index: Int, val share: Double)

/** The likeliest class of every pixel of `logits` (classes, height, width), the first of equals. */
fun argmax(logits: FloatArray, classes: Int, height: Int, width: Int): LabelMap {
    val plane = height * width
    val labels = ByteArray(plane)
    val best = logits.copyOf(plane)
    for (category in 1 until classes) {
        for (i in 0 until plane) {
            val value = logits[category * plane + i]
            if (value > best[i]) {
                best[i] = value
                labels[i] = category.toByte()
            }
        }
    }
    return LabelMap(width, height, labels)
}

/** The classes that are there: the background first, then the largest. */
fun regionsOf(labels: LabelMap): List<Region> {
    val counts = IntArray(256)
    for (label in labels.values) counts[label.toInt() and 0xFF]++
    return counts.indices
        .filter { counts[it] > 0 }
        .sortedWith(compareBy({ it > 0 }, { -counts[it] }, { it }))
        .map { Region(it, counts[it].toDouble() / labels.values.size) }
}
