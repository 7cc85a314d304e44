package io.github.mnv2.core

import kotlin.math.floor

/** Corners in pixels of the photo. */
class Box(val left: Double, val top: Double, val right: Double, val bottom: Double) {
    val hasArea get() = right > left && bottom > top
}

/** The part of an upright photo that the network sees, and the way back to the photo. */
class Framing(private val width: Int, private val height: Int, contract: Preprocess) {
    private val seen: Box

    init {
        val (resizedWidth, resizedHeight) = contract.resizedSize(width, height)
        val crop = contract.cropSize
        val x = width.toDouble() / resizedWidth // the photo's pixels per resized one
        val y = height.toDouble() / resizedHeight
        val left = Preprocess.cropOffset(resizedWidth, crop) * x
        val top = Preprocess.cropOffset(resizedHeight, crop) * y
        seen = Box(left, top, left + crop * x, top + crop * y)
    }

    /** Corners in fractions of the input to the photo's pixels, cut off where nothing was seen. */
    fun toPhoto(x1: Float, y1: Float, x2: Float, y2: Float): Box {
        val across = seen.right - seen.left
        val down = seen.bottom - seen.top
        return Box(
            seen.left + x1.toDouble().coerceIn(0.0, 1.0) * across,
            seen.top + y1.toDouble().coerceIn(0.0, 1.0) * down,
            seen.left + x2.toDouble().coerceIn(0.0, 1.0) * across,
            seen.top + y2.toDouble().coerceIn(0.0, 1.0) * down,
        )
    }

    /**
     * The label under each pixel of the photo shown in [columns] x [rows], 0 where the network did
     * not look; each takes the label that its center falls on.
     */
    fun labelsToPhoto(labels: LabelMap, columns: Int = width, rows: Int = height): LabelMap {
        val across = nearest(columns, width, seen.left, seen.right, labels.width)
        val down = nearest(rows, height, seen.top, seen.bottom, labels.height)
        val shown = ByteArray(columns * rows)
        for (y in 0 until rows) {
            if (down[y] < 0) continue
            for (x in 0 until columns) {
                if (across[x] >= 0) {
                    shown[y * columns + x] = labels.values[down[y] * labels.width + across[x]]
                }
            }
        }
        return LabelMap(columns, rows, shown)
    }

    /** Of [shown] pixels along a side of [side], the cell each center lies in, or -1. */
    private fun nearest(shown: Int, side: Int, low: Double, high: Double, cells: Int): IntArray {
        val step = side.toDouble() / shown
        return IntArray(shown) {
            val cell = floor(((it + 0.5) * step - low) / (high - low) * cells).toInt()
            if (cell in 0 until cells) cell else -1
        }
    }
}
