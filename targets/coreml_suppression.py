"""Non-maximum suppression as operations of a Core ML program, exact for any input.

The formula is `exporter.detection.nms`'s: of the best pairs of anchor and class each is compared
with each, and who may suppress whom is one matrix. Those that stay are the fixed point of applying
it, reached in a `while_loop` that ends when nothing changes: as many rounds as the longest chain of
suppressors, not as many as there are candidates. Everything is float32; counts are exact in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from coremltools.converters.mil import Builder as mb  # noqa: N813 (coremltools' own spelling)

from exporter.graph import Nms
from targets.coreml_values import Var

f32 = np.float32
NOTHING = np.array([[0, 0, 0, 0, -1, 0]], f32)  # the row of a place that no detection takes


def write_suppression(op: Nms, boxes: Var, scores: Var, result: str) -> Var:
    """Boxes (1, anchors, 4), scores (1, anchors, classes) -> `result` (1, places, 6)."""
    writer = _Suppression(op=op, prefix=f"{op.output}__")
    rows = writer.candidates(boxes, scores)
    return writer.arranged(rows, result)


@dataclass(frozen=True, kw_only=True)
class _Pairs:
    """Candidates, best first or nearly so: equal scores come in any order."""

    count: int
    columns: tuple[Var, ...]  # x1, y1, x2, y2, score, class; each (k, 1)
    position: Var  # (k, 1) int32, by anchor and then by class
    valid: Var  # (1, k), 1 or 0


@dataclass(frozen=True, kw_only=True)
class _Suppression:
    op: Nms
    prefix: str

    def name(self, part: str) -> str:
        """Of a value inside the operation."""
        return self.prefix + part

    # --- who competes ------------------------------------------------------------------------

    def candidates(self, boxes: Var, scores: Var) -> _Pairs:
        """The best pairs; what ties with the first one that has no place is left out as well."""
        spec, (_, anchors, classes) = self.op.spec, scores.shape
        total = anchors * (classes - 1)
        count = min(spec.candidates + 1, total)
        ends = [1, anchors, classes]
        real = mb.slice_by_index(x=scores, begin=[0, 0, 1], end=ends, name=self.name("real"))
        flat = mb.reshape(x=real, shape=[1, total], name=self.name("flat"))
        best, index = mb.topk(x=flat, k=count, axis=1, name=self.name("best"))
        above = mb.greater(x=best, y=f32(spec.score_threshold), name=self.name("above"))
        if count > spec.candidates:
            first = [0, spec.candidates]
            floor = mb.slice_by_index(x=best, begin=first, end=[1, count], name=self.name("floor"))
            beyond = mb.greater(x=best, y=floor, name=self.name("beyond"))
            above = mb.logical_and(x=above, y=beyond, name=self.name("chosen"))
        position = self._column(index, "position")
        anchor, category = self._taken_apart(index, classes - 1, count)
        plain = mb.squeeze(x=boxes, axes=[0], name=self.name("boxes"))
        box = mb.gather(x=plain, indices=anchor, axis=0, name=self.name("box"))
        corners = mb.split(x=box, num_splits=4, axis=1, name=self.name("corner"))
        columns = (*corners, self._column(best, "score"), self._column(category, "class"))
        valid = mb.cast(x=above, dtype="fp32", name=self.name("valid"))
        return _Pairs(count=count, columns=columns, position=position, valid=valid)

    def _taken_apart(self, index: Var, classes: int, count: int) -> tuple[Var, Var]:
        """Anchor (k,) int32 and class (1, k) float32 of a position."""
        number = mb.floor_div(x=index, y=np.int32(classes), name=self.name("number"))
        before = mb.mul(x=number, y=np.int32(classes), name=self.name("before"))
        rest = mb.sub(x=index, y=before, name=self.name("rest"))
        shifted = mb.add(x=rest, y=np.int32(1), name=self.name("shifted"))
        category = mb.cast(x=shifted, dtype="fp32", name=self.name("category"))
        return mb.reshape(x=number, shape=[count], name=self.name("anchor")), category

    # --- who suppresses whom -----------------------------------------------------------------

    def arranged(self, pairs: _Pairs, result: str) -> Var:
        """The detections in their places."""
        better = self._better(pairs)
        category = pairs.columns[5]
        alike = mb.equal(x=category, y=self._row(category, "class"), name=self.name("alike"))
        superior = mb.logical_and(x=better, y=alike, name=self.name("superior"))
        overlap = self._overlap(pairs)
        rivals = mb.logical_and(x=superior, y=overlap, name=self.name("rivals"))
        keep = self._kept(pairs.valid, self._number(rivals, "rivals"))
        above = self._counted(self._number(superior, "superior"), keep, "above_it")
        most = f32(self.op.spec.max_per_class)
        few = mb.less(x=above, y=most, name=self.name("few"))
        keep = mb.mul(x=keep, y=self._number(few, "few"), name=self.name("kept"))
        rank = self._counted(self._number(better, "better"), keep, "rank")
        return self._placed(pairs, keep, rank, result)

    def _better(self, pairs: _Pairs) -> Var:
        """(k, k): whether i ranks above j, by score and then by position."""
        score, position = pairs.columns[4], pairs.position
        other, later = self._row(score, "score"), self._row(position, "position")
        more = mb.greater(x=score, y=other, name=self.name("more"))
        tied = mb.equal(x=score, y=other, name=self.name("tied"))
        earlier = mb.less(x=position, y=later, name=self.name("earlier"))
        first = mb.logical_and(x=tied, y=earlier, name=self.name("first"))
        return mb.logical_or(x=more, y=first, name=self.name("better"))

    def _overlap(self, pairs: _Pairs) -> Var:
        """(k, k): whether two boxes share more than the threshold of their union."""
        left, top, right, bottom = pairs.columns[:4]
        sides = (self._shared(left, right, "width"), self._shared(top, bottom, "height"))
        inner = mb.mul(x=sides[0], y=sides[1], name=self.name("inner"))
        area = self._area(left, top, right, bottom)
        both = mb.add(x=area, y=self._row(area, "area"), name=self.name("both"))
        union = mb.sub(x=both, y=inner, name=self.name("union"))
        enough = mb.mul(x=union, y=f32(self.op.spec.iou_threshold), name=self.name("enough"))
        return mb.greater(x=inner, y=enough, name=self.name("overlap"))

    def _shared(self, low: Var, high: Var, side: str) -> Var:
        """(k, k): how far two boxes reach into one another along an axis."""
        ends = mb.minimum(x=high, y=self._row(high, f"{side}_high"), name=self.name(f"{side}_ends"))
        begins = mb.maximum(
            x=low, y=self._row(low, f"{side}_low"), name=self.name(f"{side}_begins")
        )
        length = mb.sub(x=ends, y=begins, name=self.name(f"{side}_length"))
        return mb.relu(x=length, name=self.name(side))

    def _area(self, left: Var, top: Var, right: Var, bottom: Var) -> Var:
        """(k, 1); nothing for a box whose corners are swapped."""
        wide = mb.relu(x=mb.sub(x=right, y=left, name=self.name("across")), name=self.name("wide"))
        high = mb.relu(x=mb.sub(x=bottom, y=top, name=self.name("down")), name=self.name("high"))
        return mb.mul(x=wide, y=high, name=self.name("area"))

    def _kept(self, valid: Var, rivals: Var) -> Var:
        """(1, k): the fixed point of "valid, and no rival of it is kept"."""

        def changes(before: Var, keep: Var) -> Var:
            change = mb.sub(x=keep, y=before, name=self.name("change"))
            size = mb.abs(x=change, name=self.name("change_size"))
            most = mb.reduce_max(x=size, axes=[0, 1], keep_dims=False, name=self.name("changes"))
            return mb.greater(x=most, y=f32(0), name=self.name("goes_on"))

        def settles(before: Var, keep: Var) -> tuple[Var, Var]:
            del before
            count = self._counted(rivals, keep, "suppressors")
            alone = mb.equal(x=count, y=f32(0), name=self.name("alone"))
            free = mb.cast(x=alone, dtype="fp32", name=self.name("free"))
            settled = mb.mul(x=valid, y=free, name=self.name("settled"))
            return mb.identity(x=keep, name=self.name("previous")), settled

        never = mb.sub(x=valid, y=f32(1), name=self.name("never"))  # differs from `valid` anywhere
        start = mb.identity(x=valid, name=self.name("start"))
        return mb.while_loop(
            _cond=changes, _body=settles, loop_vars=(never, start), name=self.name("fixed")
        )[1]

    def _counted(self, matrix: Var, keep: Var, part: str) -> Var:
        """(1, k): how many kept ones a column of the matrix names."""
        rows = self._column(keep, f"{part}_keep")
        named = mb.mul(x=matrix, y=rows, name=self.name(f"{part}_named"))
        return mb.reduce_sum(x=named, axes=[0], keep_dims=True, name=self.name(part))

    # --- what comes out ----------------------------------------------------------------------

    def _placed(self, pairs: _Pairs, keep: Var, rank: Var, result: str) -> Var:
        """A kept pair's row goes to the place of its rank; places beyond them hold NOTHING."""
        places = np.arange(self.op.spec.max_detections, dtype=f32)[:, None]
        ranked = mb.equal(x=rank, y=places, name=self.name("ranked"))
        kept = mb.greater(x=keep, y=f32(0), name=self.name("is_kept"))
        chosen = mb.logical_and(x=ranked, y=kept, name=self.name("chooses"))
        number = self._number(chosen, "chooses")
        source = mb.reduce_argmax(x=number, axis=1, keep_dims=False, name=self.name("source"))
        count = mb.reduce_max(x=number, axes=[1], keep_dims=True, name=self.name("count"))
        taken = mb.greater(x=count, y=f32(0), name=self.name("taken"))
        table = mb.concat(values=list(pairs.columns), axis=1, name=self.name("table"))
        rows = mb.gather(x=table, indices=source, axis=0, name=self.name("rows"))
        held = np.broadcast_to(NOTHING, rows.shape).copy()
        filled = mb.select(cond=taken, a=rows, b=held, name=self.name("filled"))
        return mb.expand_dims(x=filled, axes=[0], name=result)

    # --- shapes and types --------------------------------------------------------------------

    def _column(self, row: Var, part: str) -> Var:
        """(1, k) -> (k, 1)."""
        return mb.transpose(x=row, perm=[1, 0], name=self.name(f"{part}_column"))

    def _row(self, column: Var, part: str) -> Var:
        """(k, 1) -> (1, k)."""
        return mb.transpose(x=column, perm=[1, 0], name=self.name(f"{part}_row"))

    def _number(self, truth: Var, part: str) -> Var:
        """1 for true, 0 for false."""
        return mb.cast(x=truth, dtype="fp32", name=self.name(f"{part}_number"))
