"""What follows the delegate in a `.pte`: nothing, the labels of pixels, or suppression of boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from executorch.exir.scalar_type import ScalarType

from exporter.errors import UnsupportedError
from exporter.graph import ArgMax, Nms, QuantizedGraph
from targets.pte import Delegate
from targets.pte_nms import suppress
from targets.pte_plan import Plan, Slot, convert
from targets.xnnpack_walk import Given

FLOAT, LONG, BYTE, CHAR = ScalarType.FLOAT, ScalarType.LONG, ScalarType.BYTE, ScalarType.CHAR


def forward(graph: QuantizedGraph, delegate: Delegate, given: Sequence[Given]) -> Any:
    """The record of the method that calls the delegate and then what lies outside of it."""
    plan = Plan()
    image = plan.tensor(graph.input.shape)
    results = [plan.tensor(g.dims, FLOAT if g.qparams is None else CHAR) for g in given]
    plan.delegate(delegate, [image, *results])
    for op in graph.ops:
        if isinstance(op, ArgMax):
            results = [_labels(plan, results[0])]
        elif isinstance(op, Nms):
            boxes, scores = results
            results = [suppress(plan, op.spec, boxes, scores)]
    return plan.finish([image], results)


def check_outside(graph: QuantizedGraph) -> None:
    """Raise UnsupportedError for what no kernel of the runtime does."""
    if any(isinstance(op, Nms) and op.native for op in graph.ops):
        raise UnsupportedError(
            "Android has no non-maximum suppression of its own",
            "choose --nms graph, or --nms none and do it in the app",
        )


def _labels(plan: Plan, pixels: Slot) -> Slot:
    """(1, h, w, classes) -> uint8 (1, h, w), the first of equal classes."""
    shape = pixels.shape[:-1]
    classes = plan.tensor(shape, LONG)
    plan.call("aten::argmax.out", pixels, len(shape), False, out=classes)
    return convert(plan, classes, BYTE)
