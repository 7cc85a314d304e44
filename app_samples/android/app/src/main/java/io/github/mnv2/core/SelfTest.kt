package io.github.mnv2.core

import kotlin.math.abs
import kotlin.math.log10
import kotlin.math.max
import kotlin.math.min

/** What the self-test found of one output over all golden images. */
sealed class Finding {
    abstract val passed: Boolean

    /** Every bit had to be the reference's. */
    class Exact(val equalImages: Int, val images: Int, val first: Difference?) : Finding() {
        override val passed get() = equalImages == images
    }

    /** The ratio of signal to noise had to be large; [worst] is the largest difference. */
    class Ratio(val db: Double, val neededDb: Double, val worst: Difference?) : Finding() {
        override val passed get() = db >= neededDb
    }

    /** So large a share of labels, or of detections, had to be equal. */
    class Agreement(val share: Double, val needed: Double, val first: Difference?) : Finding() {
        override val passed get() = share >= needed
    }
}

/** One value that is not what it should be; without an index it lies outside the stored sample. */
class Difference(val image: String, val index: Int?, val expected: Double, val actual: Double)

class OutputReport(val name: String, val finding: Finding)

class SelfTestReport(val images: Int, val outputs: List<OutputReport>) {
    val passed get() = outputs.all { it.finding.passed }
}

/** Replays the golden images and compares with the reference, by the rule the manifest states. */
class SelfTest(
    private val model: VerifiedModel,
    private val run: (FloatArray) -> List<Output>,
    private val decode: (ByteArray) -> PixelRows,
) {
    fun run(onProgress: (done: Int, total: Int) -> Unit = { _, _ -> }): SelfTestReport {
        val settings = model.manifest.artifact.selfTest
        val golden = Golden.read(model)
        val judges = settings.outputs.map { judge(it) }
        golden.images.forEachIndexed { index, image ->
            onProgress(index, golden.images.size)
            run(input(image)).zip(judges) { output, judge ->
                val expected = golden.expectations(output.name)[index]
                if (!expected.fits(output)) {
                    throw ModelException("golden/expected.json has other ${output.name} in mind")
                }
                judge.see(image.name, expected, output)
            }
        }
        val reports = settings.outputs.zip(judges) { output, judge ->
            OutputReport(output.name, judge.finding())
        }
        return SelfTestReport(golden.images.size, reports)
    }

    /** Golden images have the network's resolution already. */
    private fun input(image: GoldenImage): FloatArray {
        val contract = model.manifest.preprocess
        val pixels = decode(model.files.read("golden/${image.file}"))
        if (pixels.width != contract.cropSize || pixels.height != contract.cropSize) {
            throw ModelException("golden/${image.file} has not the network's resolution")
        }
        return contract.normalize(contract.toPixels(pixels))
    }
}

private fun judge(output: OutputTest): Judge = when {
    output.exact -> ExactJudge()
    output.minSqnrDb != null -> RatioJudge(output.minSqnrDb)
    output.minAgreement == null ->
        throw ModelException("model/manifest.json states no limit for ${output.name}")
    output.name == "detections" -> DetectionJudge(output.minAgreement)
    else -> EqualityJudge(output.minAgreement)
}

private interface Judge {
    fun see(image: String, expected: Expectation, actual: Output)

    fun finding(): Finding
}

private class ExactJudge : Judge {
    private var images = 0
    private var equal = 0
    private var first: Difference? = null

    override fun see(image: String, expected: Expectation, actual: Output) {
        images++
        if (expected.isExactly(actual)) equal++
        else if (first == null) first = difference(image, expected, actual)
    }

    override fun finding() = Finding.Exact(equal, images, first)
}

private class RatioJudge(private val neededDb: Double) : Judge {
    private var signal = 0.0
    private var noise = 0.0
    private var worst: Difference? = null
    private var largest = 0.0

    override fun see(image: String, expected: Expectation, actual: Output) {
        expected.samples.forEachIndexed { i, wanted ->
            val index = i * expected.stride
            val error = actual[index] - wanted
            signal += wanted * wanted
            noise += error * error
            if (error * error > largest) {
                largest = error * error
                worst = Difference(image, index, wanted, actual[index])
            }
        }
    }

    override fun finding(): Finding {
        val db = if (noise == 0.0) Double.POSITIVE_INFINITY else 10 * log10(signal / noise)
        return Finding.Ratio(db, neededDb, worst)
    }
}

private class EqualityJudge(private val needed: Double) : Judge {
    private var values = 0L
    private var equal = 0L
    private var first: Difference? = null

    override fun see(image: String, expected: Expectation, actual: Output) {
        values += expected.samples.size
        equal += expected.samples.indices.count {
            expected.samples[it] == actual[it * expected.stride]
        }
        if (first == null && expected.firstDifference(actual) != null) {
            first = difference(image, expected, actual)
        }
    }

    override fun finding() = Finding.Agreement(equal.toDouble() / values, needed, first)
}

/** Counts the detections that both have: of one class, about one score and nearly one box. */
private class DetectionJudge(private val needed: Double) : Judge {
    private var rows = 0
    private var shared = 0
    private var first: Difference? = null

    override fun see(image: String, expected: Expectation, actual: Output) {
        if (expected.stride != 1 || expected.samples.size != actual.size) {
            throw ModelException("golden/expected.json has not all rows of detections")
        }
        val wanted = detectionsOf(FloatArray(actual.size) { expected.samples[it].toFloat() })
        val found = detectionsOf(FloatArray(actual.size) { actual[it].toFloat() })
        val matches = matches(wanted, found)
        rows += wanted.size + found.size
        shared += 2 * matches
        if (first == null && 2 * matches < wanted.size + found.size) {
            first = difference(image, expected, actual)
        }
    }

    override fun finding() =
        Finding.Agreement(if (rows == 0) 1.0 else shared.toDouble() / rows, needed, first)

    /** Each row is taken once, by the one that overlaps it best. */
    private fun matches(wanted: List<Detection>, found: List<Detection>): Int {
        val free = found.toMutableList()
        return wanted.count { row ->
            val best = free
                .filter { it.index == row.index && abs(it.score - row.score) < SAME_SCORE }
                .maxByOrNull { overlap(row, it) }
            best != null && overlap(row, best) >= SAME_BOX && free.remove(best)
        }
    }

    /** Intersection over union; boxes without area overlap themselves. */
    private fun overlap(a: Detection, b: Detection): Double {
        if (a.x1 == b.x1 && a.y1 == b.y1 && a.x2 == b.x2 && a.y2 == b.y2) return 1.0
        val inner = area(max(a.x1, b.x1), max(a.y1, b.y1), min(a.x2, b.x2), min(a.y2, b.y2))
        val union = area(a.x1, a.y1, a.x2, a.y2) + area(b.x1, b.y1, b.x2, b.y2) - inner
        return if (union > 0) inner / union else 0.0
    }

    private fun area(x1: Float, y1: Float, x2: Float, y2: Float): Double =
        max(x2 - x1, 0f).toDouble() * max(y2 - y1, 0f)

    private companion object {
        const val SAME_BOX = 0.9
        const val SAME_SCORE = 0.02f
    }
}

private fun difference(image: String, expected: Expectation, actual: Output): Difference {
    val index = expected.firstDifference(actual)
        ?: return Difference(image, null, Double.NaN, Double.NaN)
    return Difference(image, index, expected.samples[index / expected.stride], actual[index])
}
