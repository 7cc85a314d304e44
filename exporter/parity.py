"""Whether an artifact computes what the reference computes: same, drifted, or not run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from exporter import golden
from exporter.graph import QuantizedGraph
from exporter.metrics import sqnr_db
from exporter.parity_parts import hidden_fault, lost_label
from exporter.results import (
    BOXES,
    CLASS,
    DETECTIONS,
    LABELS,
    SCORE,
    Results,
    agreement,
    equal_images,
    same_layout,
    shared_detections,
)
from exporter.spec import Rules
from exporter.target import Runner
from exporter.verdicts import EXACT, EXACT_BOXES, Outcome, Pair, Parity, Tolerance

Steps = Mapping[str, float]  # int8 scale of an output, where it has one


def compare_results(
    expected: Results, actual: Results, tolerance: Tolerance, steps: Steps
) -> Parity:
    """Compare every output, each by what can be asked of it; the worst one decides."""
    if problem := same_layout(expected, actual):
        return Parity(outcome=Outcome.DRIFTED, tolerance=tolerance.name, reason=problem)
    parts = {
        name: compare_output(name, value, actual[name], tolerance, steps.get(name))
        for name, value in expected.items()
    }
    if len(parts) == 1:
        (parity,) = parts.values()
        return parity
    return _joined(parts, tolerance)


def compare_output(
    name: str, expected: np.ndarray, actual: np.ndarray, tolerance: Tolerance, step: float | None
) -> Parity:
    """One output by its name: labels are counted, detections matched, all else is a ratio."""
    if name == LABELS:
        parity = _counted(expected, actual, tolerance, float((expected == actual).mean()))
        return _unless(parity, "" if tolerance == EXACT else lost_label(expected, actual))
    if name == DETECTIONS:
        return _compare_detections(expected, actual, tolerance)
    if name == BOXES and tolerance == EXACT:
        tolerance = EXACT_BOXES
    parity = compare(expected, actual, tolerance, step)
    if parity.outcome is Outcome.DRIFTED:
        return parity
    return _unless(parity, hidden_fault(name, expected, actual, tolerance))


def _unless(parity: Parity, fault: str) -> Parity:
    """Drift where a part is wrong, however good the whole is."""
    if not fault:
        return parity
    reason = "; ".join(part for part in (parity.reason, fault) if part)
    return dataclasses.replace(parity, outcome=Outcome.DRIFTED, reason=reason)


def compare(
    expected: np.ndarray, actual: np.ndarray, tolerance: Tolerance, step: float | None
) -> Parity:
    """Compare float32 arrays such as (n, classes) logits; `step` is their int8 scale, if any."""
    if expected.shape != actual.shape:
        return Parity(
            outcome=Outcome.DRIFTED,
            tolerance=tolerance.name,
            reason=f"logits are {actual.shape}, not {expected.shape}",
        )
    finite = bool(np.isfinite(actual).all())
    ratio = sqnr_db(expected, actual) if finite else float("-inf")
    equal = finite and np.array_equal(expected, actual)
    same = equal or (finite and ratio >= tolerance.min_sqnr_db)
    difference = np.abs(expected.astype(np.float64) - actual).max() if finite else float("inf")
    return Parity(
        outcome=Outcome.SAME if same else Outcome.DRIFTED,
        tolerance=tolerance.name,
        images=len(expected),
        max_lsb=_steps(difference, step, equal, tolerance) if finite else None,
        max_abs=float(difference) if finite else None,
        sqnr_db=float(ratio) if np.isfinite(ratio) else None,
        reason=_shortfall(finite, same, tolerance),
    )


def _steps(difference: float, step: float | None, equal: bool, tolerance: Tolerance) -> int | None:
    """The largest difference in steps; maps that were joined have no step in common."""
    if step:
        return round(difference / step)
    return 0 if equal and tolerance == EXACT else None


def _shortfall(finite: bool, same: bool, tolerance: Tolerance) -> str:
    """What was asked, where that depends on the precision and perhaps on the network."""
    if not finite:
        return "logits are not finite"
    if same or np.isinf(tolerance.min_sqnr_db):
        return ""
    return f"at least {tolerance.min_sqnr_db:.0f} dB wanted"


def _counted(
    expected: np.ndarray, actual: np.ndarray, tolerance: Tolerance, share: float
) -> Parity:
    """Where there is no ratio: the share of what agrees."""
    same = share >= tolerance.min_agreement
    return Parity(
        outcome=Outcome.SAME if same else Outcome.DRIFTED,
        tolerance=tolerance.name,
        images=len(expected),
        agreement=share,
        max_lsb=0 if np.array_equal(expected, actual) and tolerance == EXACT else None,
        reason="" if same else f"{share:.2%} agree, at least {tolerance.min_agreement:.2%} wanted",
    )


def _compare_detections(expected: np.ndarray, actual: np.ndarray, tolerance: Tolerance) -> Parity:
    """Rows; of an int8 model in one order, with equal scores and classes."""
    if not np.isfinite(actual).all():
        return Parity(
            outcome=Outcome.DRIFTED, tolerance=tolerance.name, reason="detections are not finite"
        )
    share = shared_detections(expected, actual)
    if tolerance != EXACT:
        return _counted(expected, actual, tolerance, share)
    columns = [SCORE, CLASS]
    if not np.array_equal(expected[..., columns], actual[..., columns]):
        reason = f"scores, classes or their order differ; {share:.2%} agree"
        drifted = Outcome.DRIFTED
        return Parity(outcome=drifted, tolerance=EXACT.name, agreement=share, reason=reason)
    boxes = compare(expected[..., :SCORE], actual[..., :SCORE], EXACT_BOXES, None)
    return boxes if boxes.outcome is Outcome.DRIFTED else _with_scores_equal(boxes)


def _with_scores_equal(boxes: Parity) -> Parity:
    """The verdict on rows whose scores and classes are equal and whose boxes came near enough."""
    return Parity(
        outcome=Outcome.SAME,
        tolerance=EXACT.name,
        images=boxes.images,
        max_lsb=0,
        max_abs=boxes.max_abs,
        sqnr_db=boxes.sqnr_db,
        agreement=1.0,
    )


def _joined(parts: Mapping[str, Parity], tolerance: Tolerance) -> Parity:
    """The worst of every figure, and each output's own verdict."""

    def worst(field: str, choose: Callable[[list[float]], float]) -> float | None:
        figures = [value for p in parts.values() if (value := getattr(p, field)) is not None]
        return choose(figures) if figures else None

    drifted = any(p.outcome is Outcome.DRIFTED for p in parts.values())
    return Parity(
        outcome=Outcome.DRIFTED if drifted else Outcome.SAME,
        tolerance=tolerance.name,
        images=next(iter(parts.values())).images,
        max_lsb=_whole(worst("max_lsb", max)),
        max_abs=worst("max_abs", max),
        sqnr_db=worst("sqnr_db", min),
        agreement=worst("agreement", min),
        reason="; ".join(f"{name}: {p.reason}" for name, p in parts.items() if p.reason),
        outputs=dict(parts),
    )


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def first_divergence(
    graph: QuantizedGraph, rules: Rules, tolerance: Tolerance, runner: Runner, image: np.ndarray
) -> str:
    """Name the first tensor that differs on one (1, 3, r, r) image, where the runtime shows any."""
    actual = runner.layers(image)
    expected: dict[str, np.ndarray] = {}
    golden.run_outputs(graph, image, rules, trace=expected.__setitem__)
    seen = [name for name in expected if name in actual]
    for name in seen:
        if not _layer_agrees(expected[name], actual[name], tolerance):
            return f"first diverging layer: {name}"
    if not seen:
        return "the runtime shows no layers"
    return f"all {len(seen)} visible layers agree; the difference is after {seen[-1]}"


