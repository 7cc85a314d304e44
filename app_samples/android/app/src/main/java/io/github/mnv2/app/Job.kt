package io.github.mnv2.app

import android.os.Handler
import android.os.Looper
import io.github.mnv2.core.ModelException
import io.github.mnv2.core.PhotoException
import java.util.concurrent.Executor

/** Where a piece of work stands. */
sealed class JobState<out T> {
    object Idle : JobState<Nothing>()

    class Running(val done: Int, val total: Int) : JobState<Nothing>()

    class Done<T>(val value: T) : JobState<T>()

    class Failed(val error: Exception) : JobState<Nothing>()
}

/**
 * Work off the main thread whose state outlives the activity that shows it: it belongs to the
 * application, and an activity that was turned observes it again. Call it from the main thread.
 */
class Job<T>(private val worker: Executor) {
    private val main = Handler(Looper.getMainLooper())
    private var state: JobState<T> = JobState.Idle
    private var observer: ((JobState<T>) -> Unit)? = null
    private var newest = 0

    /** Tells the present state at once and every later one, until another observer or null. */
    fun observe(observer: ((JobState<T>) -> Unit)?) {
        this.observer = observer
        observer?.invoke(state)
    }

    /** Starts anew; what an earlier start still brings is dropped. */
    fun start(work: (onProgress: (done: Int, total: Int) -> Unit) -> T) {
        val run = ++newest
        fun post(state: JobState<T>) = main.post { if (run == newest) become(state) }
        become(JobState.Running(0, 0))
        worker.execute {
            post(outcome { work { done, total -> post(JobState.Running(done, total)) } })
        }
    }

    private fun become(state: JobState<T>) {
        this.state = state
        observer?.invoke(state)
    }

    private fun outcome(work: () -> T): JobState<T> =
        try {
            JobState.Done(work())
        } catch (error: ModelException) {
            JobState.Failed(error)
        } catch (error: PhotoException) {
            JobState.Failed(error)
        } catch (error: OutOfMemoryError) {
            JobState.Failed(PhotoException(PhotoException.Reason.TOO_LARGE, error))
        }
}
