"""Non-maximum suppression of a `.tflite` model: `exporter.detection.nms` in builtin operations.

It gives what that formula gives, for any input. TOPK_V2 sorts, of equal scores the earlier pair
first, so of two candidates the better one is the one that stands before the other; and the loop
goes on until a round changes nothing, however long a chain of suppressors is. Truth values are 0.0
and 1.0: sums of them are exact, and XNNPACK computes most of it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from exporter.graph import Nms
from exporter.operations import DETECTION_COLUMNS
from exporter.tasks import DetectionSpec
from targets.litert_arithmetic import RESULT, Arithmetic
from targets.litert_records import OTHER_VERSION, FlatModel

SCORE_COLUMN = 4
CORNERS = ("x1", "y1", "x2", "y2")


class Candidates(NamedTuple):
    """Tensors of the k pairs that compete, the best first."""

    box: int  # (k, 4)
    score: int  # (k,)
    category: int  # (k,) float32
    valid: int  # (1, k)


class Sides(NamedTuple):
    """One number of every candidate, along the rows and along the columns of a matrix."""

    row: int  # (k, 1): of candidate i
    column: int  # (1, k): of candidate j


def add_nms(model: FlatModel, op: Nms, boxes: int, scores: int) -> int:
    """Append it; (1, anchors, 4) and (1, anchors, classes) -> (1, max_detections, 6)."""
    math = Arithmetic(model, op.output)
    found = _choose(math, op.spec, boxes, scores)
    below = _of_its_class_and_below(math, found)
    rivals = math.binary("MUL", below, _overlap(math, op.spec, found.box), "rivals")
    keep = _suppress(math, model, found.valid, rivals)
    if op.spec.max_per_class < op.spec.max_detections:
        keep = _limit(math, op.spec, keep, below)
    return _arrange(math, op.spec, found, keep)


def _choose(math: Arithmetic, spec: DetectionSpec, boxes: int, scores: int) -> Candidates:
    """The best pairs, and which are above the threshold and not tied with the first left out."""
    _, anchors, classes = math.shape(scores)
    real = classes - 1
    pairs = anchors * real
    count = min(spec.candidates, pairs)
    foreground = math.cut(scores, (0, 0, 1), (1, anchors, real), "foreground")
    flat = math.reshape(foreground, (pairs,), "pairs")
    threshold = math.constant("threshold", [spec.score_threshold])
    if count < pairs:
        best, places = math.best(flat, count + 1, "best")
        left_out = math.cut(best, (count,), (1,), "left_out")
        threshold = math.binary("MAXIMUM", threshold, left_out, "least")
        best = math.cut(best, (0,), (count,), "score")
        places = math.cut(places, (0,), (count,), "places")
    else:
        best, places = math.best(flat, count, "score")
    above = math.cast(math.binary("GREATER", best, threshold, "above"), np.float32, "above.real")
    anchor = math.binary("FLOOR_DIV", places, math.constant("real", real, np.int32), "anchor")
    return Candidates(
        box=math.rows(math.reshape(boxes, (anchors, 4), "boxes"), anchor, "box"),
        score=best,
        category=_category(math, places, anchor, real),
        valid=math.reshape(above, (1, count), "valid"),
    )


def _category(math: Arithmetic, places: int, anchor: int, real: int) -> int:
    """place - anchor * classes + 1: below 2^24, so float32 has them all."""
    place = math.cast(places, np.float32, "place.real")
    start = math.binary(
        "MUL",
        math.cast(anchor, np.float32, "anchor.real"),
        math.constant("real.float", real),
        "start",
    )
    index = math.binary("SUB", place, start, "index")
    return math.binary("ADD", index, math.constant("one", 1), "category")


def _of_its_class_and_below(math: Arithmetic, found: Candidates) -> int:
    """(k, k): whether j is of i's class and stands behind it."""
    (count,) = math.shape(found.score)
    one = math.constant("one", 1)
    category = _sides(math, found.category, "category")
    gap = math.unary("ABS", math.binary("SUB", *category, "class.gap"), "class.distance")
    other = math.binary("MINIMUM", gap, one, "class.other")
    same = math.binary("SUB", one, other, "class.same")
    order = math.constant("order", np.arange(count))
    rank = _sides(math, order, "order")
    ahead = math.binary("SUB", rank.column, rank.row, "behind.steps", positive=True)
    return math.binary("MUL", same, math.binary("MINIMUM", ahead, one, "behind"), "below")


def _overlap(math: Arithmetic, spec: DetectionSpec, box: int) -> int:
    """(k, k): whether intersection over union exceeds the threshold."""
    columns = zip(math.split(box, 1, CORNERS), CORNERS, strict=True)
    x1, y1, x2, y2 = (_sides(math, values, name) for values, name in columns)
    shared: list[int] = []
    for low, high, name in ((x1, x2, "wide"), (y1, y2, "high")):
        begin = math.binary("MAXIMUM", *low, f"{name}.begin")
        end = math.binary("MINIMUM", *high, f"{name}.end")
        shared.append(math.binary("SUB", end, begin, f"{name}.shared", positive=True))
    inner = math.binary("MUL", shared[0], shared[1], "inner")
    width = math.binary("SUB", x2.row, x1.row, "width", positive=True)
    height = math.binary("SUB", y2.row, y1.row, "height", positive=True)
    area = _sides(math, math.binary("MUL", width, height, "area"), "area")
    union = math.binary("SUB", math.binary("ADD", *area, "areas"), inner, "union")
    limit = math.binary("MUL", union, math.constant("iou", spec.iou_threshold), "limit")
    return math.cast(math.binary("GREATER", inner, limit, "over"), np.float32, "over.real")


