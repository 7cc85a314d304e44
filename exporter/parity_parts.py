"""Faults that a figure of the whole hides: one class of many, the boxes beside a huge one.

A detector's scores are nearly all those of the background, a label map is nearly all background,
and one box of thousands of pixels outweighs all others. So parts are judged on their own as well,
of float artifacts; integers are equal or not, but for their boxes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from exporter.metrics import sqnr_db
from exporter.results import BOXES, CLASS_AXES
from exporter.verdicts import Tolerance

# A class is noisier than all of them: by up to 33 dB where fp16 and by up to 47 dB where fp32 runs
# the demo's detector, which lie as far above what is asked of the whole. Two classes in each
# other's place have about 0 dB.
CLASS_MARGIN_DB = 25.0
QUIETEST_DB = -70.0  # of a class, to the loudest: fp16 has no digits left below
IMAGE = 2  # the rank of a result with one value per class and image: too few to judge a class by
NEAR = (-1.0, 2.0)  # coordinates of boxes that overlap the image or lie beside it
LEAST_SHARE = 1e-3  # of all pixels that a class takes, here or there
LEAST_IOU = 0.5  # of its pixels here and there


def hidden_fault(name: str, expected: np.ndarray, actual: np.ndarray, tolerance: Tolerance) -> str:
    """What is wrong in a part of two finite results that agree as a whole; empty if nothing."""
    if name == BOXES:
        near = sqnr_db(expected.clip(*NEAR), actual.clip(*NEAR))
        if near < tolerance.min_sqnr_db:
            return f"{near:.0f} dB where boxes are cut near the image"
    if name not in CLASS_AXES or expected.ndim == IMAGE or np.isinf(tolerance.min_sqnr_db):
        return ""
    wanted = tolerance.min_sqnr_db - CLASS_MARGIN_DB
    for index, ratio in _audible_classes(expected, actual, CLASS_AXES[name]):
        if ratio < wanted:
            return f"class {index} has {ratio:.0f} dB, at least {wanted:.0f} dB wanted of each"
    return ""


def _audible_classes(
    expected: np.ndarray, actual: np.ndarray, axis: int
) -> Iterator[tuple[int, float]]:
    others = tuple(i for i in range(expected.ndim) if i != axis)
    power = np.square(expected.astype(np.float64)).sum(others)
    for index in np.flatnonzero(power > power.max() * 10.0 ** (QUIETEST_DB / 10.0)):
        ratio = sqnr_db(expected.take(index, axis), actual.take(index, axis))
        yield int(index), ratio


def lost_label(expected: np.ndarray, actual: np.ndarray) -> str:
    """Which class of two label maps lies elsewhere in the other; empty if none does."""
    counts = [np.bincount(maps.ravel(), minlength=256) for maps in (expected, actual)]
    shared = np.bincount(expected[expected == actual].ravel(), minlength=256)
    union = counts[0] + counts[1] - shared
    for index in np.flatnonzero(union >= max(1.0, LEAST_SHARE * expected.size)):
        if shared[index] < LEAST_IOU * union[index]:
            return f"class {index} has {shared[index] / union[index]:.0%} of its pixels in common"
    return ""
