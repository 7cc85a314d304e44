"""What a profile works on, read and checked before any device is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from exporter.devices.request import ProfileRequest
from exporter.errors import ArtifactError
from exporter.files import sha256
from exporter.latency.records import Settings
from exporter.manifest import ArtifactRecord, Manifest, read_manifest
from exporter.vectors import FOLDER as GOLDEN
from exporter.vectors import Stored, Vectors, read_vectors

DAMAGED = "not what the manifest says"
TARGET = "android"  # whose artifacts the runner runs


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """A build directory and the artifacts of it that were asked for."""

    build: Path
    manifest: Manifest
    chosen: tuple[ArtifactRecord, ...]
    vectors: Vectors
    stored: Stored
    settings: Settings
    damaged: frozenset[str]  # artifacts that are not what the manifest says

    @property
    def programs(self) -> tuple[ArtifactRecord, ...]:
        """Those that the runner runs."""
        return tuple(r for r in self.chosen if r.target == TARGET and r.path not in self.damaged)

    def graph_of(self, record: ArtifactRecord) -> Path:
        """The file of what an artifact was emitted from."""
        return next(
            self.build / graph.path
            for graph in self.manifest.graphs
            if graph.precision is record.precision.graph
        )


def read_job(request: ProfileRequest) -> Job:
    """Raises ArtifactError for what is missing, damaged, or nothing for a phone."""
    manifest = read_manifest(request.build)
    vectors, stored = read_vectors(request.build / GOLDEN)
    chosen = _chosen(manifest, request.artifacts)
    job = Job(
        build=request.build,
        manifest=manifest,
        chosen=chosen,
        vectors=vectors,
        stored=stored,
        settings=request.settings,
        damaged=frozenset(r.path for r in chosen if not _is_whole(request.build, r)),
    )
    if not job.programs:
        if lost := [r.path for r in chosen if r.target == TARGET]:
            raise ArtifactError(f"{request.build / lost[0]}: {DAMAGED}", "build again")
        raise ArtifactError(
            f"{request.build}: no .pte program of XNNPACK among the artifacts",
            "build one with: mnv2-export build -t android",
        )
    return job


def _chosen(manifest: Manifest, names: Sequence[str]) -> tuple[ArtifactRecord, ...]:
    known = {record.path: record for record in manifest.artifacts}
    if unknown := [name for name in names if name not in known]:
        raise ArtifactError(
            f"{unknown[0]}: no artifact of this build", f"there are: {', '.join(known)}"
        )
    return tuple(record for record in manifest.artifacts if not names or record.path in names)


def _is_whole(build: Path, record: ArtifactRecord) -> bool:
    path = build / record.path
    return record.target != TARGET or (path.is_file() and sha256(path) == record.sha256)
