"""95 % intervals of shares, and of the difference of two shares on the same images."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

Z = 1.959963984540054  # two-sided 95 % of the normal distribution


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