def _layer_agrees(expected: np.ndarray, actual: np.ndarray, tolerance: Tolerance) -> bool:
    if expected.shape != actual.shape:
        return False
    if tolerance == EXACT:
        return bool(np.array_equal(expected, actual))
    # A layer of a float model is judged by the whole model's tolerance: noise only adds up.
    return sqnr_db(expected, actual) >= tolerance.min_sqnr_db


def compare_pair(
    a: tuple[str, Results, Results],
    b: tuple[str, Results, Results],
    tolerance: Tolerance,
    steps: Steps,
) -> Pair:
    """Two artifacts, each (name, its results, its golden's results), on the same images.

    Runtimes with different rounding rules may differ, but only as their goldens do: then the
    outcome is still "same" and the reason says so. Float pairs use the tolerance of either.
    """
    (name_a, results_a, golden_a), (name_b, results_b, golden_b) = a, b
    parity = compare_results(results_a, results_b, tolerance, steps)
    if problem := same_layout(results_a, results_b):
        return Pair(a=name_a, b=name_b, outcome=Outcome.DRIFTED, reason=problem)
    outcome, reason = parity.outcome, parity.reason
    rules_differ = not equal_images(golden_a, golden_b).all()
    explicable = outcome is Outcome.DRIFTED and tolerance == EXACT and rules_differ
    if explicable and _explained((results_a, golden_a), (results_b, golden_b)):
        outcome, reason = Outcome.SAME, "differs exactly as the two rounding rules do"
    return Pair(
        a=name_a,
        b=name_b,
        outcome=outcome,
        max_lsb=parity.max_lsb,
        max_abs=parity.max_abs,
        exact_images=float(equal_images(results_a, results_b).mean()),
        top1_agreement=agreement(results_a, results_b),
        reason=reason,
    )


def _explained(a: tuple[Results, Results], b: tuple[Results, Results]) -> bool:
    """Whether both give what their own goldens give, but for what no integer decides."""
    return all(
        compare_results(expected, actual, EXACT, {}).outcome is Outcome.SAME
        for actual, expected in (a, b)
    )
