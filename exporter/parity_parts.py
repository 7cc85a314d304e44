"""Faults that a figure of the whole hides: one class of many, the boxes beside a huge one.

A detector's scores are nearly all those of the background, a label map is nearly all background,
and one box of thousands of pixels outweighs all others. So parts are judged on their own as well,
of float artifacts; integers are equal or not, but for their boxes.
"""

from __future__ import annotations

import numpy as np

from exporter.metrics import sqnr_db
from exporter.results import BOXES, CLASS_AXES
from exporter.verdicts import Tolerance

# A rare class is noisier than the whole: its scores are the exponentials of noisy logits. Two
# classes in each other's place have about 0 dB, far below this.
CLASS_MARGIN_DB = 25.0
SILENT_DB = 40.0  # noise so far below what the loudest class may have is not heard in any
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
    return _noisy_class(expected, actual, CLASS_AXES[name], tolerance.min_sqnr_db)


def _noisy_class(expected: np.ndarray, actual: np.ndarray, axis: int, whole_db: float) -> str:
    others = tuple(i for i in range(expected.ndim) if i != axis)
    exact = expected.astype(np.float64)
    signal, noise = (np.square(values).sum(others) for values in (exact, exact - actual))
    wanted_db = whole_db - CLASS_MARGIN_DB
    silent = signal.max() * 10.0 ** (-(whole_db + SILENT_DB) / 10.0)
    wrong = np.flatnonzero(noise > np.maximum(signal * 10.0 ** (-wanted_db / 10.0), silent))
    if not len(wrong):
        return ""
    ratio = sqnr_db(expected.take(wrong[0], axis), actual.take(wrong[0], axis))
    return f"class {wrong[0]} has {ratio:.0f} dB, at least {wanted_db:.0f} dB wanted of each"


def lost_label(expected: np.ndarray, actual: np.ndarray) -> str:
    """Which class of two label maps lies elsewhere in the other; empty if none does."""
    counts = [np.bincount(maps.ravel(), minlength=256) for maps in (expected, actual)]
    shared = np.bincount(expected[expected == actual].ravel(), minlength=256)
    union = counts[0] + counts[1] - shared
    for index in np.flatnonzero(union >= max(1.0, LEAST_SHARE * expected.size)):
        if shared[index] < LEAST_IOU * union[index]:
            return f"class {index} has {shared[index] / union[index]:.0%} of its pixels in common"
    return ""
