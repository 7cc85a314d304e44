package io.github.mnv2.app

import android.graphics.Color

/**
 * A color for every class from 1 on, the exporter's. Color-blind people can tell the
 * first seven apart (Okabe and Ito's), and labels tell all of them.
 */
object Palette {
    private val colors = intArrayOf(
        Color.rgb(230, 159, 0),
        Color.rgb(86, 180, 233),
        Color.rgb(0, 158, 115),
        Color.rgb(240, 228, 66),
        Color.rgb(0, 114, 178),
        Color.rgb(213, 94, 0),
        Color.rgb(204, 121, 167),
        Color.rgb(135, 0, 240),
        Color.rgb(0, 255, 135),
        Color.rgb(135, 60, 45),
        Color.rgb(150, 120, 255),
        Color.rgb(180, 240, 195),
        Color.rgb(150, 165, 90),
        Color.rgb(165, 0, 120),
        Color.rgb(150, 240, 255),
        Color.rgb(180, 0, 0),
        Color.rgb(225, 0, 90),
        Color.rgb(255, 120, 150),
        Color.rgb(210, 0, 180),
        Color.rgb(135, 30, 195),
    )

    fun of(index: Int): Int = colors[(index - 1) % colors.size]

    /** Black or white, whichever is easier to read on a color. */
    fun readableOn(color: Int): Int {
        val light = 0.299 * Color.red(color) + 0.587 * Color.green(color) + 0.114 * Color.blue(color)
        return if (light > 140) Color.BLACK else Color.WHITE
    }
}
