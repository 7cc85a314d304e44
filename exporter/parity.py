"""Whether an artifact computes what the reference computes: same, drifted, or not run."""

from __future__ import annotations

import numpy as np

from exporter import golden
from exporter.graph import QuantizedGraph
from exporter.metrics import sqnr_db
from exporter.spec import Rules
from exporter.target import Runner
from exporter.verdicts import EXACT, Outcome, Pair, Parity, Tolerance


def compare(
    expected: np.ndarray, actual: np.ndarray, tolerance: Tolerance, step: float | None
) -> Parity:
    """Compare float32 (n, classes) logits; `step` is the int8 scale of the logits, if any."""
    if expected.shape != actual.shape:
        return Parity(
            outcome=Outcome.DRIFTED,
            tolerance=tolerance.name,
            reason=f"logits are {actual.shape}, not {expected.shape}",
        )
    finite = bool(np.isfinite(actual).all())
    ratio = sqnr_db(expected, actual) if finite else float("-inf")
    same = finite and (np.array_equal(expected, actual) or ratio >= tolerance.min_sqnr_db)
    difference = np.abs(expected.astype(np.float64) - actual).max() if finite else float("inf")
    return Parity(
        outcome=Outcome.SAME if same else Outcome.DRIFTED,
        tolerance=tolerance.name,
        images=len(expected),
        max_lsb=round(difference / step) if step and finite else None,
        max_abs=float(difference) if finite else None,
        sqnr_db=float(ratio) if np.isfinite(ratio) else None,
        reason=_shortfall(finite, same, tolerance),
    )


def _shortfall(finite: bool, same: bool, tolerance: Tolerance) -> str:
    """What was asked, where that depends on the precision and perhaps on the network."""
    if not finite:
        return "logits are not finite"
    if same or np.isinf(tolerance.min_sqnr_db):
        return ""
    return f"at least {tolerance.min_sqnr_db:.0f} dB wanted"


def first_divergence(
    graph: QuantizedGraph, rules: Rules, tolerance: Tolerance, runner: Runner, image: np.ndarray
) -> str:
    """Name the first tensor that differs on one (1, 3, r, r) image, where the runtime shows any."""
    actual = runner.layers(image)
    expected: dict[str, np.ndarray] = {}
    golden.run(graph, image, rules, trace=expected.__setitem__)
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
    a: tuple[str, np.ndarray, np.ndarray],
    b: tuple[str, np.ndarray, np.ndarray],
    tolerance: Tolerance,
    step: float | None,
) -> Pair:
    """Two artifacts, each (name, its logits, its golden's logits), on the same images.

    Runtimes with different rounding rules may differ, but only as their goldens do: then the
    outcome is still "same" and the reason says so. Float pairs use the tolerance of either.
    """
    (name_a, logits_a, golden_a), (name_b, logits_b, golden_b) = a, b
    parity = compare(logits_a, logits_b, tolerance, step)
    outcome, reason = parity.outcome, parity.reason
    rules_differ = not np.array_equal(golden_a, golden_b)
    if outcome is Outcome.DRIFTED and tolerance == EXACT and rules_differ:
        explained = np.array_equal(logits_a - logits_b, golden_a - golden_b)
        if explained:
            outcome, reason = Outcome.SAME, "differs exactly as the two rounding rules do"
    return Pair(
        a=name_a,
        b=name_b,
        outcome=outcome,
        max_lsb=parity.max_lsb,
        max_abs=parity.max_abs,
        exact_images=float((logits_a == logits_b).all(1).mean()),
        top1_agreement=float((logits_a.argmax(1) == logits_b.argmax(1)).mean()),
        reason=reason,
    )
