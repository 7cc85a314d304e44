package io.github.mnv2.core

/** What is wrong with the model, in words for the person who sees it. */
class ModelException(message: String, cause: Throwable? = null) : Exception(message, cause) {
    companion object {
        /** For a file or folder of model/ that is not what the code or the manifest pins. */
        fun changed(path: String) = ModelException(
            "model/$path was changed after `mnv2-export sample`; run it with --update",
        )
    }
}
