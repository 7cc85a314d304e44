package io.github.mnv2.core

/** What a model says of one photo. */
sealed class Prediction {
    class Classes(val guesses: List<Guess>) : Prediction()

    class Objects(val objects: List<FoundObject>) : Prediction()

    class Regions(val regions: List<Region>, val labels: LabelMap) : Prediction()
}

/** Looks at photos with one model. */
class Predictor(private val manifest: Manifest, private val runner: ModelRunner) {

    fun look(photo: PixelRows): Prediction {
        val contract = manifest.preprocess
        val outputs = runner.run(contract.normalize(contract.toPixels(photo)))
        return interpret(outputs, Framing(photo.width, photo.height, contract))
    }

    private fun interpret(outputs: List<Output>, framing: Framing): Prediction {
        val byName = outputs.associateBy { it.name }
        return when (manifest.task) {
            Task.CLASSIFICATION -> Prediction.Classes(
                classify(floats(byName, "logits").values, manifest.givesProbabilities, TOP),
            )
            Task.DETECTION -> Prediction.Objects(
                objectsOf(detections(byName), framing, THRESHOLD),
            )
            Task.SEGMENTATION -> labels(byName).let { Prediction.Regions(regionsOf(it), it) }
        }
    }

    private fun detections(outputs: Map<String, Output>): List<Detection> {
        if ("detections" in outputs) {
            return detectionsOf(floats(outputs, "detections").values)
                .onEach { if (it.index !in 1 until manifest.classes) throw unknownClass() }
        }
        val settings = manifest.detection
            ?: throw ModelException("model/manifest.json has no settings for detection")
        return Suppression(settings, manifest.classes)
            .apply(floats(outputs, "boxes").values, floats(outputs, "scores").values)
    }

    private fun labels(outputs: Map<String, Output>): LabelMap {
        val labels = outputs["labels"]
        if (labels is ByteOutput) {
            if (labels.values.any { it.toInt() and 0xFF >= manifest.classes }) throw unknownClass()
            return LabelMap(labels.shape[1], labels.shape[0], labels.values)
        }
        val logits = floats(outputs, "logits")
        val (classes, height, width) = logits.shape
        return argmax(logits.values, classes, height, width)
    }

    private fun floats(outputs: Map<String, Output>, name: String): FloatOutput =
        outputs[name] as? FloatOutput
            ?: throw ModelException("model/manifest.json states no float32 output $name")

    private fun unknownClass() = ModelException("The model gave a class that it does not have")

    private companion object {
        const val TOP = 5
        const val THRESHOLD = 0.4f
    }
}
