"""The models of a build directory, or one artifact, opened to be run on the same images."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from exporter import golden
from exporter.errors import ArtifactError, ExportError, MissingDependencyError
from exporter.graph import QuantizedGraph
from exporter.graph_file import load_graph
from exporter.inspection import inspect
from exporter.manifest import FILE_NAME, Manifest, read_manifest
from exporter.results import Results
from exporter.scoring.records import FLOAT
from exporter.spec import ModelSpec, Precision
from exporter.target import CannotRunError, Target


class Runs(Protocol):
    """The part of a `target.Runner` that is needed here."""

    def results(self, images: np.ndarray) -> Results:
        """Every output by name."""
        ...

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """The one output of a model that has one."""
        ...


Run = Callable[[Runs, np.ndarray], Results]
Keep = Callable[[str, Results, int], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """A model that runs."""

    path: str
    runner: Runs
    seconds: list[float] = field(default_factory=list)  # of every batch


@dataclass(frozen=True, kw_only=True)
class Silence:
    """Why a model does not run."""

    reason: str
    failed: bool = False  # it should run


@dataclass(frozen=True, kw_only=True, eq=False)
class Models:
    """All of them; while they run, one that breaks moves from `subjects` to `silent`."""

    spec: ModelSpec
    subjects: list[Subject]
    silent: dict[str, Silence]  # by path
    order: tuple[str, ...]

    def seconds(self, path: str) -> float:
        """In one that ran."""
        return next(sum(s.seconds) for s in self.subjects if s.path == path)


@dataclass(frozen=True, eq=False)
class Golden:
    """The float reference graph as a runner."""

    graph: QuantizedGraph

    def results(self, images: np.ndarray) -> Results:
        """Every output by name."""
        return golden.run_outputs(self.graph, images)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """The one output of a graph that has one."""
        return golden.run(self.graph, images)


def open_models(path: Path, targets: Mapping[str, Target]) -> Models:
    """By the suffix, as a .mlpackage is a directory too; raises ArtifactError.

    An artifact that does not run here is no error but says why.
    """
    artifact = any(path.name.endswith(s) for t in targets.values() for s in t.info.suffixes)
    return _folder(path, targets) if path.is_dir() and not artifact else _single(path, targets)


def answer(models: Models, images: np.ndarray, run: Run, keep: Keep) -> None:
    """One batch through every model; one that breaks is left out from here on."""
    for subject in tuple(models.subjects):
        try:
            started = time.perf_counter()
            results = run(subject.runner, images)
            seconds = time.perf_counter() - started
            keep(subject.path, results, len(images))
        except Exception as error:  # the others still have something to say
            models.subjects.remove(subject)
            models.silent[subject.path] = _silence(error)
        else:
            subject.seconds.append(seconds)


def _folder(folder: Path, targets: Mapping[str, Target]) -> Models:
    manifest = read_manifest(folder)
    models = Models(
        spec=manifest.spec,
        subjects=[_float(folder, manifest)],
        silent={},
        order=(FLOAT, *(record.path for record in manifest.artifacts)),
    )
    for record in manifest.artifacts:
        target = targets.get(record.target)
        if target is None:
            reason = f"target {record.target!r} is not known to this version"
            models.silent[record.path] = Silence(reason=reason)
        else:
            _open(models, folder / record.path, target)
    return models


def _single(path: Path, targets: Mapping[str, Target]) -> Models:
    """One artifact, and the float model where the build directory around it is still there."""
    found = inspect(path, targets)
    if found.spec is None:
        raise ArtifactError(
            f"{path}: carries no preprocessing and has no {FILE_NAME} beside it",
            "keep the artifact in the directory that `mnv2-export build` wrote",
        )
    reference = [] if found.record is None else [_float(path.parent, read_manifest(path.parent))]
    models = Models(
        spec=found.spec,
        subjects=reference,
        silent={},
        order=(*(subject.path for subject in reference), path.name),
    )
    _open(models, path, targets[found.target])
    return models


def _float(folder: Path, manifest: Manifest) -> Subject:
    path = next((g.path for g in manifest.graphs if g.precision is Precision.FP32), None)
    if path is None or not (folder / path).is_file():
        raise ArtifactError(f"{folder}: the float reference graph is missing", "build again")
    return Subject(path=FLOAT, runner=Golden(load_graph(folder / path)))


def _open(models: Models, path: Path, target: Target) -> None:
    try:
        runner = target.backend.load(path)
    except Exception as error:  # whatever a runtime raises, this artifact does not run
        models.silent[path.name] = _silence(error)
    else:
        models.subjects.append(Subject(path=path.name, runner=runner))


def _silence(error: Exception) -> Silence:
    """An artifact that cannot run here is no failure; one that breaks is."""
    if isinstance(error, ExportError):
        reason = error.message
    else:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
    failed = not isinstance(error, CannotRunError | MissingDependencyError)
    return Silence(reason=reason, failed=failed)
