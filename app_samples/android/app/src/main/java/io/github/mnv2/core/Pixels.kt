package io.github.mnv2.core

/** An upright photo in 8-bit RGB, read row by row so that a large one is held in memory once. */
interface PixelRows {
    val width: Int
    val height: Int

    /** Row [y] to [into], three bytes per pixel. */
    fun readRow(y: Int, into: ByteArray)
}

/** Pixels in rows without gaps, three bytes each. */
class RgbImage(
    override val width: Int,
    override val height: Int,
    val bytes: ByteArray = ByteArray(width * height * CHANNELS),
) : PixelRows {
    init {
        require(bytes.size == width * height * CHANNELS) { "${bytes.size} bytes" }
    }

    override fun readRow(y: Int, into: ByteArray) {
        bytes.copyInto(into, 0, y * width * CHANNELS, (y + 1) * width * CHANNELS)
    }

    companion object {
        const val CHANNELS = 3
    }
}

/**
 * Pixels as a decoder stores them: four bytes each, of which the last (alpha) is dropped, and turned
 * only as they are read.
 */
class StoredPixels(
    private val storedWidth: Int,
    private val storedHeight: Int,
    private val stride: Int, // bytes from one row to the next
    private val rgba: ByteArray,
    private val orientation: Orientation,
) : PixelRows {
    override val width = if (orientation.swapsSides) storedHeight else storedWidth
    override val height = if (orientation.swapsSides) storedWidth else storedHeight

    override fun readRow(y: Int, into: ByteArray) {
        var at = 0
        for (x in 0 until width) {
            val column = orientation.column(x, y, storedWidth)
            val from = orientation.row(x, y, storedHeight) * stride + column * STORED_CHANNELS
            into[at++] = rgba[from]
            into[at++] = rgba[from + 1]
            into[at++] = rgba[from + 2]
        }
    }

    private companion object {
        const val STORED_CHANNELS = 4
    }
}
