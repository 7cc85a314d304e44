"""Figures of one run of samples: percentiles, the median's interval, and whether to believe them.

Nothing is thrown away: an outlier is something that a user will meet too. A machine that grows
slower while it is measured (heat, another program) is told as drift.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from exporter.latency.records import Latency, Median, PairedLatency

CONFIDENCE = 0.95
DRIFT_BOUND = 0.10  # of the median; what passes it is called unstable
SPREAD_BOUND = 0.10  # of the median, half the width of its interval
FEWEST = 20  # samples, for an interval and a drift that mean anything


def summarize(samples_ms: Sequence[float], *, load_ms: float, first_ms: float) -> Latency:
    """Figures of steady samples in the order they were measured; there is at least one."""
    values = np.asarray(samples_ms, np.float64)
    p50, p90, p99 = np.percentile(values, (50, 90, 99)).tolist()
    median = median_interval(values, effective_count(values))
    drift = relative_drift(values)
    verdict = judge(len(values), median, drift)
    return Latency(
        load_ms=load_ms,
        first_ms=first_ms,
        samples_ms=tuple(float(value) for value in values),
        min_ms=float(values.min()),
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99,
        median=median,
        drift=drift,
        stable=verdict == "stable",
        verdict=verdict,
    )


def compare(a: Latency, b: Latency, rounds: Sequence[tuple[float, float]]) -> PairedLatency:
    """Two latencies with the ratio of each round's medians (of a, of b)."""
    ratios = np.asarray([of_b / of_a for of_a, of_b in rounds], np.float64)
    ratio, drift = median_interval(ratios, effective_count(ratios)), relative_drift(ratios)
    verdict = judge(len(ratios), ratio, drift)
    return PairedLatency(
        a=a,
        b=b,
        ratio=ratio,
        rounds=len(ratios),
        drift=drift,
        stable=verdict == "stable",
        verdict=verdict,
    )


def effective_count(values: np.ndarray) -> int:
    """How many independent samples tell as much of the median as these do; at most as many.

    A machine that is slow for one inference is often slow for the next, so neighbors are alike and
    an interval that took them for independent would be too narrow. What counts for a median is on
    which side of it each sample lies: that sequence's autocorrelation is summed up to the first lag
    at which it is gone (Geyer, Practical Markov Chain Monte Carlo, 1992).
    """
    count = len(values)
    sides = (values > np.median(values)) - (values < np.median(values)).astype(np.float64)
    power = float(sides @ sides)
    if power == 0.0:
        return count
    correlation = 0.0
    for lag in range(1, count // 3):
        term = float(sides[lag:] @ sides[:-lag]) / power
        if term <= 0.0:
            break
        correlation += term
    return max(1, int(count / (1.0 + 2.0 * correlation)))


def median_interval(values: np.ndarray, effective: int | None = None) -> Median:
    """The median with its 95 % interval, from the binomial distribution of ranks.

    Of n samples, how many lie below the true median is binomial (n, 1/2) whatever their
    distribution; the interval runs from the k-th smallest to the k-th largest with the greatest k
    that covers 95 % (Conover, Practical Nonparametric Statistics, 3.2). Of fewer than six samples
    even the extremes cover less: they are given all the same. Where samples are worth fewer
    independent ones, the ranks are those of so many, at the same shares of the samples.
    """
    ordered = np.sort(values)
    worth = len(ordered) if effective is None else effective
    low = _tail_rank(worth) * len(ordered) // worth
    return Median(
        value=float(np.median(ordered)),
        low=float(ordered[low]),
        high=float(ordered[len(ordered) - 1 - low]),
    )


def _tail_rank(count: int) -> int:
    """The greatest k with P(Binomial(count, 1/2) <= k) <= 2.5 %, and 0 where there is none.

    The interval from the (k+1)-th smallest to the (k+1)-th largest misses the median with twice
    that probability.
    """
    tail, rank = 0.0, 0
    for k in range(count // 2):
        log_term = math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1)
        tail += math.exp(log_term - count * math.log(2.0))
        if tail > (1.0 - CONFIDENCE) / 2.0:
            break
        rank = k
    return rank


def relative_drift(values: np.ndarray) -> float:
    """How much greater the median of the last third is than that of the first, as a share."""
    third = len(values) // 3
    if third == 0:
        return 0.0
    first, last = np.median(values[:third]), np.median(values[-third:])
    return float(last / first - 1.0)


def judge(count: int, median: Median, drift: float) -> str:
    """ "stable", or what is wrong with so many samples of this median and drift."""
    if count < FEWEST:
        return f"unstable: {count} samples, {FEWEST} are needed"
    if abs(drift) > DRIFT_BOUND:
        return f"unstable: drifted by {drift:+.0%} while measured (bound {DRIFT_BOUND:.0%})"
    half = (median.high - median.low) / 2.0 / median.value
    if half > SPREAD_BOUND:
        return f"unstable: the median is known to {half:.0%} (bound {SPREAD_BOUND:.0%})"
    return "stable"
