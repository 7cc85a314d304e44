"""Classifiers: how often the right class comes first, and how often among the first five."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from exporter.errors import ArtifactError
from exporter.intervals import paired, wilson
from exporter.labeled_images import labeled_images
from exporter.preprocess import normalize
from exporter.results import Results
from exporter.scoring.judge import MOST_IMAGES, Extent
from exporter.scoring.models import Models, Runs
from exporter.scoring.records import FLOAT, ClassEvaluation, Score
from exporter.spec import ModelSpec
from exporter.training.views import source_pixels
from exporter.worst import NO_GUESS, WorstClass, worst_classes

TOP = 5


class ClassJudge:
    """Images of one class each, and every model's guesses."""

    batch = MOST_IMAGES

    def __init__(self, data: Path, spec: ModelSpec) -> None:
        self.spec = spec
        self.source = labeled_images(data, spec)
        self.labels: list[int] = []
        self.guesses: defaultdict[str, list[np.ndarray]] = defaultdict(list)

    def __len__(self) -> int:
        return len(self.source)

    def see(self, indices: Sequence[int]) -> np.ndarray:
        """The images by the contract."""
        contract = self.spec.preprocess
        self.labels += [self.source.target(i) for i in indices]
        pixels = [source_pixels(self.source, i, contract) for i in indices]
        return normalize(np.stack(pixels), contract)

    def run(self, runner: Runs, images: np.ndarray) -> Results:
        """The logits."""
        return {"logits": runner(images)}

    def keep(self, path: str, results: Results, images: int) -> None:
        """The likeliest classes of each image; a logit that is no number is no guess."""
        logits = results["logits"]
        if logits.shape != (images, self.spec.classes):
            raise ArtifactError(
                f"gives logits {logits.shape} for {images} images of {self.spec.classes}"
            )
        order = np.argsort(-np.nan_to_num(logits, nan=-np.inf), axis=1, kind="stable")[:, :TOP]
        numbers = np.isfinite(np.take_along_axis(logits, order, axis=1))
        self.guesses[path].append(np.where(numbers, order, NO_GUESS))

    def conclude(self, models: Models, extent: Extent, worst: int) -> ClassEvaluation:
        """Top-1 and top-5."""
        labels = np.array(self.labels)
        guesses = {s.path: np.concatenate(self.guesses[s.path]) for s in models.subjects}
        return ClassEvaluation(
            data=extent.data,
            images=extent.images,
            of=extent.of,
            classes=len(set(self.labels)),
            scores=_scores(models, guesses, labels),
            worst=_worst(self.spec, guesses, labels, worst),
            notes=self.source.notes,
        )


def _scores(
    models: Models, guesses: Mapping[str, np.ndarray], labels: np.ndarray
) -> tuple[Score, ...]:
    right = {path: answers == labels[:, None] for path, answers in guesses.items()}
    return tuple(_score(models, right, path) for path in models.order)


def _score(models: Models, right: Mapping[str, np.ndarray], path: str) -> Score:
    if path in models.silent:
        silence = models.silent[path]
        return Score(path=path, reason=silence.reason, failed=silence.failed)
    hits = right[path]
    reference = right.get(FLOAT) if path != FLOAT else None
    return Score(
        path=path,
        top1=wilson(int(hits[:, 0].sum()), len(hits)),
        top5=wilson(int(hits.any(1).sum()), len(hits)),
        against_float=None if reference is None else paired(reference[:, 0], hits[:, 0]),
        seconds=models.seconds(path),
    )


def _worst(
    spec: ModelSpec, guesses: Mapping[str, np.ndarray], labels: np.ndarray, count: int
) -> tuple[WorstClass, ...]:
    """By the float model where it ran, as it is the first."""
    if not (count and guesses):
        return ()
    first = {path: answers[:, 0] for path, answers in guesses.items()}
    return worst_classes(first, labels, spec, count)
