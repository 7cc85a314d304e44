"""What of a build directory is measured on this machine, and what is not and why."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from exporter.devices.host_rounds import Subject
from exporter.errors import ArtifactError, MissingDependencyError
from exporter.files import sha256, size
from exporter.inspection import target_of
from exporter.latency.records import ArtifactProfile, Measured
from exporter.manifest import ArtifactRecord, Manifest, read_manifest
from exporter.preprocess import normalize
from exporter.spec import Precision
from exporter.target import Target
from exporter.timing import FloatBaseline, Timed
from exporter.vectors import FOLDER, read_vectors

EAGER = "torch eager"  # the name of the float network as PyTorch runs it


def subjects_in(build: Path, named: Sequence[str], targets: Mapping[str, Target]) -> list[Subject]:
    """Artifacts by name, or all of them and the float network; raises ArtifactError."""
    manifest = read_manifest(build)
    found = [
        subject_of(build, record, manifest, _target(record, targets))
        for record in manifest.artifacts
    ]
    found += _networks(build, manifest, targets)
    by_name = {subject.name: subject for subject in found}
    if unknown := [name for name in named if name not in by_name]:
        raise ArtifactError(
            f"{build}: holds no artifact {', '.join(unknown)}", f"it holds {', '.join(by_name)}"
        )
    return [by_name[name] for name in dict.fromkeys(named)] if named else found


def artifact_at(path: Path, targets: Mapping[str, Target]) -> Subject:
    """One artifact in its build directory; raises ArtifactError."""
    target = target_of(path, targets)
    manifest = read_manifest(path.parent)
    for record in manifest.artifacts:
        if record.path == path.name:
            return subject_of(path.parent, record, manifest, target)
    raise ArtifactError(
        f"{path}: the manifest beside it does not know it", "pass an artifact of a build directory"
    )


def subject_of(build: Path, record: ArtifactRecord, manifest: Manifest, target: Target) -> Subject:
    """An artifact as the manifest describes it; nothing is opened."""
    graphs = {graph.precision: build / graph.path for graph in manifest.graphs}
    return Subject(
        name=record.path,
        path=build / record.path,
        target=target,
        precision=record.precision,
        sha256=record.sha256,
        size_bytes=record.size_bytes,
        graph=graphs.get(record.precision.graph),
    )


def why_not(subject: Subject) -> ArtifactProfile | None:
    """The profile of what is not measured, or None of what can be tried."""
    backend = subject.target.backend
    if not subject.path.exists():
        return subject.profile(Measured.FAILED, "missing; build again")
    if sha256(subject.path) != subject.sha256:
        reason = "not the bytes that were built (SHA-256 differs from the manifest)"
        return subject.profile(Measured.FAILED, reason)
    if not isinstance(backend, Timed):
        return subject.profile(
            Measured.NOT_RUN, f"needs another machine: it runs on {subject.target.info.runs_on}"
        )
    try:
        backend.check()
    except MissingDependencyError as error:
        return subject.profile(Measured.NOT_RUN, f"{error.message} ({error.hint})")
    return None


@contextmanager
def scratch_with_image(build: Path) -> Iterator[tuple[Path, Path]]:
    """A temporary folder, and in it the first golden vector as every session is fed it."""
    preprocess = read_manifest(build).spec.preprocess
    vectors, _ = read_vectors(build / FOLDER)
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "image.npy"
        np.save(image, normalize(vectors.pixels[:1], preprocess))
        yield Path(folder), image


def _networks(build: Path, manifest: Manifest, targets: Mapping[str, Target]) -> Iterator[Subject]:
    """The float graph in a framework that can run it as it is."""
    frameworks = [t for t in targets.values() if isinstance(t.backend, FloatBaseline)]
    records = [g for g in manifest.graphs if g.precision is Precision.FP32]
    if not frameworks or not records:
        return
    path = build / records[0].path
    yield Subject(
        name=EAGER,
        path=path,
        target=frameworks[0],
        precision=Precision.FP32,
        sha256=records[0].sha256,
        size_bytes=size(path) if path.exists() else 0,
        graph=path,
        is_network=True,
    )


def _target(record: ArtifactRecord, targets: Mapping[str, Target]) -> Target:
    if record.target not in targets:
        raise ArtifactError(f"{record.path}: target {record.target!r} is not known to this version")
    return targets[record.target]
