"""Non-maximum suppression behind the delegate, in kernels that every ExecuTorch runtime has.

It is `exporter.detection.nms`, step by step. Truth values are float zeros and ones, so that "and"
is a product and counting is a matrix product, which are the fast kernels; comparisons write them.
The fixed point is a loop of instructions that ends when nothing changes any more: exact for every
input, and no longer than the longest chain of suppressors.
"""

from __future__ import annotations

import numpy as np
from executorch.exir.scalar_type import ScalarType

from exporter.operations import DETECTION_COLUMNS, Shape
from exporter.tasks import DetectionSpec
from targets.pte_plan import Argument, Plan, Slot, convert

FLOAT, LONG, BOOL = ScalarType.FLOAT, ScalarType.LONG, ScalarType.BOOL
CORNERS = 4
BACKGROUND = 0  # the class whose scores are left out
NOTHING = -1.0  # the score of a place that no detection takes


def suppress(plan: Plan, spec: DetectionSpec, boxes: Slot, scores: Slot) -> Slot:
    """Boxes (1, anchors, 4) and scores (1, anchors * classes) -> (1, max_detections, 6).

    The scores are those of real classes, anchor by anchor.
    """
    pairs = _Pairs(plan, spec, boxes, scores)
    valid, better = pairs.valid(), pairs.better()
    peers = pairs.both(better, pairs.compared("eq.Tensor_out", pairs.category))
    rivals = pairs.both(peers, pairs.overlapping())
    keep = pairs.limited(pairs.fixed_point(valid, rivals), peers)
    return pairs.arranged(keep, better)


