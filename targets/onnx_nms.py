"""Non-maximum suppression as ONNX nodes: in plain operations, or by NonMaxSuppression.

Both let the same candidates compete and put what is left in the same order and layout. ONNX's TopK
gives the lower index first where values are equal, so candidates come in the order of their rank.
"""

from __future__ import annotations

import numpy as np

from exporter.graph import Nms
from targets.onnx_fixed_point import Candidates, kept
from targets.onnx_writer import Scope, Writer

EMPTY_ROW = (0.0, 0.0, 0.0, 0.0, -1.0, 0.0)  # of a place that no detection takes
EMPTY_RANK = -1.0
SUPPRESSED_RANK = -2.0  # behind every empty place
NO_CANDIDATE = -1.0  # below every score threshold


def suppress(writer: Writer, op: Nms) -> None:
    """Nodes from boxes (1, anchors, 4) and scores (1, anchors, classes) to (1, places, 6)."""
    scope = Scope(writer, op.output)
    _, anchors, classes = writer.graph.tensors[op.scores].shape
    begin, end = scope.integers("first_class", 1), scope.integers("classes", classes)
    scores = scope.node("Slice", [op.scores, begin, end, scope.integers("axis", 2)], "scores")
    flat = scope.node("Reshape", [scores, scope.integers("flat", -1)], "flat_scores")
    # One more than compete: what ties with it has no place either.
    count = min(op.spec.candidates + 1, anchors * (classes - 1))
    best, index = _top(scope, flat, count, "candidate")
    floor = None
    if count > op.spec.candidates:
        floor = scope.node("Gather", [best, scope.integers("last", op.spec.candidates)], "floor")
    if op.native:
        index = _native(scope, op, scores, classes - 1, floor)
        score = scope.node("Gather", [flat, index], "found_scores")
        found = _pairs(scope, op, index, score, classes - 1)
        _arrange(scope, op, found, rank=score)
        return
    found = _pairs(scope, op, index, best, classes - 1)
    keep = kept(scope, op, found, count, floor)
    never = scope.real("suppressed_rank", SUPPRESSED_RANK)
    _arrange(scope, op, found, rank=scope.node("Where", [keep, best, never], "rank"))


def _top(scope: Scope, values: str, count: int, name: str) -> list[str]:
    """The largest values, in order, and where they were."""
    places = scope.integers(f"{name}_count", count)
    return scope.split_node("TopK", [values, places], [f"{name}_values", f"{name}_index"])


def _pairs(scope: Scope, op: Nms, index: str, score: str, real_classes: int) -> Candidates:
    """Flat indices of (anchor, class without the background) -> boxes, scores and classes."""
    count = scope.integers("real_classes", real_classes)
    anchor = scope.node("Div", [index, count], "anchor")
    real_class = scope.node("Mod", [index, count], "real_class")
    category = scope.node("Add", [real_class, scope.integers("background", 1)], "class")
    every = scope.node("Reshape", [op.boxes, scope.integers("of_one_image", -1, 4)], "boxes")
    boxes = scope.node("Gather", [every, anchor], "pair_boxes", axis=0)
    return Candidates(box=boxes, score=score, category=category)


def _native(scope: Scope, op: Nms, scores: str, real_classes: int, floor: str | None) -> str:
    """Flat index of every pair that is left, by anchor and then by class: int64 (any,)."""
    spec = op.spec
    if floor is not None:
        inside = scope.node("Greater", [scores, floor], "above_floor")
        nothing = scope.real("no_candidate", NO_CANDIDATE)
        scores = scope.node("Where", [inside, scores, nothing], "candidate_scores")
    by_class = scope.node("Transpose", [scores], "scores_by_class", perm=(0, 2, 1))
    limits = [
        scope.integers("max_per_class", spec.max_per_class),
        scope.real("iou_threshold", spec.iou_threshold),
        scope.real("score_threshold", spec.score_threshold),
    ]
    # Rows are (image, class, anchor); corners in x, y order overlap as much as in y, x order.
    rows = scope.node("NonMaxSuppression", [op.boxes, by_class, *limits], "selected")
    parts = scope.node("Mul", [rows, scope.integers("strides", 0, 1, real_classes)], "index_parts")
    index = scope.node("ReduceSum", [parts, scope.integers("row", 1)], "index", keepdims=0)
    count = scope.node("Shape", [index], "selected_count")
    return scope.split_node("TopK", [index, count], ["index_in_order", "order"], largest=0)[0]


def _arrange(scope: Scope, op: Nms, found: Candidates, rank: str) -> None:
    """Rows to their places, the highest rank first; empty ones after them."""
    places, last = op.spec.max_detections, scope.integers("last_axis", 1)
    category = scope.as_real(found.category, "class_as_real")
    columns = [
        scope.node("Unsqueeze", [found.score, last], "score_column"),
        scope.node("Unsqueeze", [category, last], "class_column"),
    ]
    rows = scope.node("Concat", [found.box, *columns], "rows", axis=1)
    empty = np.tile(np.array(EMPTY_ROW, np.float32), (places, 1))
    empty_rows = scope.writer.constant(scope.called("empty_rows"), empty)
    ranks = np.full(places, EMPTY_RANK, np.float32)
    empty_ranks = scope.writer.constant(scope.called("empty_ranks"), ranks)
    every_row = scope.node("Concat", [rows, empty_rows], "every_row", axis=0)
    every_rank = scope.node("Concat", [rank, empty_ranks], "every_rank", axis=0)
    _, order = _top(scope, every_rank, places, "place")
    taken = scope.node("Gather", [every_row, order], "taken", axis=0)
    scope.writer.node("Unsqueeze", [taken, scope.integers("first_axis", 0)], op.output)
