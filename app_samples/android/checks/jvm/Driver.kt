/** Runs the app's core on the host's JVM: one JSON request per line in, one answer per line out. */

package checks

import io.github.mnv2.core.Benchmark
import io.github.mnv2.core.DetectionSettings
import io.github.mnv2.core.Difference
import io.github.mnv2.core.Filter
import io.github.mnv2.core.Finding
import io.github.mnv2.core.Framing
import io.github.mnv2.core.LabelMap
import io.github.mnv2.core.ModelException
import io.github.mnv2.core.ModelFiles
import io.github.mnv2.core.ModelRunner
import io.github.mnv2.core.Output
import io.github.mnv2.core.PhotoException
import io.github.mnv2.core.PixelRows
import io.github.mnv2.core.Prediction
import io.github.mnv2.core.Predictor
import io.github.mnv2.core.Preprocess
import io.github.mnv2.core.RgbImage
import io.github.mnv2.core.SelfTest
import io.github.mnv2.core.SelfTestReport
import io.github.mnv2.core.StoredPixels
import io.github.mnv2.core.Suppression
import io.github.mnv2.core.VerifiedModel
import io.github.mnv2.core.argmax
import io.github.mnv2.core.classify
import io.github.mnv2.core.exifOrientation
import io.github.mnv2.core.regionsOf
import java.io.ByteArrayInputStream
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder
import javax.imageio.ImageIO
import org.json.JSONArray
import org.json.JSONObject

fun main() {
    val commands = mapOf<String, (JSONObject) -> JSONObject>(
        "self_test" to ::selfTest,
        "predict" to ::predict,
        "prepare" to ::prepare,
        "upright" to ::upright,
        "suppress" to ::suppress,
        "segment" to ::segment,
        "classify" to ::classes,
        "boxes" to ::boxes,
        "time" to ::time,
    )
    generateSequence(::readLine).forEach { line ->
        val request = JSONObject(line)
        val answer = try {
            commands.getValue(request.getString("do"))(request)
        } catch (error: ModelException) {
            JSONObject().put("error", error.message)
        } catch (error: PhotoException) {
            JSONObject().put("error", error.reason.name)
        }
        println(answer)
    }
}

private fun open(request: JSONObject): VerifiedModel {
    val folder = File(request.getString("model"))
    return VerifiedModel.open(
        ModelFiles { File(folder, it).inputStream() },
        request.getString("pin"),
        File(request.getString("unpacked")),
    )
}

/** Also writes every output of every image to `dump`, one file each. */
private fun selfTest(request: JSONObject): JSONObject {
    val model = open(request)
    val dump = File(request.getString("dump"))
    dump.mkdirs()
    ModelRunner(model).use { runner ->
        var image = 0
        val run = { input: FloatArray ->
            runner.run(input).also { outputs -> write(outputs, dump, image++) }
        }
        return answer(SelfTest(model, run, ::decode).run())
    }
}

private fun write(outputs: List<Output>, folder: File, image: Int) =
    outputs.forEach { File(folder, "$image-${it.name}").writeBytes(it.bytes()) }

private fun answer(report: SelfTestReport): JSONObject {
    val outputs = report.outputs.map { output ->
        val json = JSONObject().put("name", output.name).put("passed", output.finding.passed)
        when (val finding = output.finding) {
            is Finding.Exact -> json.put("equal", finding.equalImages).put("of", finding.images)
                .put("difference", answer(finding.first))
            is Finding.Ratio -> json.put("db", if (finding.db.isInfinite()) "equal" else finding.db)
                .put("needed", finding.neededDb).put("difference", answer(finding.worst))
            is Finding.Agreement -> json.put("share", finding.share).put("needed", finding.needed)
                .put("difference", answer(finding.first))
        }
    }
    return JSONObject().put("passed", report.passed).put("images", report.images)
        .put("outputs", JSONArray(outputs))
}

private fun answer(difference: Difference?): Any {
    if (difference == null) return JSONObject.NULL
    val json = JSONObject().put("image", difference.image)
    val index = difference.index ?: return json.put("index", JSONObject.NULL)
    return json.put("index", index).put("expected", difference.expected)
        .put("actual", difference.actual)
}

private fun predict(request: JSONObject): JSONObject {
    val model = open(request)
    ModelRunner(model).use { runner ->
        val found = Predictor(model.manifest, runner).look(rgb(request))
        val rows = when (found) {
            is Prediction.Classes ->
                found.guesses.map { listOf(model.manifest.label(it.index), it.probability) }
            is Prediction.Objects -> found.objects.map {
                val (label, box) = Pair(model.manifest.label(it.index), it.box)
                listOf(label, it.score, box.left, box.top, box.right, box.bottom)
            }
            is Prediction.Regions ->
                found.regions.map { listOf(model.manifest.label(it.index), it.share) }
        }
        return JSONObject().put("rows", JSONArray(rows.map { JSONArray(it) }))
    }
}

/** The pixels that the network sees, and its input, to files. */
private fun prepare(request: JSONObject): JSONObject {
    val contract = contract(request)
    val pixels = contract.toPixels(rgb(request))
    File(request.getString("pixels")).writeBytes(pixels.bytes)
    File(request.getString("input")).writeBytes(bytes(contract.normalize(pixels)))
    return JSONObject()
}

