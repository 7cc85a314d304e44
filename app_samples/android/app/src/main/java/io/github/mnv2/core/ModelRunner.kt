package io.github.mnv2.core

import java.io.Closeable
import org.pytorch.executorch.DType
import org.pytorch.executorch.EValue
import org.pytorch.executorch.Module
import org.pytorch.executorch.Tensor

/** A verified model in ExecuTorch. Use it from one thread; raises ModelException when refused. */
class ModelRunner(model: VerifiedModel) : Closeable {
    private val outputs = model.manifest.artifact.selfTest.outputs
    private val side = model.manifest.preprocess.cropSize.toLong()
    private val module = guarded("load the model") {
        Module.load(model.artifact.path, Module.LOAD_MODE_MMAP).also { it.loadMethod(FORWARD) }
    }

    /** All outputs for float32 (3, side, side), in the artifact's order. */
    fun run(input: FloatArray): List<Output> {
        val results = guarded("run the model") {
            val tensor = Tensor.fromBlob(input, longArrayOf(1, 3, side, side))
            module.forward(EValue.from(tensor)).map { it.toTensor() }
        }
        if (results.size != outputs.size) throw unexpected("${results.size} results")
        return outputs.zip(results, ::output)
    }

    override fun close() = module.destroy()

    private fun output(expected: OutputTest, tensor: Tensor): Output {
        val shape = tensor.shape()
        if (!shape.contentEquals(expected.batchShape())) {
            throw unexpected("${expected.name} of shape ${shape.joinToString(" x ")}")
        }
        return when {
            expected.dtype == "float32" && tensor.dtype() == DType.FLOAT ->
                FloatOutput(expected.name, expected.shape, tensor.dataAsFloatArray)
            expected.dtype == "uint8" && tensor.dtype() == DType.UINT8 ->
                ByteOutput(expected.name, expected.shape, tensor.dataAsUnsignedByteArray)
            else -> throw unexpected("${expected.name} as ${tensor.dtype()}")
        }
    }

    private fun OutputTest.batchShape() =
        longArrayOf(1) + LongArray(shape.size) { shape[it].toLong() }

    private fun unexpected(what: String) =
        ModelException("The model gave $what, which its manifest does not state")

    private companion object {
        const val FORWARD = "forward"

        /** A missing native library is a LinkageError, whatever ExecuTorch refuses an exception. */
        fun <T> guarded(what: String, work: () -> T): T =
            try {
                work()
            } catch (error: RuntimeException) {
                throw ModelException("ExecuTorch could not $what (${error.message})", error)
            } catch (error: LinkageError) {
                throw ModelException(
                    "ExecuTorch has no library for this phone's processor (${error.message})",
                    error,
                )
            }
    }
}
