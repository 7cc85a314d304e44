"""Shapes of a graph: what operations join has to fit, and the results have to be the task's."""

from __future__ import annotations

import numpy as np

from exporter.detection.anchors import anchors_per_cell, map_sides
from exporter.errors import GraphError
from exporter.graph import (
    Add,
    ArgMax,
    Concat,
    Conv,
    DecodeBoxes,
    Input,
    Linear,
    Nms,
    Op,
    Permute,
    Pool,
    QuantizedGraph,
    Reshape,
    Resize,
    Shape,
)
from exporter.operations import DETECTION_COLUMNS

MAP_RANK = 4  # (n, c, h, w)


def check_shape(op: Op, graph: QuantizedGraph) -> None:
    """Raise GraphError unless the operation's inputs fit it and it writes what it declares."""
    assert not isinstance(op, Input)
    shapes = [graph.tensors[name].shape for name in op.inputs]
    where = f"{type(op).__name__} {op.output!r}"
    if isinstance(op, Conv | Linear):
        _check_weighted(op, shapes[0], where)
    elif isinstance(op, Add) and shapes[0] != shapes[1]:
        raise GraphError(f"{where} joins {shapes[0]} and {shapes[1]}")
    elif isinstance(op, Concat):
        _check_concat(op, shapes, where)
    elif isinstance(op, Nms):
        _check_nms(shapes, where)
    else:
        _check_single(op, shapes[0], where)
    declared, computed = graph.tensors[op.output].shape, op.output_shape(*shapes)
    if declared != computed or min(declared) < 1:
        raise GraphError(f"{where} makes {computed} but declares {declared}")


def check_results(graph: QuantizedGraph) -> None:
    """Raise GraphError unless the outputs are among those that the spec's task has."""
    found = {tensor.name: tensor.shape for tensor in graph.outputs}
    offered = _expected_results(graph)
    if found not in offered:
        told = ", ".join(f"{name} {shape}" for name, shape in found.items())
        first = ", ".join(f"{name} {shape}" for name, shape in offered[0].items())
        raise GraphError(f"the graph ends in {told}; a model for {graph.spec.task} in {first}")


def _expected_results(graph: QuantizedGraph) -> list[dict[str, Shape]]:
    spec, classes = graph.spec, graph.spec.classes
    if spec.detection is not None:
        cells = (side * side for side in map_sides(spec.resolution))
        per_cell = anchors_per_cell(spec.detection)
        anchors = sum(n * k for n, k in zip(cells, per_cell, strict=True))
        logits, boxes = (1, anchors, classes), (1, anchors, 4)
        found = (1, spec.detection.max_detections, DETECTION_COLUMNS)
        return [
            {"class_logits": logits, "box_offsets": boxes},
            {"scores": logits, "boxes": boxes},
            {"detections": found},
        ]
    if spec.segmentation is not None:
        side = spec.resolution
        low = -(-side // spec.segmentation.output_stride)
        return [
            {"logits": (1, classes, side, side)},
            {"lowres_logits": (1, classes, low, low)},
            {"labels": (1, side, side)},
        ]
    return [{"logits": (1, classes)}]


def _check_weighted(op: Conv | Linear, shape: Shape, where: str) -> None:
    weight = op.weight.values.shape
    fits = shape[1] == weight[1] * op.groups if isinstance(op, Conv) else shape[1:] == weight[1:]
    if not fits:
        raise GraphError(f"{where}: {shape} does not fit {weight}")


def _check_concat(op: Concat, shapes: list[Shape], where: str) -> None:
    rank = len(shapes[0]) if shapes else 0
    if len(shapes) < 2 or not 0 < op.axis < rank:
        raise GraphError(f"{where}: joins {len(shapes)} tensors along axis {op.axis}")
    others = {(*shape[: op.axis], *shape[op.axis + 1 :]) for shape in shapes}
    if len(others) != 1 or any(len(shape) != rank for shape in shapes):
        raise GraphError(f"{where}: joins {' and '.join(map(str, shapes))} along axis {op.axis}")


def _check_nms(shapes: list[Shape], where: str) -> None:
    boxes, scores = shapes
    if len(boxes) != 3 or boxes[2] != 4 or scores[:2] != boxes[:2] or len(scores) != 3:
        raise GraphError(f"{where}: boxes {boxes} and scores {scores} do not fit")


def _check_single(op: Op, shape: Shape, where: str) -> None:
    if isinstance(op, Reshape) and np.prod(shape[1:]) != np.prod(op.shape[1:]):
        raise GraphError(f"{where}: {shape} has not the size of {op.shape}")
    if isinstance(op, Permute) and (
        sorted(op.order) != list(range(len(shape))) or op.order[0] != 0
    ):
        raise GraphError(f"{where}: {op.order} is no order of {shape} with the batch first")
    if isinstance(op, Pool | Resize | ArgMax) and len(shape) != MAP_RANK:
        raise GraphError(f"{where}: {shape} is no map")
    if isinstance(op, DecodeBoxes):
        if op.anchors.shape != shape[1:] or op.anchors.dtype != np.float32:
            raise GraphError(f"{where}: {shape} does not fit anchors {op.anchors.shape}")
        if not (np.isfinite(op.anchors).all() and (op.anchors[:, 2:] > 0).all()):
            raise GraphError(f"{where}: an anchor has no size")
