"""What an app's self-test asks of an artifact, stated in the manifest so that apps need no rule.

The app runs the images of `golden/` and compares with `expected.json` under `reference`. Int8
results are the reference's every bit. What is computed in floats is held to a ratio, and labels
and detections, which have none, to the share that is equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from exporter.results import DETECTIONS, INEXACT, LABELS, Results
from exporter.verdicts import EXACT_BOXES, Tolerance

SHARED = (LABELS, DETECTIONS)  # have no ratio


@dataclass(frozen=True, kw_only=True)
class OutputTest:
    """One output; unless `exact`, one of the two limits is given, over all golden images together.

    `min_sqnr_db` is 10 log10(sum expected^2 / sum (actual - expected)^2); `min_agreement` the share
    of equal labels, or of detections in common.
    """

    name: str
    shape: tuple[int, ...]  # of one image's result
    dtype: str
    exact: bool
    min_sqnr_db: float | None = None
    min_agreement: float | None = None


@dataclass(frozen=True, kw_only=True)
class SelfTest:
    """Of one artifact."""

    reference: str  # the key in `expected.json`
    outputs: tuple[OutputTest, ...]  # in the artifact's order


def exact_test(reference: str, expected: Results) -> SelfTest:
    """Of an integer artifact: every bit, but for what holds powers of e."""
    ratio = EXACT_BOXES.min_sqnr_db
    return SelfTest(
        reference=reference,
        outputs=tuple(
            _output(name, value, exact=False, min_sqnr_db=ratio)
            if name in INEXACT
            else _output(name, value, exact=True)
            for name, value in expected.items()
        ),
    )


def near_test(reference: str, expected: Results, tolerance: Tolerance) -> SelfTest:
    """Of a float artifact: as near as its tolerance asks for."""
    limits = {
        name: tolerance.min_agreement if name in SHARED else tolerance.min_sqnr_db
        for name in expected
    }
    return limited_test(reference, expected, limits)


def limited_test(reference: str, expected: Results, limits: Mapping[str, float]) -> SelfTest:
    """Each output held to a limit of its own: dB, or a share of labels and detections."""
    return SelfTest(
        reference=reference,
        outputs=tuple(
            _output(name, value, exact=False, min_agreement=limits[name])
            if name in SHARED
            else _output(name, value, exact=False, min_sqnr_db=limits[name])
            for name, value in expected.items()
        ),
    )


def _output(
    name: str,
    value: np.ndarray,
    *,
    exact: bool,
    min_sqnr_db: float | None = None,
    min_agreement: float | None = None,
) -> OutputTest:
    return OutputTest(
        name=name,
        shape=value.shape[1:],
        dtype=str(value.dtype),
        exact=exact,
        min_sqnr_db=min_sqnr_db,
        min_agreement=min_agreement,
    )
