package io.github.mnv2.core

import java.io.IOException
import java.io.InputStream

/** The model/ folder: assets in the app, a directory in tests. Paths look like `golden/a.png`. */
fun interface ModelFiles {
    @Throws(IOException::class)
    fun open(path: String): InputStream
}

/** A whole file of the model/ folder; raises ModelException where there is none. */
fun ModelFiles.read(path: String): ByteArray =
    try {
        open(path).use { it.readBytes() }
    } catch (error: IOException) {
        throw ModelException("model/$path is missing: run `mnv2-export sample` again", error)
    }
