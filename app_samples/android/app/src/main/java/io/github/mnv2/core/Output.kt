package io.github.mnv2.core

import java.nio.ByteBuffer
import java.nio.ByteOrder

/** One result of a model for one image, without the batch axis. */
sealed class Output(val name: String, val shape: IntArray) {
    abstract val size: Int

    /** Value [index] in row-major order; a float32 as the double equal to it. */
    abstract operator fun get(index: Int): Double

    /** Little-endian, row-major: what the golden digests are of. */
    abstract fun bytes(): ByteArray
}

class FloatOutput(name: String, shape: IntArray, val values: FloatArray) : Output(name, shape) {
    override val size get() = values.size

    override fun get(index: Int) = values[index].toDouble()

    override fun bytes(): ByteArray {
        val bytes = ByteArray(values.size * Float.SIZE_BYTES)
        ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer().put(values)
        return bytes
    }
}

class ByteOutput(name: String, shape: IntArray, val values: ByteArray) : Output(name, shape) {
    override val size get() = values.size

    override fun get(index: Int) = (values[index].toInt() and 0xFF).toDouble()

    override fun bytes() = values
}