/** A file's EXIF orientation applied to its pixels as they are stored. */
private fun upright(request: JSONObject): JSONObject {
    val (width, height) = Pair(request.getInt("width"), request.getInt("height"))
    val stored = StoredPixels(
        width,
        height,
        request.getInt("stride"),
        File(request.getString("rgba")).readBytes(),
        exifOrientation(File(request.getString("file")).readBytes()),
    )
    File(request.getString("out")).writeBytes(all(stored))
    return JSONObject().put("width", stored.width).put("height", stored.height)
}

private fun suppress(request: JSONObject): JSONObject {
    val settings = DetectionSettings(
        candidates = request.getInt("candidates"),
        iouThreshold = request.getDouble("iou_threshold").toFloat(),
        maxDetections = request.getInt("max_detections"),
        maxPerClass = request.getInt("max_per_class"),
        scoreThreshold = request.getDouble("score_threshold").toFloat(),
    )
    val boxes = floats(request.getString("boxes"))
    val found = Suppression(settings, request.getInt("classes"))
        .apply(boxes, floats(request.getString("scores")))
    val rows = found.map { JSONArray(listOf(it.x1, it.y1, it.x2, it.y2, it.score, it.index)) }
    return JSONObject().put("rows", JSONArray(rows))
}

/** Logits to labels and regions, and the labels on the photo. */
private fun segment(request: JSONObject): JSONObject {
    val side = request.getInt("side")
    val classes = request.getInt("classes")
    val labels = argmax(floats(request.getString("logits")), classes, side, side)
    File(request.getString("labels")).writeBytes(labels.values)
    val shown = shown(request, labels)
    File(request.getString("shown")).writeBytes(shown.values)
    val rows = regionsOf(labels).map { JSONArray(listOf(it.index, it.share)) }
    return JSONObject().put("rows", JSONArray(rows))
}

private fun shown(request: JSONObject, labels: LabelMap): LabelMap =
    framing(request).labelsToPhoto(labels)

private fun classes(request: JSONObject): JSONObject {
    val found = classify(
        floats(request.getString("logits")),
        request.getBoolean("probabilities"),
        request.getInt("top"),
    )
    val rows = found.map { JSONArray(listOf(it.index, it.probability)) }
    return JSONObject().put("rows", JSONArray(rows))
}

private fun boxes(request: JSONObject): JSONObject {
    val framing = framing(request)
    val rows = floats(request.getString("boxes")).toList().chunked(4).map { (x1, y1, x2, y2) ->
        val box = framing.toPhoto(x1, y1, x2, y2)
        JSONArray(listOf(box.left, box.top, box.right, box.bottom))
    }
    return JSONObject().put("rows", JSONArray(rows))
}

/** A benchmark by a clock whose intervals are given. */
private fun time(request: JSONObject): JSONObject {
    val intervals = request.getJSONArray("ns")
    var now = 0L
    var run = -request.getInt("warm_up")
    val benchmark = Benchmark(-run, intervals.length()) { now }
    val timing = benchmark.time({ _, _ -> }) {
        now += if (run < 0) 1_000_000_000L else intervals.getLong(run)
        run++
    }
    return JSONObject().put("runs", timing.runs).put("mean", timing.meanMs)
        .put("fastest", timing.fastestMs).put("slowest", timing.slowestMs)
        .put("p50", timing.percentileMs(50.0)).put("p90", timing.percentileMs(90.0))
}

private fun contract(request: JSONObject): Preprocess {
    val json = request.getJSONObject("contract")
    return Preprocess(
        stretch = json.getString("resize_rule") == "stretch",
        resizeSize = json.getInt("resize_size"),
        filter = Filter.valueOf(json.getString("resize_filter").uppercase()),
        cropSize = json.getInt("crop_size"),
        bgr = json.getString("channel_order") == "bgr",
        scale = FloatArray(3) { json.getJSONArray("scale").getDouble(it).toFloat() },
        bias = FloatArray(3) { json.getJSONArray("bias").getDouble(it).toFloat() },
    )
}

private fun framing(request: JSONObject) =
    Framing(request.getInt("width"), request.getInt("height"), contract(request))

private fun rgb(request: JSONObject) = RgbImage(
    request.getInt("width"),
    request.getInt("height"),
    File(request.getString("rgb")).readBytes(),
)

private fun all(image: PixelRows): ByteArray {
    val bytes = ByteArray(image.width * image.height * RgbImage.CHANNELS)
    val row = ByteArray(image.width * RgbImage.CHANNELS)
    for (y in 0 until image.height) {
        image.readRow(y, row)
        row.copyInto(bytes, y * row.size)
    }
    return bytes
}

/** What BitmapFactory is in the app. */
private fun decode(file: ByteArray): PixelRows {
    val image = ImageIO.read(ByteArrayInputStream(file))
    val argb = image.getRGB(0, 0, image.width, image.height, null, 0, image.width)
    val bytes = argb.flatMap { listOf(it shr 16, it shr 8, it) }.map { it.toByte() }
    return RgbImage(image.width, image.height, bytes.toByteArray())
}

private fun floats(path: String): FloatArray {
    val buffer = ByteBuffer.wrap(File(path).readBytes()).order(ByteOrder.LITTLE_ENDIAN)
    return FloatArray(buffer.capacity() / Float.SIZE_BYTES).also { buffer.asFloatBuffer().get(it) }
}

private fun bytes(values: FloatArray): ByteArray {
    val buffer = ByteBuffer.allocate(values.size * Float.SIZE_BYTES).order(ByteOrder.LITTLE_ENDIAN)
    buffer.asFloatBuffer().put(values)
    return buffer.array()
}
