"""95 % intervals: of shares and of their differences by formula, of other figures by resampling.

A share of right answers has a formula (`wilson`, `paired`). Mean AP and mean IoU have none: they
are computed anew on resamples of the images (bootstrap), and how the middle 95 % of these values
lie about the figure is how the figure may lie about the true one: the interval is their mirror
image (the basic bootstrap). That matters for mean AP, which resamples raise, as an image that is
drawn twice agrees with itself. All models get the same resamples, so the interval of a difference
between two comes from the differences on each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

Z = 1.959963984540054  # two-sided 95 % of the normal distribution
RESAMPLES, SEED = 1000, 0
MIDDLE = (2.5, 97.5)  # percentiles
FEW = 30  # images; resamples of fewer tell little of what other images would give


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A share, 0 to 1, and where the true one lies with 95 % confidence."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Paired:
    """One model's share of right answers minus another's, in percentage points."""

    points: float
    low: float
    high: float
    gained: int  # images that only this model got right
    lost: int  # images that only the other got right


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One model's figure minus another's on the same images, in percentage points."""

    points: float
    low: float
    high: float


def wilson(right: int, count: int) -> Interval:
    """Wilson's score interval, which stays within 0 and 1 and is no point at 0 % or 100 %."""
    p, z2 = right / count, Z * Z
    center = (p + z2 / (2 * count)) / (1 + z2 / count)
    half = Z / (1 + z2 / count) * math.sqrt(p * (1 - p) / count + z2 / (4 * count * count))
    return Interval(value=p, low=max(0.0, center - half), high=min(1.0, center + half))


def paired(other: np.ndarray, this: np.ndarray) -> Paired:
    """From bool (n,) right answers to the same images; only those where they differ tell anything.

    The interval is Agresti and Min's (2005): the normal one after half an image is added to each
    of the four outcomes, so that few or no differences do not pass for certainty.
    """
    gained, lost = int((this & ~other).sum()), int((other & ~this).sum())
    count = len(this)
    n, b, c = count + 2.0, gained + 0.5, lost + 0.5
    center = (b - c) / n
    half = Z * math.sqrt(b + c - (b - c) ** 2 / n) / n
    return Paired(
        points=100.0 * (gained - lost) / count,
        low=100.0 * max(-1.0, center - half),
        high=100.0 * min(1.0, center + half),
        gained=gained,
        lost=lost,
    )


def resamples(images: int) -> np.ndarray:
    """How often each image is counted, int32 (1 + RESAMPLES, images).

    The first row is the set itself; each of the others counts as many images, drawn with
    replacement from a fixed seed. Figures of these rows are what follows.
    """
    random = np.random.Generator(np.random.PCG64(SEED))
    drawn = random.multinomial(images, np.full(images, 1.0 / images), RESAMPLES)
    return np.concatenate([np.ones((1, images), np.int32), drawn.astype(np.int32)])


def resampled(figures: np.ndarray) -> Interval:
    """Of a figure (1 + RESAMPLES,), 0 to 1; a resample that has none, NaN, is left out."""
    value, low, high = _mirrored(figures)
    return Interval(value=value, low=max(0.0, low), high=min(1.0, high))


def resampled_difference(other: np.ndarray, this: np.ndarray) -> Difference:
    """Of two models' figures (1 + RESAMPLES,) from the same resamples."""
    value, low, high = _mirrored(100.0 * (this - other))
    return Difference(points=value, low=low, high=high)


def _mirrored(values: np.ndarray) -> tuple[float, float, float]:
    """The set's own value, and the interval, which is widened where it would leave that out."""
    value = float(values[0])
    low, high = np.nanpercentile(values[1:], MIDDLE).tolist()
    return value, min(value, 2 * value - high), max(value, 2 * value - low)


def mean_of_known(values: np.ndarray) -> np.ndarray:
    """Over the last axis, NaN left out; NaN where nothing is known."""
    known = ~np.isnan(values)
    sums, count = np.where(known, values, 0.0).sum(-1), known.sum(-1)
    return np.asarray(np.where(count > 0, sums / np.maximum(count, 1), np.nan))
