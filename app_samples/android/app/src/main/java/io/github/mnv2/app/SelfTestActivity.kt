package io.github.mnv2.app

import io.github.mnv2.core.SelfTestReport

/** Replays the golden images on this phone and says whether the model gives what was proved. */
class SelfTestActivity :
    ReportActivity<SelfTestReport>(R.string.self_test, R.string.self_test_explanation) {

    override val job get() = session.testing

    override fun start() = session.test()

    override fun progress(step: Int, total: Int): String =
        getString(R.string.image_of, step, total)

    override fun verdict(result: SelfTestReport): String =
        getString(if (result.passed) R.string.pass else R.string.fail)

    override fun details(result: SelfTestReport): String =
        result.outputs.joinToString("\n\n", transform = words::output)
}
