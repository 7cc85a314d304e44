package io.github.mnv2.core

/** Why a photo cannot be looked at. */
class PhotoException(val reason: Reason, cause: Throwable? = null) :
    Exception(reason.name, cause) {

    enum class Reason { UNREADABLE, NOT_AN_IMAGE, TOO_LARGE }
}
