"""What a person calls a layer of one of these networks: its block and its kind."""

from __future__ import annotations

from exporter.graph import (
    Add,
    ArgMax,
    Concat,
    Conv,
    DecodeBoxes,
    Linear,
    Nms,
    Op,
    Pool,
    QuantizedGraph,
    Resize,
    Sigmoid,
)
from exporter.tasks import Task

CONVERT, OTHER = "convert", "other"  # kinds, and names, of what is no layer
HEAD_OF = {
    Task.CLASSIFICATION: "head",
    Task.DETECTION: "detector",
    Task.SEGMENTATION: "segmenter",
}
DETECTOR_PARTS = {
    "extras": "detector extra",
    "classifiers": "detector scores",
    "regressors": "detector boxes",
}
# Operations that compute; what else a runtime does moves or converts values.
Layer = Conv | Linear | Add | Pool | Resize | Sigmoid | Concat | DecodeBoxes | Nms | ArgMax
KINDS: dict[type[Op], str] = {
    Add: "add",
    Pool: "pool",
    Resize: "resize",
    Sigmoid: "sigmoid",
    Concat: "concat",
    DecodeBoxes: "boxes",
    Nms: "nms",
    ArgMax: "argmax",
    Linear: "linear",
}


def layers_in(graph: QuantizedGraph) -> tuple[Layer, ...]:
    """The operations that compute, in order."""
    return tuple(op for op in graph.ops if isinstance(op, Layer))


def block_of(name: str, task: Task) -> str:
    """The stem, one of the inverted residual blocks, or a part of what follows them."""
    first, _, rest = name.partition(".")
    index, _, inside = rest.partition(".")
    if first == "features":
        if inside:
            return f"block {index}"
        return "stem" if index == "0" else "head"
    if first in DETECTOR_PARTS and task is Task.DETECTION:
        return f"{DETECTOR_PARTS[first]} {index}" if index.isdigit() else DETECTOR_PARTS[first]
    return HEAD_OF[task]


def kind_of(op: Layer) -> str:
    """Such as "conv 1x1", "depthwise 3x3", "add"."""
    if not isinstance(op, Conv):
        return KINDS[type(op)]
    kernel = "x".join(str(side) for side in op.kernel)
    dilation = f" dilation {op.dilation[0]}" if op.dilation != (1, 1) else ""
    return f"{'depthwise' if op.depthwise else 'conv'} {kernel}{dilation}"
