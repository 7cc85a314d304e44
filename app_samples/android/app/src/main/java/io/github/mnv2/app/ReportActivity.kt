package io.github.mnv2.app

import android.app.Activity
import android.os.Bundle
import android.widget.Button
import android.widget.TextView

/** A screen with a button that starts a long job, and what came of it. */
abstract class ReportActivity<T>(private val title: Int, private val explanation: Int) : Activity() {
    protected val words by lazy { Words(resources) }
    private lateinit var verdict: TextView
    private lateinit var details: TextView
    private lateinit var run: Button

    protected abstract val job: Job<T>

    protected abstract fun start()

    protected abstract fun progress(step: Int, total: Int): String

    protected abstract fun verdict(result: T): String

    protected abstract fun details(result: T): String

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.report)
        view<TextView>(R.id.title).setText(title)
        view<TextView>(R.id.explanation).setText(explanation)
        verdict = view(R.id.verdict)
        details = view(R.id.details)
        run = view(R.id.run)
        run.setOnClickListener { start() }
    }

    override fun onStart() {
        super.onStart()
        job.observe(::show)
    }

    override fun onStop() {
        job.observe(null)
        super.onStop()
    }

    private fun show(state: JobState<T>) {
        run.isEnabled = state !is JobState.Running
        verdict.text = when (state) {
            is JobState.Idle -> null
            is JobState.Running -> getString(R.string.running)
            is JobState.Failed -> getString(R.string.fail)
            is JobState.Done -> verdict(state.value)
        }
        details.text = when (state) {
            is JobState.Idle -> null
            is JobState.Running ->
                if (state.total == 0) null else progress(state.done + 1, state.total)
            is JobState.Failed -> words.error(state.error)
            is JobState.Done -> details(state.value)
        }
    }
}
