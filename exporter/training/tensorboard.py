"""Reports as TensorBoard events, where its package is installed (the extra `tensorboard`)."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path

from exporter.errors import MissingDependencyError
from exporter.training.events import FIGURES, Reported, TrainingEvent, Validated, flat

TRAIN = ("loss", "lr", "images_per_s")


def check() -> None:
    """Raise MissingDependencyError before any work is done."""
    if importlib.util.find_spec("tensorboard") is None:
        raise MissingDependencyError(
            "--tensorboard needs the package tensorboard",
            "pip install 'mnv2-export[tensorboard]', or leave it out: metrics.jsonl has the same",
        )


def mirrored(events: Iterator[TrainingEvent], folder: Path) -> Iterator[TrainingEvent]:
    """The same events, written to `folder` as they pass."""
    writer = importlib.import_module("torch.utils.tensorboard").SummaryWriter(str(folder))
    try:
        for event in events:
            if isinstance(event, Reported):
                for name in TRAIN:
                    writer.add_scalar(f"train/{name}", getattr(event, name), event.step)
            elif isinstance(event, Validated):
                row = flat(event)
                for name in ("loss", *FIGURES[event.task]):
                    if row[name] is not None:
                        writer.add_scalar(f"val/{name}", row[name], event.step)
            yield event
    finally:
        writer.close()
