package io.github.mnv2.core

/** EXIF's eight ways to store a photo, 1 being upright: which stored pixel an upright one is. */
class Orientation(code: Int) {
    private val code = if (code in 1..8) code else UPRIGHT

    /** Whether the stored rows are the upright columns. */
    val swapsSides = this.code >= 5

    /** Stored column of the upright pixel ([x], [y]). */
    fun column(x: Int, y: Int, storedWidth: Int): Int {
        val along = if (swapsSides) y else x
        return if (code in MIRRORED_COLUMNS) storedWidth - 1 - along else along
    }

    /** Stored row of the upright pixel ([x], [y]). */
    fun row(x: Int, y: Int, storedHeight: Int): Int {
        val along = if (swapsSides) x else y
        return if (code in MIRRORED_ROWS) storedHeight - 1 - along else along
    }

    companion object {
        const val UPRIGHT = 1
        private val MIRRORED_COLUMNS = intArrayOf(2, 3, 7, 8)
        private val MIRRORED_ROWS = intArrayOf(3, 4, 6, 7)
    }
}
