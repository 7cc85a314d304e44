"""How a graph ends: which of a network's results it gives, by task."""

from __future__ import annotations

from enum import StrEnum

from exporter.errors import UnsupportedError
from exporter.tasks import Task


class Outputs(StrEnum):
    """The results of a graph."""

    LOGITS = "logits"  # of classes, or of classes at every pixel
    LOWRES_LOGITS = "lowres_logits"  # segmentation: before they are enlarged
    RAW = "raw"  # detection: class logits and box offsets of every anchor
    DECODED = "decoded"  # detection: scores in 0..1 and corners in fractions of the image


OFFERED: dict[Task, tuple[Outputs, ...]] = {  # the first is what the module itself gives
    Task.CLASSIFICATION: (Outputs.LOGITS,),
    Task.DETECTION: (Outputs.RAW, Outputs.DECODED),
    Task.SEGMENTATION: (Outputs.LOGITS, Outputs.LOWRES_LOGITS),
}


def default_outputs(task: Task) -> Outputs:
    """What a task's module gives."""
    return OFFERED[task][0]


def check_outputs(task: Task, outputs: Outputs) -> None:
    """Raise UnsupportedError for results that a task does not have."""
    if outputs not in OFFERED[task]:
        raise UnsupportedError(
            f"a model for {task} has no outputs {outputs!s}",
            f"choose {' or '.join(OFFERED[task])}",
        )
