package io.github.mnv2.app

import android.content.res.Resources
import android.text.SpannableStringBuilder
import android.text.Spanned
import android.text.style.ForegroundColorSpan
import io.github.mnv2.core.Difference
import io.github.mnv2.core.Finding
import io.github.mnv2.core.Manifest
import io.github.mnv2.core.OutputReport
import io.github.mnv2.core.PhotoException
import io.github.mnv2.core.Prediction
import io.github.mnv2.core.Region
import java.text.NumberFormat

/** What was found, in words. */
class Words(private val resources: Resources) {

    fun error(error: Exception): String = when (error) {
        is PhotoException -> resources.getString(
            when (error.reason) {
                PhotoException.Reason.UNREADABLE -> R.string.photo_unreadable
                PhotoException.Reason.NOT_AN_IMAGE -> R.string.photo_not_an_image
                PhotoException.Reason.TOO_LARGE -> R.string.photo_too_large
            },
        )
        else -> error.message.orEmpty()
    }

    fun prediction(found: Prediction, manifest: Manifest): CharSequence = when (found) {
        is Prediction.Classes -> found.guesses.joinToString("\n") {
            line(manifest.label(it.index), percent(it.probability))
        }
        is Prediction.Objects ->
            if (found.objects.isEmpty()) resources.getString(R.string.nothing_found)
            else legend(found.objects.map { it.index }, found.objects.map {
                line(manifest.label(it.index), percent(it.score.toDouble()))
            })
        is Prediction.Regions -> legend(found.regions.map { it.index }, found.regions.map {
            line(manifest.label(it.index), share(it))
        })
    }

    /** Lines behind the colors in which the picture shows their classes. */
    private fun legend(classes: List<Int>, lines: List<String>): CharSequence {
        val text = SpannableStringBuilder()
        classes.zip(lines).forEachIndexed { i, (index, line) ->
            if (i > 0) text.append("\n")
            if (index > 0) {
                val color = ForegroundColorSpan(Palette.of(index))
                text.append(SWATCH)
                text.setSpan(
                    color,
                    text.length - SWATCH.length,
                    text.length,
                    Spanned.SPAN_EXCLUSIVE_EXCLUSIVE,
                )
            }
            text.append(line)
        }
        return text
    }

    fun output(report: OutputReport): String {
        val (finding, difference) = when (val found = report.finding) {
            is Finding.Exact -> Pair(
                resources.getString(R.string.finding_exact, found.equalImages, found.images),
                found.first,
            )
            is Finding.Ratio -> Pair(
                if (found.db == Double.POSITIVE_INFINITY) resources.getString(R.string.finding_equal)
                else resources.getString(R.string.finding_ratio, found.db, found.neededDb),
                found.worst.takeUnless { found.passed },
            )
            is Finding.Agreement -> Pair(
                resources.getString(
                    R.string.finding_agreement,
                    percent(found.share, EXACT_DIGITS),
                    percent(found.needed, EXACT_DIGITS),
                ),
                found.first.takeUnless { found.passed },
            )
        }
        val lines = listOf(report.name, finding) + listOfNotNull(difference?.let(::difference))
        return lines.joinToString("\n")
    }

    private fun difference(found: Difference): String {
        val index = found.index
            ?: return resources.getString(R.string.difference_unsampled, found.image)
        return resources.getString(
            R.string.difference,
            found.image,
            index,
            found.expected.toString(),
            found.actual.toString(),
        )
    }

    private fun line(label: String, value: String) =
        resources.getString(R.string.result_line, label, value)

    private fun percent(share: Double, digits: Int = 1): String =
        NumberFormat.getPercentInstance().apply { maximumFractionDigits = digits }.format(share)

    /** Never 0 % of what is there. */
    private fun share(region: Region): String =
        if (region.share < LEAST_SHARE) "<" + percent(LEAST_SHARE) else percent(region.share)

    private companion object {
        const val LEAST_SHARE = 0.001
        const val EXACT_DIGITS = 3 // one value of a self-test's is 0.02 %
        const val SWATCH = "\u25A0 "
    }
}
