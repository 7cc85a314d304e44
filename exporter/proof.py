"""One artifact, reloaded from disk, against the golden; all artifacts against each other."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from exporter.errors import ExportError
from exporter.files import sha256, size
from exporter.graph import QuantizedGraph
from exporter.manifest import ArtifactRecord
from exporter.metrics import quality
from exporter.parity import compare_pair, compare_results, first_divergence
from exporter.rating import Labeled, rated
from exporter.results import DETECTIONS, LABELS, SCORE, Results, same_layout
from exporter.self_test import SelfTest, exact_test, limited_test, near_test
from exporter.spec import Precision, Rules
from exporter.target import CannotRunError, Claim, Examination, Examiner, Runner, Target
from exporter.vectors import reference_key
from exporter.verdicts import TOLERANCES, Outcome, Pair, Parity, Tolerance


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """What an artifact is compared with."""

    graph: QuantizedGraph
    precision: Precision
    rules: Rules
    images: np.ndarray  # golden vectors, float32 (n, 3, r, r)
    expected: Results  # the golden's for them
    float_expected: Results  # the float model's for them
    tolerances: Mapping[Precision, Tolerance]  # what `exporter.tolerances` asks of this network
    holdout: np.ndarray | None = None  # float32 (m, 3, r, r), for quality
    float_holdout: Results | None = None  # the float model's results for `holdout`
    labeled: Labeled | None = None

    @property
    def tolerance(self) -> Tolerance:
        """How near the artifact's results must come to `expected`."""
        return self.tolerances[self.precision]

    @property
    def steps(self) -> dict[str, float]:
        """The int8 scale of the outputs that have one; joined maps have none in common."""
        outputs = self.graph.outputs
        return {t.name: t.qparams.scale for t in outputs if t.qparams is not None}


@dataclass(frozen=True, kw_only=True, eq=False)
class Proved:
    """An artifact's record, and its results on the golden vectors for the pairwise comparison."""

    record: ArtifactRecord
    evidence: Evidence
    results: Results | None


def prove(target: Target, path: Path, evidence: Evidence, notes: tuple[str, ...] = ()) -> Proved:
    """Load `path`, run it and compare; an artifact that cannot be loaded has drifted."""
    record = ArtifactRecord(
        target=target.info.name,
        precision=evidence.precision,
        path=path.name,
        size_bytes=size(path),
        sha256=sha256(path),
        parity=_not_compared(Outcome.NOT_RUN, evidence, ""),
        self_test=_self_test(evidence),
        notes=_told(notes, (*_relaxed(evidence), *_hollow(evidence))),
    )
    try:
        runner = target.backend.load(path)
        examination = _examined(target, path, evidence)
        judged = runner if examination is None else examination.runner
        results = judged.results(evidence.images)
        measured = _with_quality(record, runner, evidence)
    except CannotRunError as error:
        parity = _not_compared(Outcome.NOT_RUN, evidence, error.message)
        return _proved(record, evidence, parity, None)
    except Exception as error:  # whatever a runtime raises, this artifact does not run
        parity = _not_compared(Outcome.DRIFTED, evidence, f"cannot be run: {_one_line(error)}")
        return _proved(record, evidence, parity, None)
    parity = compare_results(evidence.expected, results, evidence.tolerance, evidence.steps)
    if parity.outcome is Outcome.DRIFTED:
        parity = dataclasses.replace(parity, reason=_locate(judged, evidence, results, parity))
    if examination is not None:
        parity = _with_gates(parity, examination)
        measured = dataclasses.replace(
            measured,
            notes=_told(measured.notes, examination.notes),
            self_test=_device_test(examination, evidence) or measured.self_test,
        )
    return _proved(measured, evidence, parity, results)


def _self_test(evidence: Evidence) -> SelfTest:
    """What an app asks of an artifact whose runtime is held to the golden."""
    key = reference_key(evidence.precision, evidence.rules)
    if evidence.precision is Precision.INT8:
        return exact_test(key, evidence.expected)
    return near_test(key, evidence.expected, evidence.tolerance)


def _device_test(examination: Examination, evidence: Evidence) -> SelfTest | None:
    """What it asks where the target says how far a device may be from the float model."""
    if not examination.device_limits:
        return None
    limits = examination.device_limits
    return limited_test(str(Precision.FP32), evidence.float_expected, limits)


