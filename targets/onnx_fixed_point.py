"""Greedy suppression as equations, solved in plain ONNX operations.

    keep[j] = valid[j] and no better i of the same class with overlap[i, j] and keep[i]

A Loop applies them until nothing changes, which is exact for any picture and takes few rounds for
most. Unrolled, only as many rounds as there are candidates are always enough: over a thousand
nodes. Candidates come in the order of their rank, so "i is better than j" is "i comes before j".
Truth values that are summed are carried as 0 and 1 in float32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from exporter.graph import Nms
from targets.onnx_writer import Scope

if TYPE_CHECKING:
    from onnx import GraphProto

HALF = 0.5  # between the 0 and the 1 of a truth value


class Candidates(NamedTuple):
    """Names of tensors: pairs of an anchor and a class, the best ones first."""

    box: str  # (k, 4), corners
    score: str  # (k,)
    category: str  # (k,) int64


def kept(scope: Scope, op: Nms, found: Candidates, count: int, floor: str | None) -> str:
    """Which of `count` candidates no better one suppresses: bool (k,).

    `floor` is the score that they have to exceed besides the threshold.
    """
    spec = op.spec
    valid = scope.as_real(_valid(scope, op, found, floor), "valid_as_real")
    rivals = _rivals(scope, found, count)
    overlaps = _overlaps(scope, op, found.box)
    suppressors = scope.as_real(scope.node("And", [rivals, overlaps], "suppressors"), "matrix")
    rounds = scope.writer.constant(scope.called("most_rounds"), np.array(count, np.int64))
    begin = scope.writer.constant(scope.called("begin"), np.array(True))
    body = _round(scope, valid, suppressors, count)
    settled = scope.node("Loop", [rounds, begin, valid], "settled", body=body)
    keep = scope.node("Greater", [settled, scope.real("half", HALF)], "kept")
    if spec.max_per_class >= min(spec.max_detections, count):
        return keep  # below so many better ones of its class there is no place anyway
    better = scope.node("MatMul", [settled, scope.as_real(rivals, "rivals_as_real")], "better_kept")
    few = scope.node("Less", [better, scope.real("max_per_class", spec.max_per_class)], "few")
    return scope.node("And", [keep, few], "kept_of_class")


def _valid(scope: Scope, op: Nms, found: Candidates, floor: str | None) -> str:
    """Which pairs are candidates: bool (k,)."""
    threshold = scope.real("score_threshold", op.spec.score_threshold)
    above = scope.node("Greater", [found.score, threshold], "above_threshold")
    if floor is None:
        return above
    inside = scope.node("Greater", [found.score, floor], "above_floor")
    return scope.node("And", [above, inside], "valid")


def _rivals(scope: Scope, found: Candidates, count: int) -> str:
    """Bool (k, k): i comes before j and is of its class."""
    order = np.arange(count, dtype=np.int64)
    places = [
        scope.writer.constant(scope.called("place_of_i"), order[:, None]),
        scope.writer.constant(scope.called("place_of_j"), order[None, :]),
    ]
    before = scope.node("Less", places, "before")
    classes = [
        scope.node("Reshape", [found.category, scope.integers("as_column", -1, 1)], "class_of_i"),
        scope.node("Reshape", [found.category, scope.integers("as_row", 1, -1)], "class_of_j"),
    ]
    same = scope.node("Equal", classes, "same_class")
    return scope.node("And", [before, same], "rivals")


def _overlaps(scope: Scope, op: Nms, boxes: str) -> str:
    """Bool (k, k): whether two boxes share more than the threshold of their union."""
    each = scope.integers("each_side", 1, 1, 1, 1)
    sides = ("x1", "y1", "x2", "y2")
    column = scope.split_node("Split", [boxes, each], [f"{s}_of_i" for s in sides], axis=1)
    turned = scope.node("Transpose", [boxes], "turned_boxes")
    row = scope.split_node("Split", [turned, each], [f"{s}_of_j" for s in sides], axis=0)
    shared, lengths = [], []
    for name, low, high in (("width", 0, 2), ("height", 1, 3)):
        start = scope.node("Max", [column[low], row[low]], f"shared_{name}_start")
        stop = scope.node("Min", [column[high], row[high]], f"shared_{name}_stop")
        shared.append(_length(scope, start, stop, f"shared_{name}"))
        lengths.append(_length(scope, column[low], column[high], name))
    inner = scope.node("Mul", shared, "intersection")
    area = scope.node("Mul", lengths, "area_of_i")
    other = scope.node("Transpose", [area], "area_of_j")
    areas = scope.node("Add", [area, other], "areas")
    union = scope.node("Sub", [areas, inner], "union")
    threshold = scope.real("iou_threshold", op.spec.iou_threshold)
    allowed = scope.node("Mul", [union, threshold], "allowed")
    return scope.node("Greater", [inner, allowed], "overlaps")


def _length(scope: Scope, start: str, stop: str, name: str) -> str:
    """From start to stop, nothing where they are swapped."""
    return scope.node("Relu", [scope.node("Sub", [stop, start], f"signed_{name}")], name)


def _round(outer: Scope, valid: str, suppressors: str, count: int) -> GraphProto:
    """The loop's body: the equations once, and whether that changed anything."""
    from onnx import TensorProto, helper

    scope = Scope(outer.writer.inner(), outer.called("round"))
    half, keep = outer.real("half", HALF), scope.called("keep")
    against = scope.node("MatMul", [keep, suppressors], "against")
    free = scope.as_real(scope.node("Less", [against, half], "free"), "free_as_real")
    settled = scope.node("Mul", [valid, free], "settled")
    change = scope.node("Abs", [scope.node("Sub", [settled, keep], "change")], "distance")
    largest = scope.node("ReduceMax", [change], "largest_distance", keepdims=0)
    again = scope.node("Greater", [largest, half], "again")

    def tensor(name: str, kind: int, shape: list[int]) -> Any:
        return helper.make_tensor_value_info(name, kind, shape)

    inputs = [
        tensor(scope.called("number"), TensorProto.INT64, []),
        tensor(scope.called("go_on"), TensorProto.BOOL, []),
        tensor(keep, TensorProto.FLOAT, [count]),
    ]
    outputs = [
        tensor(again, TensorProto.BOOL, []),
        tensor(settled, TensorProto.FLOAT, [count]),
    ]
    return helper.make_graph(scope.writer.nodes, scope.called("body"), inputs, outputs)
