package io.github.mnv2.core

import org.json.JSONArray
import org.json.JSONObject

internal fun JSONArray.strings(): List<String> = (0 until length()).map { getString(it) }

internal fun JSONArray.objects(): List<JSONObject> = (0 until length()).map { getJSONObject(it) }

internal fun JSONArray.ints() = IntArray(length()) { getInt(it) }

internal fun JSONArray.doubles() = DoubleArray(length()) { getDouble(it) }

/** Float32 values that were written as the doubles equal to them. */
internal fun JSONArray.floats() = FloatArray(length()) { getDouble(it).toFloat() }

internal fun JSONObject.optionalDouble(key: String): Double? =
    if (isNull(key)) null else getDouble(key)
