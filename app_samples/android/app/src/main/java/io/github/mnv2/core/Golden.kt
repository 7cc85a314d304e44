package io.github.mnv2.core

import org.json.JSONException
import org.json.JSONObject

/** The golden images and what one reference gives for them. */
class Golden(val images: List<GoldenImage>, private val outputs: Map<String, List<Expectation>>) {

    fun expectations(output: String): List<Expectation> =
        outputs[output] ?: throw ModelException("golden/expected.json has no $output")

    companion object {
        private const val EXPECTED = "expected.json"

        /** Raises ModelException for golden vectors that are missing, damaged or were changed. */
        fun read(model: VerifiedModel): Golden {
            val expected = model.files.read("golden/$EXPECTED")
            val reference = model.manifest.artifact.selfTest.reference
            val golden = try {
                parse(JSONObject(String(expected, Charsets.UTF_8)), reference)
            } catch (error: JSONException) {
                throw ModelException("golden/$EXPECTED is damaged (${error.message})", error)
            }
            val images = golden.images.associate { it.file to model.files.read("golden/${it.file}") }
            if (sha256(images + (EXPECTED to expected)) != model.manifest.goldenSha256) {
                throw ModelException.changed("golden")
            }
            return golden
        }

        private fun parse(json: JSONObject, reference: String): Golden {
            val images = json.getJSONArray("inputs").objects().map {
                GoldenImage(it.getString("name"), it.getString("file"))
            }
            val outputs =
                if (json.has("logits")) mapOf("logits" to logits(json, reference))
                else outputs(json, reference)
            if (outputs.values.any { it.size != images.size }) {
                throw ModelException("golden/expected.json has not one result for every image")
            }
            return Golden(images, outputs)
        }

        private fun logits(json: JSONObject, reference: String): List<Expectation> {
            val rows = json.getJSONObject("logits").getJSONArray(reference)
            return (0 until rows.length()).map {
                Expectation(sha256 = null, stride = 1, samples = rows.getJSONArray(it).doubles())
            }
        }

        private fun outputs(json: JSONObject, reference: String): Map<String, List<Expectation>> {
            val ofReference = json.getJSONObject("outputs").getJSONObject(reference)
            return ofReference.keys().asSequence().associateWith { name ->
                val output = ofReference.getJSONObject(name)
                val samples = output.getJSONArray("samples")
                output.getJSONArray("sha256").strings().mapIndexed { image, digest ->
                    Expectation(
                        digest,
                        output.getInt("stride"),
                        samples.getJSONArray(image).doubles(),
                    )
                }
            }
        }
    }
}

class GoldenImage(val name: String, val file: String)

/**
 * What one output must be for one image: every [stride]-th value from the first, and the digest of
 * all of them where [samples] are not all.
 */
class Expectation(val sha256: String?, val stride: Int, val samples: DoubleArray) {

    /** Whether [output] has all the values that are stored. */
    fun fits(output: Output): Boolean =
        samples.isNotEmpty() && (samples.size - 1) * stride < output.size &&
            (sha256 != null || samples.size == output.size)

    /** Whether [output] is this to the last bit, as far as [samples] or [sha256] tell. */
    fun isExactly(output: Output): Boolean =
        firstDifference(output) == null && (sha256 == null || sha256(output.bytes()) == sha256)

    /** Index of the first sampled value that differs in any bit. */
    fun firstDifference(output: Output): Int? =
        samples.indices
            .firstOrNull { samples[it].toRawBits() != output[it * stride].toRawBits() }
            ?.let { it * stride }
}
