"""How results compare, output by output, in the words of a gate."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from exporter.metrics import sqnr_db
from exporter.results import (
    BOXES,
    CLASS,
    DETECTIONS,
    LABELS,
    SCORE,
    Results,
    same_layout,
    shared_detections,
)
from exporter.verdicts import EXACT_BOXES, Gate, Tolerance


def close(name: str, expected: Results, actual: Results, tolerance: Tolerance) -> Gate:
    """A ratio for numbers, a share for labels and detections; every output must reach its own."""
    if problem := same_layout(expected, actual):
        return Gate(name=name, passed=False, detail=problem)
    passed, told = True, []
    for output, value in expected.items():
        reached, text = _reached(output, value, actual[output], tolerance)
        passed &= reached
        told.append(text if len(expected) == 1 else f"{output} {text}")
    return Gate(name=name, passed=passed, detail="; ".join(told))


def _reached(
    name: str, expected: np.ndarray, actual: np.ndarray, tolerance: Tolerance
) -> tuple[bool, str]:
    if (share := shared(name, expected, actual)) is not None:
        text = f"{share:.2%} agree, at least {tolerance.min_agreement:.2%} wanted"
        return share >= tolerance.min_agreement, text
    ratio = ratio_db(expected, actual)
    text = f"{ratio:.1f} dB, at least {tolerance.min_sqnr_db:.0f} dB wanted"
    return ratio >= tolerance.min_sqnr_db, text


def shared(name: str, expected: np.ndarray, actual: np.ndarray) -> float | None:
    """Share of equal labels, or of detections in common; None of what has a ratio."""
    if name == LABELS:
        return float((expected == actual).mean())
    return shared_detections(expected, actual) if name == DETECTIONS else None


def ratio_db(expected: np.ndarray, actual: np.ndarray) -> float:
    """SQNR; of what is not finite the worst there is."""
    return sqnr_db(expected, actual) if np.isfinite(actual).all() else float("-inf")


def unequal(expected: Results, actual: Results) -> str:
    """Why results are not the same numbers; empty where they are.

    Every bit counts but those of boxes, whose sizes are e to a power: libraries differ there.
    """
    problem = same_layout(expected, actual)
    return problem or "; ".join(_unequal(expected, actual))


def _unequal(expected: Results, actual: Results) -> Iterator[str]:
    for name, value in expected.items():
        ours, theirs = (_without_boxes(name, v) for v in (value, actual[name]))
        if not np.array_equal(ours, theirs):
            yield f"{name} differ in {np.mean(ours != theirs):.2%} of the numbers"
        elif (ratio := ratio_db(value, actual[name])) < EXACT_BOXES.min_sqnr_db:
            yield f"{name} {ratio:.1f} dB, at least {EXACT_BOXES.min_sqnr_db:.0f} dB wanted"


def _without_boxes(name: str, values: np.ndarray) -> np.ndarray:
    if name == BOXES:
        return values[..., :0]
    return values[..., [SCORE, CLASS]] if name == DETECTIONS else values
