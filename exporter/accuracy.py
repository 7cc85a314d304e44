"""How often each artifact is right on labeled images, and whether it is less often than float.

All artifacts see the same images, so each is compared with the float model image by image: the
interval of the difference is several times narrower than that of either accuracy.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from exporter import golden
from exporter.errors import (
    ArtifactError,
    ExportError,
    MissingDependencyError,
    UnsupportedError,
)
from exporter.graph import QuantizedGraph
from exporter.graph_file import load_graph
from exporter.inspection import inspect
from exporter.intervals import Interval, Paired, paired, wilson
from exporter.labeled_images import evenly_chosen, labeled_images
from exporter.manifest import FILE_NAME, Manifest, read_manifest
from exporter.preprocess import normalize
from exporter.spec import ModelSpec, Precision
from exporter.target import CannotRunError, Runner, Target
from exporter.threads import one_thread
from exporter.training.loading import source_pixels
from exporter.worst import NO_GUESS, WorstClass, worst_classes

BATCH = 16
TOP = 5
FLOAT = "float model"


@dataclass(frozen=True, kw_only=True)
class Score:
    """One model's accuracy; figures are None when it did not run."""

    path: str
    top1: Interval | None = None
    top5: Interval | None = None
    against_float: Paired | None = None  # of top-1
    seconds: float | None = None  # in the model, reading images not counted
    reason: str = ""  # why it did not run
    failed: bool = False  # it should have


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Every model on the same images."""

    data: str
    images: int
    of: int  # images of the data set; more than `images` under a limit
    classes: int  # that occur among the images
    scores: tuple[Score, ...]  # the float model first where there is one
    worst: tuple[WorstClass, ...] = ()  # by the first model that ran; empty unless asked for
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Progress: so many images have been through every model."""

    images: int
    of: int


@dataclass(frozen=True, kw_only=True, eq=False)
class _Subject:
    """A model that runs, and what it said so far."""

    path: str
    run: Runner | _Golden
    guesses: list[np.ndarray] = field(default_factory=list)  # int (n, 5), the best first
    seconds: list[float] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class _Golden:
    """The float reference graph as a runner."""

    graph: QuantizedGraph

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return golden.run(self.graph, images)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Models:
    spec: ModelSpec
    subjects: list[_Subject]
    silent: dict[str, Score]  # by path: what does not run here
    order: tuple[str, ...]


def evaluate(
    path: Path,
    data: Path,
    targets: Mapping[str, Target],
    limit: int | None = None,
    worst: int = 0,
) -> Iterator[Seen | Evaluation]:
    """Top-1 and top-5 of a build directory's models, or of one artifact; the last is the result.

    `limit` takes images evenly from the whole set, `worst` asks for so many classes. Raises
    ArtifactError when the models cannot be found and DataError when the images cannot be used; an
    artifact that does not run is a Score that says why.
    """
    with one_thread():
        models = _models(path, targets)
        source = labeled_images(data, models.spec)
        chosen = evenly_chosen(len(source), limit)
        labels = np.array([source.target(i) for i in chosen])
        for start in range(0, len(chosen), BATCH):
            part = chosen[start : start + BATCH]
            pixels = [source_pixels(source, i, models.spec.preprocess) for i in part]
            images = normalize(np.stack(pixels), models.spec.preprocess)
            _answer(models, images)
            yield Seen(images=start + len(part), of=len(chosen))
        guesses = {s.path: np.concatenate(s.guesses) for s in models.subjects}
        yield Evaluation(
            data=str(data),
            images=len(chosen),
            of=len(source),
            classes=len(set(labels.tolist())),
            scores=_scores(models, guesses, labels),
            worst=_worst(models.spec, guesses, labels, worst),
            notes=source.notes,
        )


def objection(found: Evaluation) -> ExportError | None:
    """An error when an artifact broke, or when none could run here."""
    failed = [score for score in found.scores if score.failed]
    if failed:
        named = ", ".join(f"{score.path} ({score.reason})" for score in failed)
        return ArtifactError(f"cannot be run: {named}", "run `mnv2-export verify`, or build again")
    if all(score.top1 is None for score in found.scores if score.path != FLOAT):
        return UnsupportedError("no artifact runs on this machine", "the table says why")
    return None


def _models(path: Path, targets: Mapping[str, Target]) -> _Models:
    """By the suffix: a .mlpackage is a directory too."""
    artifact = any(path.name.endswith(s) for t in targets.values() for s in t.info.suffixes)
    return _folder(path, targets) if path.is_dir() and not artifact else _single(path, targets)


