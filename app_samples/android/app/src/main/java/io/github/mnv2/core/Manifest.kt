package io.github.mnv2.core

import org.json.JSONArray
import org.json.JSONException
import org.json.JSONObject

enum class Task { CLASSIFICATION, DETECTION, SEGMENTATION }

/** What an app needs of manifest.json; its fields are explained in the exporter's docs/manifest.md. */
class Manifest(
    val task: Task,
    val classes: Int,
    private val labels: List<String>,
    val preprocess: Preprocess,
    val detection: DetectionSettings?,
    val givesProbabilities: Boolean, // softmax is part of the artifact
    val artifact: Artifact,
    val goldenSha256: String, // of the folder golden/
) {
    /** The label of an output; index 0 of detectors and segmenters is the background. */
    fun label(index: Int): String = if (labels.isEmpty()) "class $index" else labels[index]

    companion object {
        private const val SCHEMA_VERSION = 1
        private const val LARGEST_SIDE = 1 shl 14 // px
        private val KNOWN_OUTPUTS = mapOf(
            Task.CLASSIFICATION to listOf(setOf("logits")),
            Task.DETECTION to listOf(setOf("scores", "boxes"), setOf("detections")),
            Task.SEGMENTATION to listOf(setOf("logits"), setOf("labels")),
        )

        /** Raises ModelException for what this app does not understand, rather than guess. */
        fun parse(text: String): Manifest =
            try {
                read(JSONObject(text))
            } catch (error: JSONException) {
                throw ModelException("model/manifest.json is damaged (${error.message})", error)
            }

        private fun read(json: JSONObject): Manifest {
            val version = json.getInt("schema_version")
            if (version != SCHEMA_VERSION) {
                throw ModelException(
                    "model/manifest.json has schema version $version; this app reads " +
                        "$SCHEMA_VERSION: make it anew with `mnv2-export sample`",
                )
            }
            val spec = json.getJSONObject("spec")
            val options = json.getJSONObject("options")
            val task = task(spec.getString("task"))
            val artifact = artifact(json.getJSONArray("artifacts"))
            refuseUnknown(task, options, artifact)
            return Manifest(
                task = task,
                classes = spec.getInt("classes"),
                labels = spec.getJSONArray("labels").strings(),
                preprocess = preprocess(
                    spec.getJSONObject("preprocess"),
                    json.getJSONObject("normalize"),
                ),
                detection = spec.optJSONObject("detection")?.let(::detection),
                givesProbabilities = options.getBoolean("softmax"),
                artifact = artifact,
                goldenSha256 = json.getString("golden_sha256"),
            ).also(::refuseInconsistent)
        }

        private fun refuseUnknown(task: Task, options: JSONObject, artifact: Artifact) {
            val io = options.getString("io")
            val batch = options.getInt("batch")
            if (io != "float32" || batch != 1) {
                throw ModelException(
                    "This app gives a model one float32 image, not $batch of $io: build it with " +
                        "--io float32 --batch 1",
                )
            }
            val outputs = artifact.selfTest.outputs.map { it.name }.toSet()
            if (outputs !in KNOWN_OUTPUTS.getValue(task)) {
                throw ModelException(
                    "This app does not understand a model for ${task.name.lowercase()} that " +
                        "gives ${outputs.joinToString()}: build it with the default --outputs",
                )
            }
        }

        /** What would end in an index that does not exist. */
        private fun refuseInconsistent(manifest: Manifest) {
            val contract = manifest.preprocess
            val what = when {
                manifest.classes < 1 -> "no classes"
                manifest.labels.size !in listOf(0, manifest.classes) ->
                    "${manifest.labels.size} labels for ${manifest.classes} classes"
                contract.cropSize < 1 || contract.resizeSize !in contract.cropSize..LARGEST_SIDE ->
                    "a crop of ${contract.cropSize} from ${contract.resizeSize} pixels"
                else -> manifest.artifact.selfTest.outputs
                    .find { !fits(it, manifest) }
                    ?.let { "${it.name} of shape ${it.shape.joinToString(" x ")}" }
            } ?: return
            throw ModelException("model/manifest.json states $what, which cannot be")
        }

        private fun fits(output: OutputTest, manifest: Manifest): Boolean {
            val shape = output.shape
            return when (output.name) {
                "detections" -> shape.size == 2 && shape[1] == Detection.COLUMNS
                "boxes" -> shape.size == 2 && shape[1] == Detection.SIDES
                "scores" -> shape.size == 2 && shape[1] == manifest.classes
                "labels" -> shape.size == 2
                else -> shape.size == (if (manifest.task == Task.SEGMENTATION) 3 else 1) &&
                    shape[0] == manifest.classes
            }
        }

        private fun task(name: String): Task =
            Task.values().find { it.name.lowercase() == name }
                ?: throw ModelException("This app does not know models for $name")

        private fun artifact(json: JSONArray): Artifact {
            val only = if (json.length() == 1) json.getJSONObject(0) else null
            if (only == null || only.getString("target") != "android") {
                throw ModelException(
                    "model/ must hold one artifact for android: run `mnv2-export sample` again",
                )
            }
            return Artifact(
                path = only.getString("path"),
                precision = only.getString("precision"),
                sha256 = only.getString("sha256"),
                selfTest = selfTest(only.getJSONObject("self_test")),
            )
        }

        private fun selfTest(json: JSONObject) = SelfTestSettings(
            reference = json.getString("reference"),
            outputs = json.getJSONArray("outputs").objects().map { output ->
                OutputTest(
                    name = output.getString("name"),
                    shape = output.getJSONArray("shape").ints(),
                    dtype = output.getString("dtype"),
                    exact = output.getBoolean("exact"),
                    minSqnrDb = output.optionalDouble("min_sqnr_db"),
                    minAgreement = output.optionalDouble("min_agreement"),
                )
            },
        )

        private fun preprocess(json: JSONObject, normalize: JSONObject): Preprocess {
            val order = json.getString("channel_order")
            if (order !in listOf("rgb", "bgr") || json.getString("layout") != "nchw") {
                throw ModelException("This app does not know channels in the order $order")
            }
            return Preprocess(
                stretch = known(json, "resize_rule", mapOf("shortest" to false, "stretch" to true)),
                resizeSize = json.getInt("resize_size"),
                filter = known(
                    json,
                    "resize_filter",
                    mapOf("bilinear" to Filter.BILINEAR, "bicubic" to Filter.BICUBIC),
                ),
                cropSize = json.getInt("crop_size"),
                bgr = order == "bgr",
                scale = perChannel(normalize, "scale"),
                bias = perChannel(normalize, "bias"),
            )
        }

        private fun perChannel(normalize: JSONObject, key: String): FloatArray =
            normalize.getJSONArray(key).floats().also {
                if (it.size != RgbImage.CHANNELS) {
                    throw ModelException("model/manifest.json has a $key of ${it.size} channels")
                }
            }

        private fun <T> known(json: JSONObject, key: String, values: Map<String, T>): T {
            val given = json.getString(key)
            return values[given] ?: throw ModelException("This app does not know the $key $given")
        }

        private fun detection(json: JSONObject) = DetectionSettings(
            candidates = json.getInt("candidates"),
            iouThreshold = json.getDouble("iou_threshold").toFloat(),
            maxDetections = json.getInt("max_detections"),
            maxPerClass = json.getInt("max_per_class"),
            scoreThreshold = json.getDouble("score_threshold").toFloat(),
        )
    }
}

/** The one .pte of the app. */
class Artifact(
    val path: String,
    val precision: String,
    val sha256: String,
    val selfTest: SelfTestSettings,
)

/** What the artifact must give for the golden images. */
class SelfTestSettings(val reference: String, val outputs: List<OutputTest>)

/** One output, in the artifact's order; [shape] is that of one image's result. */
class OutputTest(
    val name: String,
    val shape: IntArray,
    val dtype: String,
    val exact: Boolean,
    val minSqnrDb: Double?,
    val minAgreement: Double?,
)
