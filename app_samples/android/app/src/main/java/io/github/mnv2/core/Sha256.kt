package io.github.mnv2.core

import java.io.InputStream
import java.io.OutputStream
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

private fun ByteArray.hex(): String = joinToString("") { "%02x".format(it) }
