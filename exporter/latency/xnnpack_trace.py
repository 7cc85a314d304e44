"""Which layer each operation of XNNPACK computes, in a trace of ExecuTorch.

XNNPACK names operations by kernel and by a number of its own, not by tensor, and other processors
have other kernels. But it runs them in the order of the graph: so convolutions and fully connected
operations are matched one by one with the graph's, which must be as many, and what lies between two
of them with the first layer there that can be made of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum

from exporter.errors import ArtifactError
from exporter.graph import (
    Add,
    ArgMax,
    Concat,
    Conv,
    DecodeBoxes,
    Linear,
    Nms,
    Pool,
    QuantizedGraph,
    Resize,
    Sigmoid,
)
from exporter.latency.blocks import CONVERT, OTHER, Layer, layers_in
from exporter.latency.etdump import TracedRun
from exporter.latency.operation_times import OperationTime

NUMBER = re.compile(r" #\d+$")
KERNEL = "native_call_"  # begins the names of kernels outside of the delegate
AROUND = ("DELEGATE_CALL", "OPERATOR_CALL")  # hold other events: their time would count twice


class Does(StrEnum):
    """What an operation of XNNPACK does, whatever its kernel and processor."""

    MULTIPLY = "multiply"
    ADD = "add"
    POOL = "pool"
    RESIZE = "resize"
    SIGMOID = "sigmoid"
    COPY = "copy"
    BOXES = "boxes"
    SLICE = "slice"
    LAYOUT = "layout"
    KERNEL = "kernel"


BEGINNINGS = {
    "Convolution": Does.MULTIPLY,
    "Fully Connected": Does.MULTIPLY,
    "Add": Does.ADD,
    "Mean": Does.POOL,
    "Global Average Pooling": Does.POOL,
    "Resize Bilinear": Does.RESIZE,
    "Sigmoid": Does.SIGMOID,
    "Copy": Does.COPY,
    "Concatenate": Does.COPY,
    "Slice": Does.SLICE,
    "Multiply": Does.BOXES,
    "Subtract": Does.BOXES,
    "Exp": Does.BOXES,
    "Convert": Does.LAYOUT,
    "Transpose": Does.LAYOUT,
    "Static Reshape": Does.LAYOUT,
    "Reshape": Does.LAYOUT,
    "Constant Pad": Does.LAYOUT,
    KERNEL: Does.KERNEL,
}
MADE_OF: dict[type[Layer], frozenset[Does]] = {
    Conv: frozenset({Does.MULTIPLY}),
    Linear: frozenset({Does.MULTIPLY}),
    Add: frozenset({Does.ADD}),
    Pool: frozenset({Does.POOL}),
    Resize: frozenset({Does.RESIZE}),
    Sigmoid: frozenset({Does.SIGMOID}),
    Concat: frozenset({Does.COPY}),
    DecodeBoxes: frozenset({Does.SLICE, Does.BOXES, Does.ADD, Does.COPY}),
    Nms: frozenset({Does.SLICE, Does.KERNEL}),
    ArgMax: frozenset({Does.KERNEL}),
}


def xnnpack_operations(
    runs: Sequence[TracedRun], graph: QuantizedGraph
) -> tuple[tuple[OperationTime, ...], ...]:
    """Every steady run's operations with their layers; raises ArtifactError for another model's.

    The first of several runs is left out: it warms caches up.
    """
    steady = runs[1:] or runs
    return tuple(_operations(run, graph) for run in steady)


def _operations(run: TracedRun, graph: QuantizedGraph) -> tuple[OperationTime, ...]:
    events = [event for event in run.events if event.name not in AROUND]
    names = [NUMBER.sub("", event.name) for event in events]
    layers = match(names, graph)
    found = [
        OperationTime(layer=layer, name=name, ms=event.ms)
        for layer, name, event in zip(layers, names, events, strict=True)
    ]
    around = run.ms - sum(event.ms for event in events)
    found.append(OperationTime(layer=OTHER, name="around the operations", ms=max(around, 0.0)))
    return tuple(found)


def match(names: Sequence[str], graph: QuantizedGraph) -> list[str]:
    """The layer of each operation, CONVERT or OTHER; raises ArtifactError."""
    layers = layers_in(graph)
    does = [_does(name) for name in names]
    wanted = sum(isinstance(layer, Conv | Linear) for layer in layers)
    if does.count(Does.MULTIPLY) != wanted:
        raise ArtifactError(
            f"the trace has {does.count(Does.MULTIPLY)} convolutions and fully connected "
            f"operations, the graph {wanted}: not this model's",
            "profile again",
        )
    found, place = [], 0
    for what in does:
        made = _next(layers, place, what)
        if made is None:
            found.append(CONVERT if what in (Does.LAYOUT, Does.COPY) else OTHER)
            continue
        place = made
        found.append(layers[made].output)
        # A layer of one operation is over, and so are boxes once their corners are joined.
        if what is Does.MULTIPLY or (isinstance(layers[made], DecodeBoxes) and what is Does.COPY):
            place += 1
    return found


def _does(name: str) -> Does | None:
    return next((does for start, does in BEGINNINGS.items() if name.startswith(start)), None)


def _next(layers: Sequence[Layer], place: int, what: Does | None) -> int | None:
    """The first layer from `place` on that the operation can be of; none but it multiplies."""
    for index in range(place, len(layers)):
        if what in MADE_OF[type(layers[index])]:
            return index
        if what is not Does.MULTIPLY and isinstance(layers[index], Conv | Linear):
            return None
    return None