def _folder(folder: Path, targets: Mapping[str, Target]) -> _Models:
    manifest = read_manifest(folder)
    models = _Models(
        spec=manifest.spec,
        subjects=[_float(folder, manifest)],
        silent={},
        order=(FLOAT, *(record.path for record in manifest.artifacts)),
    )
    for record in manifest.artifacts:
        target = targets.get(record.target)
        if target is None:
            reason = f"target {record.target!r} is not known to this version"
            models.silent[record.path] = Score(path=record.path, reason=reason)
        else:
            _open(models, folder / record.path, target)
    return models


def _single(path: Path, targets: Mapping[str, Target]) -> _Models:
    """One artifact, and the float model where the build directory around it is still there."""
    found = inspect(path, targets)
    if found.spec is None:
        raise ArtifactError(
            f"{path}: carries no preprocessing and has no {FILE_NAME} beside it",
            "keep the artifact in the directory that `mnv2-export build` wrote",
        )
    reference = [] if found.record is None else [_float(path.parent, read_manifest(path.parent))]
    models = _Models(
        spec=found.spec,
        subjects=reference,
        silent={},
        order=(*(subject.path for subject in reference), path.name),
    )
    _open(models, path, targets[found.target])
    return models


def _float(folder: Path, manifest: Manifest) -> _Subject:
    path = next((g.path for g in manifest.graphs if g.precision is Precision.FP32), None)
    if path is None or not (folder / path).is_file():
        raise ArtifactError(f"{folder}: the float reference graph is missing", "build again")
    return _Subject(path=FLOAT, run=_Golden(load_graph(folder / path)))


def _open(models: _Models, path: Path, target: Target) -> None:
    try:
        runner = target.backend.load(path)
    except Exception as error:  # whatever a runtime raises, this artifact does not run
        models.silent[path.name] = _silent(path.name, error)
    else:
        models.subjects.append(_Subject(path=path.name, run=runner))


def _silent(path: str, error: Exception) -> Score:
    """An artifact that cannot run here is no failure; one that breaks is."""
    if isinstance(error, ExportError):
        reason = error.message
    else:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
    failed = not isinstance(error, CannotRunError | MissingDependencyError)
    return Score(path=path, reason=reason, failed=failed)


def _answer(models: _Models, images: np.ndarray) -> None:
    """One batch through every model; one that breaks is left out from here on."""
    for subject in tuple(models.subjects):
        started = time.perf_counter()
        try:
            logits = subject.run(images)
            guesses = _guesses(logits, len(images), models.spec.classes)
        except Exception as error:  # the others still have something to say
            models.subjects.remove(subject)
            models.silent[subject.path] = _silent(subject.path, error)
        else:
            subject.seconds.append(time.perf_counter() - started)
            subject.guesses.append(guesses)


def _guesses(logits: np.ndarray, images: int, classes: int) -> np.ndarray:
    """The likeliest classes of each image; a logit that is no number is no guess."""
    if logits.shape != (images, classes):
        raise ArtifactError(f"gives logits {logits.shape} for {images} images of {classes}")
    order = np.argsort(-np.nan_to_num(logits, nan=-np.inf), axis=1, kind="stable")[:, :TOP]
    numbers = np.isfinite(np.take_along_axis(logits, order, axis=1))
    return np.where(numbers, order, NO_GUESS)


def _scores(
    models: _Models, guesses: Mapping[str, np.ndarray], labels: np.ndarray
) -> tuple[Score, ...]:
    right = {path: answers == labels[:, None] for path, answers in guesses.items()}
    seconds = {s.path: sum(s.seconds) for s in models.subjects}
    reference = right.get(FLOAT)
    scores = []
    for path in models.order:
        if path in models.silent:
            scores.append(models.silent[path])
            continue
        hits = right[path]
        difference = None
        if reference is not None and path != FLOAT:
            difference = paired(reference[:, 0], hits[:, 0])
        scores.append(
            Score(
                path=path,
                top1=wilson(int(hits[:, 0].sum()), len(hits)),
                top5=wilson(int(hits.any(1).sum()), len(hits)),
                against_float=difference,
                seconds=seconds[path],
            )
        )
    return tuple(scores)


def _worst(
    spec: ModelSpec, guesses: Mapping[str, np.ndarray], labels: np.ndarray, count: int
) -> tuple[WorstClass, ...]:
    """By the float model where it ran, as it is the first."""
    if not (count and guesses):
        return ()
    first = {path: answers[:, 0] for path, answers in guesses.items()}
    return worst_classes(first, labels, spec, count)
