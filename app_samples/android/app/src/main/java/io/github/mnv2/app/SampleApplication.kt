package io.github.mnv2.app

import android.app.Activity
import android.app.Application

/** Holds the session, which outlives activities. */
class SampleApplication : Application() {
    lateinit var session: Session
        private set

    override fun onCreate() {
        super.onCreate()
        session = Session(this)
        session.open()
    }
}

val Activity.session: Session get() = (application as SampleApplication).session
