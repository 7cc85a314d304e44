package io.github.mnv2.core

import io.github.mnv2.core.RgbImage.Companion.CHANNELS
import kotlin.math.abs
import kotlin.math.ceil
import kotlin.math.max
import kotlin.math.min

/** Pillow's antialiased filters and how far they reach, in pixels of the smaller image. */
enum class Filter(val radius: Double) {
    BILINEAR(1.0) {
        override fun weight(x: Double) = max(0.0, 1.0 - abs(x))
    },
    BICUBIC(2.0) {
        override fun weight(x: Double): Double {
            val d = abs(x)
            return when {
                d < 1.0 -> ((A + 2.0) * d - (A + 3.0)) * d * d + 1.0
                d < 2.0 -> (((d - 5.0) * d + 8.0) * d - 4.0) * A
                else -> 0.0
            }
        }
    }, ;

    abstract fun weight(x: Double): Double

    private companion object {
        const val A = -0.5
    }
}

/**
 * Resizes as Pillow does, byte for byte: width first, then height, each with 22-bit fixed-point
 * weights and rounded to 8 bits. An axis that keeps its size is left alone.
 */
fun resize(photo: PixelRows, width: Int, height: Int, filter: Filter): RgbImage {
    val narrow = RgbImage(width, photo.height)
    val across = Weights(photo.width, width, filter)
    val row = ByteArray(photo.width * CHANNELS)
    for (y in 0 until photo.height) {
        photo.readRow(y, row)
        across.applyToRow(row, narrow.bytes, y * width * CHANNELS)
    }
    if (height == photo.height) return narrow
    val result = RgbImage(width, height)
    Weights(photo.height, height, filter).applyToColumns(narrow, result)
    return result
}

/** For every pixel of one axis of the result: which pixels it sums, and by which weights. */
private class Weights(from: Int, private val to: Int, filter: Filter) {
    private val same = from == to
    private val first = IntArray(to)
    private val weights: Array<IntArray>

    init {
        val scale = from.toDouble() / to
        val stretch = max(scale, 1.0) // antialiasing: the filter widens when shrinking
        val support = filter.radius * stretch
        val capacity = ceil(support).toInt() * 2 + 1
        val exact = DoubleArray(capacity)
        weights = Array(to) { index ->
            val center = (index + 0.5) * scale
            val low = max(0, (center - support + 0.5).toInt())
            val high = min(from, (center + support + 0.5).toInt())
            var total = 0.0
            for (i in low until high) {
                exact[i - low] = filter.weight((i - center + 0.5) * (1.0 / stretch))
                total += exact[i - low]
            }
            first[index] = low
            IntArray(high - low) { fixed(exact[it] / total) }
        }
    }

    fun applyToRow(row: ByteArray, result: ByteArray, at: Int) {
        if (same) {
            row.copyInto(result, at, 0, to * CHANNELS)
            return
        }
        for (x in 0 until to) {
            val taken = weights[x]
            for (channel in 0 until CHANNELS) {
                var sum = HALF
                var from = first[x] * CHANNELS + channel
                for (weight in taken) {
                    sum += (row[from].toInt() and 0xFF) * weight
                    from += CHANNELS
                }
                result[at + x * CHANNELS + channel] = clip(sum)
            }
        }
    }

    fun applyToColumns(image: RgbImage, result: RgbImage) {
        val length = image.width * CHANNELS
        val sums = IntArray(length)
        for (y in 0 until to) {
            sums.fill(HALF)
            weights[y].forEachIndexed { i, weight ->
                val from = (first[y] + i) * length
                for (x in 0 until length) sums[x] += (image.bytes[from + x].toInt() and 0xFF) * weight
            }
            for (x in 0 until length) result.bytes[y * length + x] = clip(sums[x])
        }
    }

    private companion object {
        const val PRECISION_BITS = 32 - 8 - 2
        const val HALF = 1 shl (PRECISION_BITS - 1)

        fun fixed(weight: Double): Int {
            val scaled = weight * (1 shl PRECISION_BITS)
            return (if (weight < 0) scaled - 0.5 else scaled + 0.5).toInt()
        }

        fun clip(sum: Int): Byte = (sum shr PRECISION_BITS).coerceIn(0, 255).toByte()
    }
}
