package io.github.mnv2.core

import io.github.mnv2.core.RgbImage.Companion.CHANNELS
import kotlin.math.max
import kotlin.math.min

/** From an upright photo to the network's input, by the manifest's contract. */
class Preprocess(
    val stretch: Boolean,
    val resizeSize: Int,
    private val filter: Filter,
    val cropSize: Int,
    private val bgr: Boolean,
    scale: FloatArray,
    bias: FloatArray,
) {
    /** Two float32 roundings for each of the 256 values a byte has; no fused multiply-add. */
    private val values = Array(CHANNELS) { c -> FloatArray(256) { it.toFloat() * scale[c] + bias[c] } }

    /** Width and height of a photo after the resize, before the crop. */
    fun resizedSize(width: Int, height: Int): Pair<Int, Int> {
        if (stretch) return Pair(resizeSize, resizeSize)
        val product = resizeSize.toLong() * max(width, height)
        val other = max(resizeSize, (product.toDouble() / min(width, height)).toInt())
        return if (width <= height) Pair(resizeSize, other) else Pair(other, resizeSize)
    }

    /** The photo as the network sees it, still 8-bit RGB: resized, and cropped to its center. */
    fun toPixels(photo: PixelRows): RgbImage {
        val (width, height) = resizedSize(photo.width, photo.height)
        if (width.toLong() * max(height, photo.height) > LARGEST_RESULT) {
            throw PhotoException(PhotoException.Reason.TOO_LARGE)
        }
        return centerCrop(resize(photo, width, height, filter))
    }

    /** Float32 (3, crop, crop) of pixels of that size, plane by plane. */
    fun normalize(pixels: RgbImage): FloatArray {
        val plane = pixels.width * pixels.height
        val input = FloatArray(CHANNELS * plane)
        for (channel in 0 until CHANNELS) {
            val from = if (bgr) CHANNELS - 1 - channel else channel
            for (i in 0 until plane) {
                val value = pixels.bytes[i * CHANNELS + from].toInt() and 0xFF
                input[channel * plane + i] = values[channel][value]
            }
        }
        return input
    }

    private fun centerCrop(image: RgbImage): RgbImage {
        if (image.width == cropSize && image.height == cropSize) return image
        val left = cropOffset(image.width, cropSize)
        val top = cropOffset(image.height, cropSize)
        val result = RgbImage(cropSize, cropSize)
        for (y in 0 until cropSize) {
            val from = ((top + y) * image.width + left) * CHANNELS
            image.bytes.copyInto(
                result.bytes,
                y * cropSize * CHANNELS,
                from,
                from + cropSize * CHANNELS,
            )
        }
        return result
    }

    companion object {
        private const val LARGEST_RESULT = 1L shl 28 // pixels before the crop

        /** Half pixels round to even, as torchvision's crop does. */
        fun cropOffset(side: Int, crop: Int): Int = Math.rint((side - crop) / 2.0).toInt()
    }
}
