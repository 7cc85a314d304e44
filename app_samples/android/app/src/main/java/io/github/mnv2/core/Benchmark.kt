package io.github.mnv2.core

/** How long runs took, in milliseconds. */
class Timing(runsMs: DoubleArray) {
    private val sorted = runsMs.sortedArray()
    val runs get() = sorted.size
    val fastestMs get() = sorted.first()
    val slowestMs get() = sorted.last()
    val meanMs get() = sorted.average()

    /** Interpolated between the two nearest runs. */
    fun percentileMs(percent: Double): Double {
        val place = percent / 100 * (sorted.size - 1)
        val below = place.toInt()
        val above = minOf(below + 1, sorted.size - 1)
        return sorted[below] + (sorted[above] - sorted[below]) * (place - below)
    }
}

/** Times [work] one run after the other, after [warmUp] runs that do not count. */
class Benchmark(
    private val warmUp: Int,
    private val runs: Int,
    private val clockNs: () -> Long = System::nanoTime,
) {
    fun time(onProgress: (done: Int, total: Int) -> Unit, work: () -> Unit): Timing {
        repeat(warmUp) { work() }
        val runsMs = DoubleArray(runs) { index ->
            onProgress(index, runs)
            val start = clockNs()
            work()
            (clockNs() - start) / NS_PER_MS
        }
        return Timing(runsMs)
    }

    private companion object {
        const val NS_PER_MS = 1e6
    }
}