class _Pairs:
    """The best pairs of an anchor and a class: (1, k), and (k, k) for every two of them."""

    def __init__(self, plan: Plan, spec: DetectionSpec, boxes: Slot, scores: Slot) -> None:
        self.plan, self.spec = plan, spec
        classes = scores.shape[1] // boxes.shape[1]
        count = min(spec.candidates + 1, scores.shape[1])
        self.row, self.square = (1, count), (count, count)
        self.score, self.position = plan.tensor(self.row), plan.tensor(self.row, LONG)
        best = [self.score, self.position]
        plan.call("aten::topk.values", scores, count, 1, True, True, out=best)
        anchor = self.run("div.Scalar_mode_out", self.position, classes, "floor", kind=LONG)
        first = self.run("mul.Scalar_out", anchor, classes, kind=LONG)
        column = self.run("sub.out", self.position, first, 1, kind=LONG)
        category = self.run("add.Scalar_out", column, BACKGROUND + 1, 1, kind=LONG)
        self.category = convert(plan, category, FLOAT)
        chosen = plan.view(anchor, (count,))
        self.boxes = self.run("index_select.out", boxes, 1, chosen, shape=(1, count, CORNERS))

    def run(
        self,
        name: str,
        *arguments: Argument,
        shape: Shape | None = None,
        kind: ScalarType = FLOAT,
    ) -> Slot:
        """A kernel's result in a new tensor, a row if nothing else is said."""
        out = self.plan.tensor(self.row if shape is None else shape, kind)
        self.plan.call(f"aten::{name}", *arguments, out=out)
        return out

    def upright(self, row: Slot) -> Slot:
        """A row as a column."""
        return self.plan.view(row, (self.row[1], 1))

    def compared(self, name: str, row: Slot) -> Slot:
        """Element i with element j, for all of them."""
        return self.run(name, self.upright(row), row, shape=self.square)

    def both(self, a: Slot, b: Slot) -> Slot:
        """The product: where each is true."""
        return self.run("mul.out", a, b, shape=a.shape)

    def valid(self) -> Slot:
        """Above the threshold, and not tied with the first that has no place."""
        valid = self.run("gt.Scalar_out", self.score, _float32(self.spec.score_threshold))
        most = self.spec.candidates
        if self.row[1] <= most:
            return valid
        cut = self.run("slice_copy.Tensor_out", self.score, 1, most, most + 1, 1, shape=(1, 1))
        return self.both(valid, self.run("gt.Tensor_out", self.score, cut))

    def better(self) -> Slot:
        """Whether i ranks above j: by score, then by position."""
        tied = self.both(
            self.compared("eq.Tensor_out", self.score),
            self.compared("lt.Tensor_out", self.position),
        )
        above = self.compared("gt.Tensor_out", self.score)
        return self.run("add.out", above, tied, 1, shape=self.square)

    def overlapping(self) -> Slot:
        """Whether the intersection of i and j is more than its share of their union."""
        x1, y1, x2, y2 = (
            self.run("select_copy.int_out", self.boxes, 2, side) for side in range(CORNERS)
        )
        inner = self.both(self.shared(x1, x2), self.shared(y1, y2))
        area = self.both(self.length(x1, x2), self.length(y1, y2))
        areas = self.run("add.out", self.upright(area), area, 1, shape=self.square)
        union = self.run("sub.out", areas, inner, 1, shape=self.square)
        share = _float32(self.spec.iou_threshold)
        least = self.run("mul.Scalar_out", union, share, shape=self.square)
        return self.run("gt.Tensor_out", inner, least, shape=self.square)

    def shared(self, start: Slot, end: Slot) -> Slot:
        """How long i and j overlap on one axis."""
        return self.length(self.compared("maximum.out", start), self.compared("minimum.out", end))

    def length(self, start: Slot, end: Slot) -> Slot:
        """From start to end, nothing where they are swapped."""
        length = self.run("sub.out", end, start, 1, shape=end.shape)
        return self.run("clamp.out", length, 0.0, None, shape=end.shape)

    def fixed_point(self, valid: Slot, rivals: Slot) -> Slot:
        """Keep what no kept rival suppresses, again and again until that changes nothing."""
        keep = self.run("clone.out", valid, None)
        start = self.plan.next_instruction
        suppressors = self.run("mm.out", keep, rivals)
        settled = self.both(valid, self.run("eq.Scalar_out", suppressors, 0.0))
        unchanged = self.run("eq.Tensor_out", settled, keep, kind=BOOL)
        self.plan.call("aten::clone.out", settled, None, out=keep)
        self.plan.repeat_until(unchanged, start)
        return keep

    def limited(self, keep: Slot, peers: Slot) -> Slot:
        """Only those with few enough kept ones of their class above them."""
        above = self.run("mm.out", keep, peers)
        return self.both(keep, self.run("lt.Scalar_out", above, self.spec.max_per_class))

    def arranged(self, keep: Slot, better: Slot) -> Slot:
        """Every kept one to its place: a matrix with one 1 per detection, so products are exact."""
        places, count = self.spec.max_detections, self.row[1]
        rank = self.run("mm.out", keep, better)
        place = self.run("arange.out", places, shape=(places,))
        place = self.plan.view(place, (places, 1))
        at_rank = self.run("eq.Tensor_out", place, rank, shape=(places, count))
        chosen = self.both(at_rank, keep)
        taken = self.run("sum.IntList_out", chosen, [1], True, None, shape=(places, 1))
        nothing = self.run("add.Scalar_out", taken, NOTHING, 1, shape=(places, 1))
        corners, score, category = (
            self.run("mm.out", chosen, table, shape=(places, table.shape[1]))
            for table in (
                self.plan.view(self.boxes, (count, CORNERS)),
                self.upright(self.score),
                self.upright(self.category),
            )
        )
        score = self.run("add.out", score, nothing, 1, shape=(places, 1))
        parts = [corners, score, category]
        rows = self.run("cat.out", parts, 1, shape=(places, DETECTION_COLUMNS))
        return self.plan.view(rows, (1, *rows.shape))


def _float32(value: float) -> float:
    """What a float32 kernel makes of a scalar, whichever way it takes it."""
    return float(np.float32(value))
