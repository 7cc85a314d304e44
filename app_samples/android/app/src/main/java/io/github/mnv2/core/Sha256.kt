package io.github.mnv2.core

import java.io.InputStream
import java.io.OutputStream
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.security.MessageDigest

private const val CHUNK = 1 shl 16

/** Hex digest, as the manifest writes it. */
fun sha256(bytes: ByteArray): String = MessageDigest.getInstance("SHA-256").digest(bytes).hex()

/** Hex digest of what is left of a stream, which is copied to [copy] on the way, if given. */
fun sha256(stream: InputStream, copy: OutputStream? = null): String {
    val digest = MessageDigest.getInstance("SHA-256")
    val chunk = ByteArray(CHUNK)
    while (true) {
        val length = stream.read(chunk)
        if (length < 0) return digest.digest().hex()
        digest.update(chunk, 0, length)
        copy?.write(chunk, 0, length)
    }
}

/** Hex digest of a folder's files by name, as the exporter makes it of a directory. */
fun sha256(files: Map<String, ByteArray>): String {
    val digest = MessageDigest.getInstance("SHA-256")
    val size = ByteBuffer.allocate(Long.SIZE_BYTES).order(ByteOrder.LITTLE_ENDIAN)
    for ((name, content) in files.toSortedMap()) {
        digest.update(name.toByteArray())
        digest.update(0)
        digest.update(size.putLong(0, content.size.toLong()).array())
        digest.update(content)
    }
    return digest.digest().hex()
}

private fun ByteArray.hex(): String = joinToString("") { "%02x".format(it) }