def _sides(math: Arithmetic, values: int, name: str) -> Sides:
    count = math.shape(values)[0]
    return Sides(
        row=math.reshape(values, (count, 1), f"{name}.row"),
        column=math.reshape(values, (1, count), f"{name}.column"),
    )


def _suppress(math: Arithmetic, model: FlatModel, valid: int, rivals: int) -> int:
    """(1, k): the fixed point of keep = valid and not any rival that is kept."""
    shape = math.shape(valid)
    before = math.constant("none", np.zeros(shape))
    condition, body = _condition(model, math.prefix, shape), _body(model, math.prefix, shape)
    options = math.schema.WhileOptionsT()
    options.condSubgraphIndex, options.bodySubgraphIndex = condition, body
    names = ("kept", "kept.before", "valid.loop", "rivals.loop")
    state = [valid, before, valid, rivals]
    results = [math.activation(n, math.shape(s)) for n, s in zip(names, state, strict=True)]
    model.operate_many("WHILE", state, results, options, OTHER_VERSION)
    return results[0]


def _loop(model: FlatModel, name: str, shape: tuple[int, ...]) -> tuple[int, Arithmetic, list[int]]:
    """A graph that takes the loop's state: (keep, keep a round ago, valid, rivals)."""
    index, graph = model.add_inner(name)
    math = Arithmetic(graph, name)
    count = shape[1]
    state = [math.activation(n, shape) for n in ("keep", "before", "valid")]
    state.append(math.activation("rivals", (count, count)))
    graph.inputs = {str(i): place for i, place in enumerate(state)}
    return index, math, state


def _condition(model: FlatModel, prefix: str, shape: tuple[int, ...]) -> int:
    """Whether the last round changed anything."""
    index, math, (keep, before, _, _) = _loop(model, f"{prefix}.changed", shape)
    change = math.unary("ABS", math.binary("SUB", keep, before, "change"), "changes")
    most = math.largest(change, "most")
    math.graph.outputs = {"0": math.binary("GREATER", most, math.constant("zero", 0), "again")}
    return index


def _body(model: FlatModel, prefix: str, shape: tuple[int, ...]) -> int:
    """One round."""
    index, math, (keep, _, valid, rivals) = _loop(model, f"{prefix}.round", shape)
    one = math.constant("one", 1)
    suppressors = math.product(keep, rivals, "suppressors")
    free = math.binary("SUB", one, suppressors, "free", positive=True)
    settled = math.binary("MUL", valid, free, "settled")
    state = (settled, keep, valid, rivals)
    math.graph.outputs = {str(i): place for i, place in enumerate(state)}
    return index


def _limit(math: Arithmetic, spec: DetectionSpec, keep: int, below: int) -> int:
    """Without those that `max_per_class` better ones of their class are kept above.

    Only where it is less than `max_detections`: others have no place anyway.
    """
    above = math.product(keep, below, "kept.above")
    most = math.constant("most", spec.max_per_class)
    left = math.binary("SUB", most, above, "left", positive=True)
    room = math.binary("MINIMUM", left, math.constant("one", 1), "room")
    return math.binary("MUL", keep, room, "kept.limited")


def _arrange(math: Arithmetic, spec: DetectionSpec, found: Candidates, keep: int) -> int:
    """Kept candidates first, in their order; rows of zeros with a score of -1 for the rest."""
    places = spec.max_detections
    (count,) = math.shape(found.score)
    weight = math.constant("weight", np.arange(count, 0, -1)[None])
    key = math.reshape(math.binary("MUL", keep, weight, "key.row"), (count,), "key")
    columns = [
        found.box,
        math.reshape(found.score, (count, 1), "scores"),
        math.reshape(found.category, (count, 1), "categories"),
    ]
    table = math.concat(columns, 1, "table")
    if count < places:
        key, table = math.pad(key, places, "key.padded"), math.pad(table, places, "table.padded")
    weights, order = math.best(key, places, "kept.best")
    taken = math.binary("MINIMUM", weights, math.constant("one", 1), "taken.flat")
    taken = math.reshape(taken, (places, 1), "taken")
    kept = math.binary("MUL", math.rows(table, order, "row"), taken, "row.kept")
    nothing = math.binary("SUB", taken, math.constant("one", 1), "nothing")  # -1 where none is
    column = np.eye(DETECTION_COLUMNS)[SCORE_COLUMN][None]
    marks = math.binary("MUL", nothing, math.constant("column", column), "marks")
    rows = math.binary("ADD", kept, marks, "rows")
    return math.reshape(rows, (1, places, DETECTION_COLUMNS), RESULT)
