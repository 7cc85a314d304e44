package io.github.mnv2.core

/** The EXIF orientation of a JPEG, PNG or WebP file, 1 where it states none. */
fun exifOrientation(file: ByteArray): Orientation {
    val tiff = Bytes(file).run { jpegExif() ?: pngExif() ?: webpExif() }
    val code = tiff?.run { if (holdsAt(0, EXIF_HEADER)) from(EXIF_HEADER.size) else this }
        ?.tiffOrientation()
    return Orientation(code ?: Orientation.UPRIGHT)
}

private val EXIF_HEADER = "Exif\u0000\u0000".bytes()
private val PNG_SIGNATURE = byteArrayOf(-119, 80, 78, 71, 13, 10, 26, 10)
private const val ORIENTATION_TAG = 0x0112
private const val ENTRY_SIZE = 12

private fun String.bytes() = toByteArray(Charsets.ISO_8859_1)

/** A part of a file; reading beyond its end gives 0, so that damaged files simply have no EXIF. */
private class Bytes(
    private val data: ByteArray,
    private val start: Int = 0,
    val size: Int = data.size,
) {
    fun from(offset: Int, length: Int = size - offset): Bytes? =
        if (offset < 0 || length < 0 || length > size - offset) null
        else Bytes(data, start + offset, length)

    fun holdsAt(offset: Int, text: ByteArray): Boolean =
        text.size <= size - offset && text.indices.all { data[start + offset + it] == text[it] }

    fun u8(at: Int): Int = if (at in 0 until size) data[start + at].toInt() and 0xFF else 0

    fun u16(at: Int, little: Boolean = false): Int =
        if (little) u8(at) or (u8(at + 1) shl 8) else (u8(at) shl 8) or u8(at + 1)

    fun i32(at: Int, little: Boolean = false): Int =
        if (little) u16(at, true) or (u16(at + 2, true) shl 16)
        else (u16(at) shl 16) or u16(at + 2)
}

/** The APP1 segment that holds EXIF; pixels start after SOS. */
private fun Bytes.jpegExif(): Bytes? {
    if (u16(0) != 0xFFD8) return null
    var at = 2
    while (u8(at) == 0xFF && u8(at + 1) != 0xDA) {
        if (u8(at + 1) == 0xFF) { // filling
            at++
            continue
        }
        val length = u16(at + 2)
        if (u8(at + 1) == 0xE1 && holdsAt(at + 4, EXIF_HEADER)) return from(at + 4, length - 2)
        at += 2 + length
    }
    return null
}

private fun Bytes.pngExif(): Bytes? {
    if (!holdsAt(0, PNG_SIGNATURE)) return null
    return chunk(PNG_SIGNATURE.size, "eXIf", nameAt = 4, sizeAt = 0, little = false, trailer = 4)
}

private fun Bytes.webpExif(): Bytes? {
    if (!holdsAt(0, "RIFF".bytes()) || !holdsAt(8, "WEBP".bytes())) return null
    return chunk(12, "EXIF", nameAt = 0, sizeAt = 4, little = true, trailer = 0)
}

/** The first chunk of this name: eight bytes of name and size, content, and a [trailer]. */
private fun Bytes.chunk(
    first: Int,
    name: String,
    nameAt: Int,
    sizeAt: Int,
    little: Boolean,
    trailer: Int,
): Bytes? {
    var at = first
    while (at < size - 8) {
        val length = i32(at + sizeAt, little)
        if (length < 0 || length > size - at - 8) return null
        if (holdsAt(at + nameAt, name.bytes())) return from(at + 8, length)
        at += 8 + length + trailer + (if (little) length and 1 else 0) // RIFF pads to even sizes
    }
    return null
}

/** Tag 0x0112 of the first directory. */
private fun Bytes.tiffOrientation(): Int? {
    val little = holdsAt(0, "II".bytes())
    if (!little && !holdsAt(0, "MM".bytes()) || u16(2, little) != 42) return null
    val directory = i32(4, little)
    if (directory < 8 || directory > size - 2) return null
    return (0 until u16(directory, little))
        .map { directory + 2 + it * ENTRY_SIZE }
        .takeWhile { it <= size - ENTRY_SIZE }
        .firstOrNull { u16(it, little) == ORIENTATION_TAG }
        ?.let { u16(it + 8, little) }
}
