package io.github.mnv2.app

import android.content.ContentResolver
import android.graphics.Bitmap
import android.graphics.BitmapFactory
import android.net.Uri
import io.github.mnv2.core.PhotoException
import io.github.mnv2.core.PhotoException.Reason
import io.github.mnv2.core.PixelRows
import io.github.mnv2.core.StoredPixels
import io.github.mnv2.core.exifOrientation
import java.io.ByteArrayOutputStream
import java.io.IOException
import java.io.InputStream
import java.nio.ByteBuffer

private const val MOST_BYTES = 1 shl 26
private const val MOST_PIXELS = 1L shl 26
private const val CHUNK = 1 shl 16

/** The photo a person picked, upright; raises PhotoException. */
fun readPhoto(resolver: ContentResolver, uri: Uri): PixelRows {
    val file = try {
        resolver.openInputStream(uri)?.use(::readLimited)
    } catch (error: IOException) {
        throw PhotoException(Reason.UNREADABLE, error)
    } catch (error: RuntimeException) { // a grant that ended, or whatever failed in another app
        throw PhotoException(Reason.UNREADABLE, error)
    }
    return decodePhoto(file ?: throw PhotoException(Reason.UNREADABLE))
}

/**
 * 8-bit RGB of an image file, its EXIF orientation applied. Colors are the file's own: no profile is
 * converted and alpha is dropped, not blended, as the exporter reads photos.
 */
fun decodePhoto(file: ByteArray): PixelRows {
    val bounds = BitmapFactory.Options().apply { inJustDecodeBounds = true }
    BitmapFactory.decodeByteArray(file, 0, file.size, bounds)
    if (bounds.outWidth <= 0 || bounds.outHeight <= 0) throw PhotoException(Reason.NOT_AN_IMAGE)
    if (bounds.outWidth.toLong() * bounds.outHeight > MOST_PIXELS) {
        throw PhotoException(Reason.TOO_LARGE)
    }
    val options = BitmapFactory.Options().apply {
        inPreferredConfig = Bitmap.Config.ARGB_8888
        inPremultiplied = false
        inScaled = false
    }
    val decoded = BitmapFactory.decodeByteArray(file, 0, file.size, options)
        ?: throw PhotoException(Reason.NOT_AN_IMAGE)
    val bitmap = inFourBytes(decoded)
    val rgba = ByteArray(bitmap.rowBytes * bitmap.height)
    bitmap.copyPixelsToBuffer(ByteBuffer.wrap(rgba)) // unlike getPixels, converts nothing
    val pixels = StoredPixels(
        bitmap.width,
        bitmap.height,
        bitmap.rowBytes,
        rgba,
        exifOrientation(file),
    )
    bitmap.recycle()
    return pixels
}

/** Android 6 gives a GIF with its palette, whatever is preferred. */
private fun inFourBytes(bitmap: Bitmap): Bitmap {
    if (bitmap.config == Bitmap.Config.ARGB_8888) return bitmap
    val copy = bitmap.copy(Bitmap.Config.ARGB_8888, false)
    bitmap.recycle()
    return copy ?: throw PhotoException(Reason.NOT_AN_IMAGE)
}

private fun readLimited(stream: InputStream): ByteArray {
    val file = ByteArrayOutputStream()
    val chunk = ByteArray(CHUNK)
    while (true) {
        val length = stream.read(chunk)
        if (length < 0) return file.toByteArray()
        if (file.size() + length > MOST_BYTES) throw PhotoException(Reason.TOO_LARGE)
        file.write(chunk, 0, length)
    }
}
