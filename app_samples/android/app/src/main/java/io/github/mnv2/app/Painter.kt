package io.github.mnv2.app

import android.graphics.Bitmap
import android.graphics.Canvas
import android.graphics.Color
import android.graphics.Paint
import io.github.mnv2.core.Filter
import io.github.mnv2.core.FoundObject
import io.github.mnv2.core.Framing
import io.github.mnv2.core.Manifest
import io.github.mnv2.core.PixelRows
import io.github.mnv2.core.Prediction
import io.github.mnv2.core.RgbImage
import io.github.mnv2.core.resize
import kotlin.math.max

/** Draws what was found on a copy of the photo that is small enough to show. */
class Painter(private val manifest: Manifest) {

    fun paint(photo: PixelRows, prediction: Prediction): Bitmap {
        val scale = minOf(1.0, LONGEST_SIDE / max(photo.width, photo.height))
        val width = max(1, (photo.width * scale).toInt())
        val height = max(1, (photo.height * scale).toInt())
        val colors = colors(resize(photo, width, height, Filter.BILINEAR))
        if (prediction is Prediction.Regions) tint(colors, photo, prediction, width, height)
        val picture = Bitmap.createBitmap(colors, width, height, Bitmap.Config.ARGB_8888)
            .copy(Bitmap.Config.ARGB_8888, true)
        if (prediction is Prediction.Objects) {
            val canvas = Canvas(picture)
            prediction.objects.asReversed().forEach { draw(canvas, it, scale.toFloat()) }
        }
        return picture
    }

    private fun colors(image: RgbImage) = IntArray(image.width * image.height) { i ->
        val at = i * RgbImage.CHANNELS
        Color.rgb(value(image, at), value(image, at + 1), value(image, at + 2))
    }

    private fun value(image: RgbImage, at: Int) = image.bytes[at].toInt() and 0xFF

    private fun tint(
        colors: IntArray,
        photo: PixelRows,
        found: Prediction.Regions,
        width: Int,
        height: Int,
    ) {
        val framing = Framing(photo.width, photo.height, manifest.preprocess)
        framing.labelsToPhoto(found.labels, width, height).values.forEachIndexed { i, label ->
            val index = label.toInt() and 0xFF
            if (index > 0) colors[i] = mix(colors[i], Palette.of(index))
        }
    }

    private fun mix(a: Int, b: Int) = Color.rgb(
        (Color.red(a) + Color.red(b)) / 2,
        (Color.green(a) + Color.green(b)) / 2,
        (Color.blue(a) + Color.blue(b)) / 2,
    )

    private fun draw(canvas: Canvas, found: FoundObject, scale: Float) {
        val color = Palette.of(found.index)
        val line = max(2f, canvas.width / 200f)
        val left = found.box.left.toFloat() * scale
        val top = found.box.top.toFloat() * scale
        val right = found.box.right.toFloat() * scale
        val bottom = found.box.bottom.toFloat() * scale
        val outline = Paint(Paint.ANTI_ALIAS_FLAG)
        outline.style = Paint.Style.STROKE
        outline.strokeWidth = line
        outline.color = color
        canvas.drawRect(left, top, right, bottom, outline)

        val text = Paint(Paint.ANTI_ALIAS_FLAG)
        text.textSize = max(12f, canvas.width / 28f)
        val label = manifest.label(found.index)
        val base = max(top, text.textSize) // a box at the upper edge has its label inside
        text.color = color
        canvas.drawRect(
            left,
            base - text.textSize,
            left + text.measureText(label) + 2 * line,
            base + line,
            text,
        )
        text.color = Palette.readableOn(color)
        canvas.drawText(label, left + line, base - line, text)
    }

    private companion object {
        const val LONGEST_SIDE = 1280.0
    }
}
