package io.github.mnv2.app

import android.os.Build

/** How fast the model runs on this phone. */
class BenchmarkActivity :
    ReportActivity<Speed>(R.string.benchmark, R.string.benchmark_explanation) {

    override val job get() = session.timing

    override fun start() = session.time()

    override fun progress(step: Int, total: Int): String = getString(R.string.run_of, step, total)

    override fun verdict(result: Speed): String =
        getString(R.string.milliseconds, result.timing.percentileMs(MEDIAN))

    override fun details(result: Speed): String = getString(
        R.string.speed,
        Build.MODEL,
        result.manifest.artifact.path,
        result.loadMs,
        result.firstMs,
        result.timing.runs,
        result.timing.fastestMs,
        result.timing.percentileMs(MEDIAN),
        result.timing.percentileMs(SLOW),
        result.timing.slowestMs,
        result.timing.meanMs,
    )

    private companion object {
        const val MEDIAN = 50.0
        const val SLOW = 90.0
    }
}
