"""How a graph ends: which of a network's results it gives, by task."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from exporter.errors import UnsupportedError
from exporter.tasks import Task

MOST_LABELS = 256  # classes whose number fits into a byte


class Outputs(StrEnum):
    """The results of a graph."""

    LOGITS = "logits"  # of classes, or of classes at every pixel
    LOWRES_LOGITS = "lowres_logits"  # segmentation: before they are enlarged
    LABELS = "labels"  # segmentation: the class of every pixel, one byte each
    RAW = "raw"  # detection: class logits and box offsets of every anchor
    DECODED = "decoded"  # detection: scores in 0..1 and corners in fractions of the image


class NmsMode(StrEnum):
    """Who removes a detector's overlapping boxes."""

    NONE = "none"  # the app
    GRAPH = "graph"  # plain tensor operations inside the artifact, the same on every target
    NATIVE = "native"  # the runtime's own operation, where it has one


OFFERED: dict[Task, tuple[Outputs, ...]] = {  # the first is what the module itself gives
    Task.CLASSIFICATION: (Outputs.LOGITS,),
    Task.DETECTION: (Outputs.RAW, Outputs.DECODED),
    Task.SEGMENTATION: (Outputs.LOGITS, Outputs.LOWRES_LOGITS, Outputs.LABELS),
}
BUILT: dict[Task, Outputs] = {  # by default
    Task.CLASSIFICATION: Outputs.LOGITS,
    Task.DETECTION: Outputs.DECODED,
    Task.SEGMENTATION: Outputs.LOGITS,
}


@dataclass(frozen=True, kw_only=True)
class Ends:
    """What a graph gives in the end."""

    outputs: Outputs
    nms: NmsMode = NmsMode.NONE

    def check(self, task: Task, classes: int) -> None:
        """Raise UnsupportedError for results that a model does not have."""
        check_outputs(task, self.outputs)
        if self.nms is not NmsMode.NONE and self.outputs is not Outputs.DECODED:
            raise UnsupportedError(
                f"non-maximum suppression needs a detector's decoded outputs, not {self.outputs!s}",
                "choose --outputs decoded, or leave --nms out",
            )
        if self.outputs is Outputs.LABELS and classes > MOST_LABELS:
            raise UnsupportedError(
                f"labels of {classes} classes do not fit into a byte", "choose --outputs logits"
            )


def default_outputs(task: Task) -> Outputs:
    """What a task's module gives."""
    return OFFERED[task][0]


def chosen_ends(task: Task, classes: int, outputs: Outputs | None, nms: NmsMode) -> Ends:
    """What is asked for, or what is built where nothing is; raises UnsupportedError."""
    ends = Ends(outputs=BUILT[task] if outputs is None else outputs, nms=nms)
    ends.check(task, classes)
    return ends


def check_outputs(task: Task, outputs: Outputs) -> None:
    """Raise UnsupportedError for results that a task does not have."""
    if outputs not in OFFERED[task]:
        raise UnsupportedError(
            f"a model for {task} has no outputs {outputs!s}",
            f"choose {' or '.join(OFFERED[task])}",
        )
