"""What a running training tells whoever watches it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporter.events import Note, StageFinished, StageProgressed, StageStarted
from exporter.tasks import Task
from exporter.verdicts import Quality, Quantization, Score

# The figures of a score, under the names that metrics.jsonl has them by; the first says the most.
FIGURES = {
    Task.CLASSIFICATION: ("top1", "top5"),
    Task.DETECTION: ("map50", "map"),
    Task.SEGMENTATION: ("miou", "pixels"),
}


@dataclass(frozen=True, kw_only=True)
class Started:
    """Everything is loaded; the first update comes next."""

    folder: Path
    task: Task
    recipe: str
    train_images: int
    val_images: int
    classes: int  # without the background
    workers: int
    device: str
    precision: str
    steps: int
    step: int  # above 0 when resumed
    epochs: int


@dataclass(frozen=True, kw_only=True)
class Reported:
    """The means of the updates since the last report, over all workers."""

    step: int
    steps: int
    epoch: int  # counted from 1
    epochs: int
    loss: float
    lr: float
    images_per_s: float


@dataclass(frozen=True, kw_only=True)
class Validated:
    """An epoch is over and its weights, as they would be exported, were evaluated."""

    epoch: int
    epochs: int
    step: int
    loss: float
    task: Task
    score: Score | None  # None where it needs a package that is missing
    images: int
    best: bool
    quality: Quality | None = None  # of integers against the float model


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The last event: the best checkpoint, evaluated again from disk; none before one epoch."""

    folder: Path
    epochs: int  # finished ones
    step: int
    best_epoch: int | None
    task: Task
    score: Score | None
    loss: float | None  # of validation
    images: int | None
    seconds: float
    quality: Quality | None = None
    signal: int | None = None  # that asked the run to stop; it can be resumed


@dataclass(frozen=True, kw_only=True)
class Settled:
    """After Trained, of integers: what became of every stage."""

    record: Quantization


def flat(event: Reported | Validated | Trained) -> dict[str, Any]:
    """Its fields in one level, for JSON: a score's figures stand in its place."""
    row = dataclasses.asdict(event)
    if isinstance(event, Reported):
        return row
    del row["task"], row["score"]
    return row | {name: getattr(event.score, name, None) for name in FIGURES[event.task]}


Preparation = StageStarted | StageProgressed | StageFinished | Note
TrainingEvent = Started | Reported | Validated | Trained | Settled | Preparation
