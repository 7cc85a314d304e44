package io.github.mnv2.app

import android.app.Activity
import android.view.View

/** A view of the layout; the cast says which, on every version of the platform's declaration. */
inline fun <reified V : View> Activity.view(id: Int): V = findViewById(id) as V
