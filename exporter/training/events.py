"""What a running training tells whoever watches it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from exporter.events import Note, StageFinished, StageProgressed, StageStarted
from exporter.verdicts import Quality, Quantization


@dataclass(frozen=True, kw_only=True)
class Started:
    """Everything is loaded; the first update comes next."""

    folder: Path
    recipe: str
    train_images: int
    val_images: int
    classes: int
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
    top1: float
    top5: float
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
    top1: float | None
    top5: float | None
    images: int | None
    seconds: float
    quality: Quality | None = None
    signal: int | None = None  # that asked the run to stop; it can be resumed


@dataclass(frozen=True, kw_only=True)
class Settled:
    """After Trained, of integers: what became of every stage."""

    record: Quantization


Preparation = StageStarted | StageProgressed | StageFinished | Note
TrainingEvent = Started | Reported | Validated | Trained | Settled | Preparation
