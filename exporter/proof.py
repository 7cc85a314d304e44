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
from exporter.metrics import accuracy, quality
from exporter.parity import compare, compare_pair, first_divergence
from exporter.spec import Precision, Rules
from exporter.target import CannotRunError, Claim, Examination, Examiner, Runner, Target
from exporter.verdicts import TOLERANCES, Outcome, Pair, Parity, Tolerance


@dataclass(frozen=True, kw_only=True, eq=False)
class Labeled:
    """Images with true labels: float32 (n, 3, r, r) and int64 (n,)."""

    images: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """What an artifact is compared with."""

    graph: QuantizedGraph
    precision: Precision
    rules: Rules
    images: np.ndarray  # golden vectors, float32 (n, 3, r, r)
    expected: np.ndarray  # the golden's logits for them
    float_expected: np.ndarray  # the float model's logits for them
    tolerances: Mapping[Precision, Tolerance]  # what `exporter.tolerances` asks of this network
    holdout: np.ndarray | None = None  # float32 (m, 3, r, r), for quality
    float_logits: np.ndarray | None = None  # the float model's logits for `holdout`
    labeled: Labeled | None = None

    @property
    def tolerance(self) -> Tolerance:
        """How near the artifact's logits must come to `expected`."""
        return self.tolerances[self.precision]

    @property
    def step(self) -> float | None:
        """The int8 scale of the logits; None for a float artifact."""
        qparams = self.graph.output.qparams
        return None if qparams is None else qparams.scale


@dataclass(frozen=True, kw_only=True, eq=False)
class Proved:
    """An artifact's record, and its logits on the golden vectors for the pairwise comparison."""

    record: ArtifactRecord
    evidence: Evidence
    logits: np.ndarray | None


def prove(target: Target, path: Path, evidence: Evidence, notes: tuple[str, ...] = ()) -> Proved:
    """Load `path`, run it and compare; an artifact that cannot be loaded has drifted."""
    record = ArtifactRecord(
        target=target.info.name,
        precision=evidence.precision,
        path=path.name,
        size_bytes=size(path),
        sha256=sha256(path),
        parity=_not_compared(Outcome.NOT_RUN, evidence, ""),
        notes=_told(notes, _relaxed(evidence)),
    )
    try:
        runner = target.backend.load(path)
        examination = _examined(target, path, evidence)
        judged = runner if examination is None else examination.runner
        logits = judged(evidence.images)
        measured = _with_quality(record, runner, evidence)
    except CannotRunError as error:
        parity = _not_compared(Outcome.NOT_RUN, evidence, error.message)
        return _proved(record, evidence, parity, None)
    except Exception as error:  # whatever a runtime raises, this artifact does not run
        parity = _not_compared(Outcome.DRIFTED, evidence, f"cannot be run: {_one_line(error)}")
        return _proved(record, evidence, parity, None)
    parity = compare(evidence.expected, logits, evidence.tolerance, evidence.step)
    if parity.outcome is Outcome.DRIFTED:
        parity = dataclasses.replace(parity, reason=_locate(judged, evidence, logits, parity))
    if examination is not None:
        parity = _with_gates(parity, examination)
        told = _told(measured.notes, examination.notes)
        measured = dataclasses.replace(measured, notes=told)
    return _proved(measured, evidence, parity, logits)


def _told(before: tuple[str, ...], now: tuple[str, ...]) -> tuple[str, ...]:
    """All notes once: `verify` hands on what was told before."""
    return tuple(dict.fromkeys((*before, *now)))


def _relaxed(evidence: Evidence) -> tuple[str, ...]:
    """Why less is asked of this network than of others; nothing where it is not."""
    usual = evidence.tolerance == TOLERANCES[evidence.precision]
    return () if usual else (evidence.tolerance.why,)


def _examined(target: Target, path: Path, evidence: Evidence) -> Examination | None:
    """What a target that proves its artifacts in parts found; None for any other."""
    if not isinstance(target.backend, Examiner):
        return None
    claim = Claim(
        graph=evidence.graph,
        precision=evidence.precision,
        images=evidence.images,
        expected=evidence.expected,
        float_logits=evidence.float_expected,
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
    record: ArtifactRecord, evidence: Evidence, parity: Parity, logits: np.ndarray | None
) -> Proved:
    return Proved(
        record=dataclasses.replace(record, parity=parity), evidence=evidence, logits=logits
    )


def _locate(runner: Runner, evidence: Evidence, logits: np.ndarray, parity: Parity) -> str:
    """Where the worst image begins to differ."""
    if logits.shape != evidence.expected.shape or not np.isfinite(logits).all():
        return parity.reason
    worst = int(np.abs(logits - evidence.expected).max(1).argmax())
    image = evidence.images[worst : worst + 1]
    found = first_divergence(evidence.graph, evidence.rules, evidence.tolerance, runner, image)
    return "; ".join(reason for reason in (parity.reason, f"image {worst}: {found}") if reason)


def _with_quality(record: ArtifactRecord, runner: Runner, evidence: Evidence) -> ArtifactRecord:
    if evidence.holdout is not None and evidence.float_logits is not None:
        against_float = quality(evidence.float_logits, runner(evidence.holdout))
        record = dataclasses.replace(record, quality=against_float)
    if evidence.labeled is not None:
        against_labels = accuracy(runner(evidence.labeled.images), evidence.labeled.labels)
        record = dataclasses.replace(record, accuracy=against_labels)
    return record


def all_pairs(proved: list[Proved]) -> tuple[Pair, ...]:
    """Every two artifacts of one precision that ran, compared on the golden vectors."""
    pairs = []
    for a, b in itertools.combinations(proved, 2):
        if a.evidence.precision is not b.evidence.precision:
            continue
        if a.logits is None or b.logits is None:
            silent = a if a.logits is None else b
            pair = Pair(
                a=a.record.path,
                b=b.record.path,
                outcome=Outcome.NOT_RUN,
                reason=f"{silent.record.path} gave no logits",
            )
        else:
            pair = compare_pair(
                (a.record.path, a.logits, a.evidence.expected),
                (b.record.path, b.logits, b.evidence.expected),
                a.evidence.tolerance,
                a.evidence.step,
            )
        pairs.append(pair)
    return tuple(pairs)
