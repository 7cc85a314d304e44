"""What a task adds to an evaluation, and what detectors and segmenters have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from exporter.errors import ArtifactError
from exporter.intervals import FEW, resampled, resampled_difference
from exporter.results import Results
from exporter.scoring.models import Models, Runs
from exporter.scoring.records import FLOAT, Found, Rating

MOST_IMAGES = 16  # in a batch
BATCH_PIXELS = MOST_IMAGES * 224 * 224  # of larger images fewer


@dataclass(frozen=True, kw_only=True)
class Extent:
    """Which images were seen."""

    data: str
    images: int
    of: int


class Judge(Protocol):
    """Labeled data of a task, and what the models said of it so far."""

    @property
    def batch(self) -> int:
        """Images that go through a model together."""
        ...

    def __len__(self) -> int:
        """Images of the data set."""
        ...

    def see(self, indices: Sequence[int]) -> np.ndarray:
        """Float32 (n, 3, r, r), normalized; what they show is remembered. Raises DataError."""
        ...

    def run(self, runner: Runs, images: np.ndarray) -> Results:
        """What is timed."""
        ...

    def keep(self, path: str, results: Results, images: int) -> None:
        """Remember what is needed of a model's results; raises ArtifactError for bad ones."""
        ...

    def conclude(self, models: Models, extent: Extent, worst: int) -> Found:
        """The figures of the models that ran; `worst` asks for so many classes."""
        ...


def batch_of(resolution: int) -> int:
    """Images of a batch: the float model's maps of one at 513 px take hundreds of megabytes."""
    return max(1, min(MOST_IMAGES, BATCH_PIXELS // resolution**2))


def check_numbers(results: Results) -> None:
    """Raise ArtifactError for a result that is no number: it would pass for a class or a hit."""
    for name, values in results.items():
        if values.dtype.kind == "f" and np.isnan(values).any():
            raise ArtifactError(f"gives {name} that are no numbers (NaN)")


def ratings(models: Models, figures: Mapping[str, Mapping[str, np.ndarray]]) -> tuple[Rating, ...]:
    """From every model's figures of the same resamples, each (1 + RESAMPLES,), by path and name."""
    return tuple(_rating(models, figures, path) for path in models.order)


def _rating(models: Models, figures: Mapping[str, Mapping[str, np.ndarray]], path: str) -> Rating:
    if path in models.silent:
        silence = models.silent[path]
        return Rating(path=path, reason=silence.reason, failed=silence.failed)
    mine = figures[path]
    reference = figures.get(FLOAT, {}) if path != FLOAT else {}
    return Rating(
        path=path,
        figures={name: resampled(values) for name, values in mine.items()},
        against_float={
            name: resampled_difference(values, mine[name]) for name, values in reference.items()
        },
        seconds=models.seconds(path),
    )


def caution(images: int) -> tuple[str, ...]:
    """A note where resamples tell too little of what other images would give."""
    return () if images >= FEW else (f"intervals from {images} images are rough",)
