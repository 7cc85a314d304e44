package io.github.mnv2.app

import android.content.Context
import android.graphics.Bitmap
import android.net.Uri
import io.github.mnv2.core.Benchmark
import io.github.mnv2.core.Manifest
import io.github.mnv2.core.ModelFiles
import io.github.mnv2.core.ModelRunner
import io.github.mnv2.core.Prediction
import io.github.mnv2.core.Predictor
import io.github.mnv2.core.SelfTest
import io.github.mnv2.core.SelfTestReport
import io.github.mnv2.core.Timing
import io.github.mnv2.core.VerifiedModel
import java.io.File
import java.util.concurrent.Executors

/** A photo that was looked at, drawn on. */
class Look(val picture: Bitmap, val prediction: Prediction, val manifest: Manifest)

/** How long the model takes: to load, the first time, and after warm-up. */
class Speed(
    val manifest: Manifest,
    val loadMs: Double,
    val firstMs: Double,
    val timing: Timing,
)

/** The model and all work with it: one thread runs it, so that it is never run twice at a time. */
class Session(private val context: Context) {
    private val worker = Executors.newSingleThreadExecutor()
    val opening = Job<Manifest>(worker)
    val looking = Job<Look>(worker)
    val testing = Job<SelfTestReport>(worker)
    val timing = Job<Speed>(worker)

    // Both are for the worker only. Loading that failed is tried again with the next work.
    private val model by lazy(LazyThreadSafetyMode.NONE) {
        VerifiedModel.open(
            ModelFiles { path -> context.assets.open("model/$path") },
            ModelContract.MANIFEST_SHA256,
            File(context.filesDir, "model"),
        )
    }
    private val runner by lazy(LazyThreadSafetyMode.NONE) { ModelRunner(model) }

    fun open() = opening.start {
        runner.let { model.manifest }
    }

    fun look(uri: Uri) = looking.start {
        val photo = readPhoto(context.contentResolver, uri)
        val prediction = Predictor(model.manifest, runner).look(photo)
        Look(Painter(model.manifest).paint(photo, prediction), prediction, model.manifest)
    }

    fun test() = testing.start { onProgress ->
        SelfTest(model, runner::run, ::decodePhoto).run(onProgress)
    }

    fun time() = timing.start { onProgress ->
        val side = model.manifest.preprocess.cropSize
        val input = FloatArray(3 * side * side)
        val (fresh, loadMs) = timed { ModelRunner(model) }
        fresh.use {
            val (_, firstMs) = timed { fresh.run(input) }
            val timing = Benchmark(WARM_UP, RUNS).time(onProgress) { fresh.run(input) }
            Speed(model.manifest, loadMs, firstMs, timing)
        }
    }

    private fun <T> timed(work: () -> T): Pair<T, Double> {
        val start = System.nanoTime()
        val result = work()
        return Pair(result, (System.nanoTime() - start) / NS_PER_MS)
    }

    private companion object {
        const val WARM_UP = 10
        const val RUNS = 100
        const val NS_PER_MS = 1e6
    }
}