def _told(before: tuple[str, ...], now: tuple[str, ...]) -> tuple[str, ...]:
    """All notes once: `verify` hands on what was told before."""
    return tuple(dict.fromkeys((*before, *now)))


def _relaxed(evidence: Evidence) -> tuple[str, ...]:
    """Why less is asked of this network than of others; nothing where it is not."""
    usual = evidence.tolerance == TOLERANCES[evidence.precision]
    return () if usual else (evidence.tolerance.why,)


def _hollow(evidence: Evidence) -> tuple[str, ...]:
    """What equal results do not show, where there is nothing in them."""
    expected = evidence.expected
    if DETECTIONS in expected and not (expected[DETECTIONS][..., SCORE] >= 0).any():
        return ("nothing is detected on any golden vector, so suppression is hardly proved",)
    if LABELS in expected and np.ptp(expected[LABELS]) == 0:
        return ("every pixel of the golden vectors has one label, so labels are hardly proved",)
    return ()


def _examined(target: Target, path: Path, evidence: Evidence) -> Examination | None:
    """What a target that proves its artifacts in parts found; None for any other."""
    if not isinstance(target.backend, Examiner):
        return None
    claim = Claim(
        graph=evidence.graph,
        precision=evidence.precision,
        images=evidence.images,
        expected=evidence.expected,
        float_results=evidence.float_expected,
        tolerances=evidence.tolerances,
    )
    return target.backend.examine(path, claim)


def _with_gates(parity: Parity, examination: Examination) -> Parity:
    """One gate that stays shut is drift, whatever the logits are."""
    failed = [f"{gate.name}: {gate.detail}" for gate in examination.gates if not gate.passed]
    return dataclasses.replace(
        parity,
        outcome=Outcome.DRIFTED if failed else parity.outcome,
        reason="; ".join(reason for reason in (*failed, parity.reason) if reason),
        by=examination.by,
        gates=examination.gates,
    )


def _one_line(error: Exception) -> str:
    if isinstance(error, ExportError):
        return error.message
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _not_compared(outcome: Outcome, evidence: Evidence, reason: str) -> Parity:
    return Parity(outcome=outcome, tolerance=evidence.tolerance.name, reason=reason)


def _proved(
    record: ArtifactRecord, evidence: Evidence, parity: Parity, results: Results | None
) -> Proved:
    return Proved(
        record=dataclasses.replace(record, parity=parity), evidence=evidence, results=results
    )


def _locate(runner: Runner, evidence: Evidence, results: Results, parity: Parity) -> str:
    """Where the worst image begins to differ."""
    expected = evidence.expected
    if same_layout(expected, results) or not all(np.isfinite(v).all() for v in results.values()):
        return parity.reason
    off = np.zeros(len(evidence.images))
    for name, value in results.items():
        difference = np.abs(value.astype(np.float64) - expected[name])
        off = np.maximum(off, difference.reshape(len(off), -1).max(1))
    worst = int(off.argmax())
    image = evidence.images[worst : worst + 1]
    found = first_divergence(evidence.graph, evidence.rules, evidence.tolerance, runner, image)
    return "; ".join(reason for reason in (parity.reason, f"image {worst}: {found}") if reason)


def _with_quality(record: ArtifactRecord, runner: Runner, evidence: Evidence) -> ArtifactRecord:
    if evidence.holdout is not None and evidence.float_holdout is not None:
        against_float = quality(evidence.float_holdout, runner.results(evidence.holdout))
        record = dataclasses.replace(record, quality=against_float)
    if evidence.labeled is not None:
        right = rated(runner.results, evidence.labeled, evidence.graph.spec)
        record = dataclasses.replace(record, accuracy=right)
    return record


def all_pairs(proved: list[Proved]) -> tuple[Pair, ...]:
    """Every two artifacts of one precision that ran, compared on the golden vectors."""
    pairs = []
    for a, b in itertools.combinations(proved, 2):
        if a.evidence.precision is not b.evidence.precision:
            continue
        if a.results is None or b.results is None:
            silent = a if a.results is None else b
            pair = Pair(
                a=a.record.path,
                b=b.record.path,
                outcome=Outcome.NOT_RUN,
                reason=f"{silent.record.path} gave no results",
            )
        else:
            pair = compare_pair(
                (a.record.path, a.results, a.evidence.expected),
                (b.record.path, b.results, b.evidence.expected),
                a.evidence.tolerance,
                a.evidence.steps,
            )
        pairs.append(pair)
    return tuple(pairs)
