package io.github.mnv2.core

import kotlin.math.exp

/** A class and its probability. */
class Guess(val index: Int, val probability: Double)

/** The [top] classes of one image, best first; of equal ones the lower index first. */
fun classify(output: FloatArray, givesProbabilities: Boolean, top: Int): List<Guess> {
    val probabilities =
        if (givesProbabilities) DoubleArray(output.size) { output[it].toDouble() }
        else softmax(output)
    return probabilities.indices
        .sortedByDescending { probabilities[it] } // stable
        .take(top)
        .map { Guess(it, probabilities[it]) }
}

private fun softmax(logits: FloatArray): DoubleArray {
    val largest = logits.max().toDouble()
    val powers = DoubleArray(logits.size) { exp(logits[it].toDouble() - largest) }
    val total = powers.sum()
    return DoubleArray(logits.size) { powers[it] / total }
}
