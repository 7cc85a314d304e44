"""Re-run every proof on what is on disk, with the graphs and golden vectors beside it."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from exporter.cache.builds import NOTE_START
from exporter.errors import ArtifactError
from exporter.events import ArtifactChecked, Event, Finished, Stage, StageStarted
from exporter.files import sha256
from exporter.graph import QuantizedGraph
from exporter.graph_file import load_graph
from exporter.manifest import ArtifactRecord, Manifest, read_manifest
from exporter.proof import Evidence, Proved, all_pairs, prove
from exporter.spec import Precision
from exporter.target import Target
from exporter.threads import one_thread
from exporter.tolerances import tolerances
from exporter.vectors import (
    FOLDER,
    Expected,
    agrees,
    read_vectors,
    reference_key,
    references,
    vector_images,
)
from exporter.verdicts import EXACT, TOLERANCES, Outcome, Tolerance


@dataclass(frozen=True, kw_only=True, eq=False)
class _References:
    """What lies beside the artifacts, and what the graphs give here."""

    graphs: dict[Precision, QuantizedGraph]
    images: np.ndarray  # float32 (n, 3, r, r)
    expected: Expected  # by `reference_key`

    @functools.cached_property
    def tolerances(self) -> Mapping[Precision, Tolerance]:
        """What this network's float artifacts are asked for; measured when first needed."""
        return tolerances(self.graphs[Precision.FP32], self.images)


def verify(folder: Path, targets: Mapping[str, Target]) -> Iterator[Event]:
    """Check hashes, recompute the goldens, reload and compare every artifact in `folder`.

    The last event is `Finished` with the manifest as it would be now: a drifted artifact or pair
    is in it. Raises ArtifactError for files that are missing or are not what the manifest says.
    """
    with one_thread():
        yield from _verify(folder, targets)


def _verify(folder: Path, targets: Mapping[str, Target]) -> Iterator[Event]:
    manifest = read_manifest(folder)
    stage = Stage("files")
    yield stage.started
    _check_files(folder, manifest)
    yield stage.finished(f"{len(manifest.artifacts)} artifacts, {len(manifest.graphs)} graphs")
    graphs = {g.precision: load_graph(folder / g.path) for g in manifest.graphs}
    stage = Stage("golden vectors")
    yield stage.started
    held = _check_vectors(folder, graphs)
    yield stage.finished(f"{len(held.images)} images, recomputed and equal")
    proved: list[Proved] = []
    for record in manifest.artifacts:
        started = time.perf_counter()
        yield StageStarted(stage=record.path)
        target = _target(record, targets)
        evidence = _evidence(record, target, held)
        notes = tuple(note for note in record.notes if not note.startswith(NOTE_START))
        result = prove(target, folder / record.path, evidence, notes)
        proved.append(_with_hash_verdict(result, record))
        yield ArtifactChecked(
            record=proved[-1].record,
            emit_seconds=None,
            check_seconds=time.perf_counter() - started,
        )
    yield Finished(
        manifest=dataclasses.replace(
            manifest, artifacts=tuple(p.record for p in proved), pairs=all_pairs(proved)
        )
    )


def _check_files(folder: Path, manifest: Manifest) -> None:
    """The references must be what was built: without them nothing can be judged."""
    for artifact in manifest.artifacts:
        if not (folder / artifact.path).exists():
            raise ArtifactError(f"{folder / artifact.path}: missing", "build again")
    references = [(g.path, g.sha256) for g in manifest.graphs]
    for name, expected in [*references, (FOLDER, manifest.golden_sha256)]:
        path = folder / name
        if not path.exists():
            raise ArtifactError(f"{path}: missing", "build again")
        if sha256(path) != expected:
            raise ArtifactError(
                f"{path}: not the bytes that were built (SHA-256 differs from the manifest)",
                "build again, or restore the file",
            )


def _check_vectors(folder: Path, graphs: dict[Precision, QuantizedGraph]) -> _References:
    vectors, stored = read_vectors(folder / FOLDER)
    images = vector_images(vectors, graphs[Precision.FP32])
    held = _References(graphs=graphs, images=images, expected=references(graphs, images))
    for key, results in held.expected.items():
        if key not in stored:
            raise ArtifactError(f"{folder / FOLDER}: no {key} results", "build again")
        same = agrees(stored[key], results, EXACT)
        # Float sums may differ in the last bit between machines; integers may not.
        if not same and key == Precision.FP32:
            same = agrees(stored[key], results, held.tolerances[Precision.FP32])
        if not same:
            raise ArtifactError(
                f"{folder / FOLDER}: the {key} golden computes other results than were stored",
                "build again; if it persists, this machine's arithmetic differs: report it",
            )
    return held


def _with_hash_verdict(result: Proved, built: ArtifactRecord) -> Proved:
    """Other bytes than were built are drift, even where they happen to compute the same."""
    if result.record.sha256 == built.sha256:
        return result
    reasons = ["not the bytes that were built (SHA-256 differs)", result.record.parity.reason]
    parity = dataclasses.replace(
        result.record.parity,
        outcome=Outcome.DRIFTED,
        reason="; ".join(r for r in reasons if r),
    )
    return dataclasses.replace(result, record=dataclasses.replace(result.record, parity=parity))


def _target(record: ArtifactRecord, targets: Mapping[str, Target]) -> Target:
    if record.target not in targets:
        raise ArtifactError(f"{record.path}: target {record.target!r} is not known to this version")
    return targets[record.target]


def _evidence(record: ArtifactRecord, target: Target, held: _References) -> Evidence:
    key = reference_key(record.precision, target.info.rules)
    return Evidence(
        graph=held.graphs[record.precision.graph],
        precision=record.precision,
        rules=target.info.rules,
        images=held.images,
        expected=held.expected[key],
        float_expected=held.expected[Precision.FP32],
        tolerances=TOLERANCES if record.precision is Precision.INT8 else held.tolerances,
    )
