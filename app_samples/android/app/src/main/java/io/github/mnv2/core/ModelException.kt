package io.github.mnv2.core

/** What is wrong with the model, in words for the person who sees it. */
class ModelException(message: String, cause: Throwable? = null) : Exception(message, cause)
