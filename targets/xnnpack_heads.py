"""What only detectors and segmenters have, as XNNPACK records; see `xnnpack.py`.

Every float step of the boxes is a node of its own, so each is rounded where the golden rounds it.
"""

from __future__ import annotations

import numpy as np
from executorch.backends.xnnpack.serialization import xnnpack_graph_schema as schema

from exporter.graph import (
    ArgMax,
    Concat,
    DecodeBoxes,
    Dequantize,
    Nms,
    Permute,
    QParams,
    Resize,
    Shape,
    Sigmoid,
)
from targets.xnnpack_records import TO_NHWC, Value
from targets.xnnpack_walk import Walk

HALF_PIXEL_CENTERS = 0  # flags of a resize: neither aligned corners nor TensorFlow's legacy mode
JOINS: dict[int, type[schema.XNNCat]] = {
    2: schema.XNNConcatenate2,
    3: schema.XNNConcatenate3,
    4: schema.XNNConcatenate4,
    5: schema.XNNConcatenate5,
}
MOST_JOINED = max(JOINS)
NO_VALUE = 2**32 - 1
COORDINATES = 2  # of a center, of a size and of a corner


def permute(walk: Walk, op: Permute) -> None:
    """An NHWC map that is asked for as NHWC is another name of the same memory."""
    handle = walk.handles.call()
    x, tensor = walk.values[op.input], walk.graph.tensors[op.output]
    order = list(op.order)
    if x.nhwc and order == TO_NHWC:
        same = Value(shape=tensor.shape, qparams=x.qparams, id=walk.records.use(x))
        walk.values[op.output] = same
    else:
        source = walk.records.use(walk.layout(x, nhwc=False))
        walk.transpose(source, order, walk.new(tensor, nhwc=False), handle)
    walk.handles.written(op.output)


def concat(walk: Walk, op: Concat) -> None:
    """XNNPACK copies bytes, so codes of other parameters are requantized before."""
    handle = walk.handles.call()
    nhwc = walk.values[op.inputs[0]].nhwc
    tensor = walk.graph.tensors[op.output]
    parts = [walk.layout(walk.values[name], nhwc=nhwc) for name in op.inputs]
    parts = [_requantized(walk, part, tensor.qparams, handle) for part in parts]
    axis = TO_NHWC.index(op.axis) if nhwc else op.axis
    while len(parts) > MOST_JOINED:  # the last ones first: a pyramid's maps get smaller
        last = parts[MOST_JOINED - 1 :][-MOST_JOINED:]
        sizes = sum(part.shape[op.axis] for part in last)
        shape = (*last[0].shape[: op.axis], sizes, *last[0].shape[op.axis + 1 :])
        joined = walk.records.define(Value(shape=shape, qparams=tensor.qparams, nhwc=nhwc))
        _join(walk, last, joined, axis, handle)
        parts[-len(last) :] = [joined]
    _join(walk, parts, walk.new(tensor, nhwc=nhwc), axis, handle)
    walk.handles.written(op.output)


def _requantized(walk: Walk, x: Value, target: QParams | None, handle: int) -> Value:
    """Codes at other parameters, by way of float32."""
    if x.qparams == target:
        return x
    real = walk.inside(x, None)
    walk.unary(schema.XNNConvert, x, real, handle)
    codes = walk.inside(x, target)
    walk.unary(schema.XNNConvert, real, codes, handle)
    return codes


def _join(walk: Walk, parts: list[Value], target: Value, axis: int, handle: int) -> None:
    """One concatenation along an axis as it is in memory."""
    ids = [walk.records.use(part) for part in parts]
    ids += [NO_VALUE] * (MOST_JOINED - len(ids))
    record = JOINS[len(parts)](axis, *ids[:-1], target.id, 0, ids[-1])
    walk.records.node(record, handle)


def resize(walk: Walk, op: Resize) -> None:
    """In integers where the map is codes, which is the same on every processor."""
    handle = walk.handles.call()
    x = walk.layout(walk.values[op.input], nhwc=True)
    source = walk.records.use(x)
    target = walk.new(walk.graph.tensors[op.output], nhwc=True)
    record = schema.XNNStaticResizeBilinear2D(*op.size, source, target.id, HALF_PIXEL_CENTERS)
    walk.records.node(record, handle)
    walk.handles.written(op.output)


def sigmoid(walk: Walk, op: Sigmoid) -> None:
    """A table of 256 entries where the input is codes."""
    handle = walk.handles.call()
    x = walk.values[op.input]
    target = walk.new(walk.graph.tensors[op.output], nhwc=x.nhwc)
    walk.unary(schema.XNNSigmoid, x, target, handle)
    walk.handles.written(op.output)


def dequantize(walk: Walk, op: Dequantize) -> None:
    """Codes -> float32 in the same layout."""
    x = walk.values[op.input]
    target = walk.new(walk.graph.tensors[op.output], nhwc=x.nhwc)
    walk.unary(schema.XNNConvert, x, target, walk.handles.call())


def decode_boxes(walk: Walk, op: DecodeBoxes) -> None:
    """Corners: moved centers, less and plus half of the scaled sizes."""
    boxes = _Boxes(walk, op)
    anchors, sizes = op.anchors[:, :COORDINATES], op.anchors[:, COORDINATES:]
    center = boxes.part(0)
    center = boxes.scaled(center, np.full(1, op.center_variance))
    center = boxes.scaled(center, sizes)
    center = boxes.combined(schema.XNNAdd, center, boxes.constant(anchors))
    half = boxes.part(COORDINATES)
    half = boxes.scaled(half, np.full(1, op.size_variance))
    half = boxes.exponential(half)
    half = boxes.scaled(half, sizes)
    half = boxes.scaled(half, np.full(1, 0.5))
    corners = [
        boxes.combined(kind, center, half.id) for kind in (schema.XNNSubtract, schema.XNNAdd)
    ]
    target = walk.new(walk.graph.tensors[op.output], nhwc=False)
    _join(walk, corners, target, len(target.shape) - 1, boxes.handle)
    walk.handles.written(op.output)


class _Boxes:
    """Float steps on (1, anchors, 2)."""

    def __init__(self, walk: Walk, op: DecodeBoxes) -> None:
        self.walk = walk
        self.handle = walk.handles.call()
        self.offsets = walk.values[op.input]
        self.shape: Shape = (*self.offsets.shape[:-1], COORDINATES)

    def part(self, first: int) -> Value:
        """Two of the four offsets of every anchor."""
        value = self._value()
        rank, source = len(self.shape), self.walk.records.use(self.offsets)
        offsets = [0] * (rank - 1) + [first]
        record = schema.XNNStaticSlice(rank, offsets, list(self.shape), source, value.id, 0)
        self.walk.records.node(record, self.handle)
        return value

    def constant(self, values: np.ndarray) -> int:
        """Float32, of the same rank as the values."""
        padded = values.reshape((1,) * (len(self.shape) - values.ndim) + values.shape)
        return self.walk.records.constant(padded.astype(np.float32), None, 0)

    def scaled(self, x: Value, factors: np.ndarray) -> Value:
        """A product with factors of every anchor, or with one."""
        return self.combined(schema.XNNMultiply, x, self.constant(factors))

    def combined(self, kind: type[schema.XNNNode2x1], x: Value, other: int) -> Value:
        """One operation of two operands."""
        value = self._value()
        self.walk.records.node(kind(x.id, other, value.id, 0), self.handle)
        return value

    def exponential(self, x: Value) -> Value:
        """E to the power of every value."""
        value = self._value()
        self.walk.unary(schema.XNNExp, x, value, self.handle)
        return value

    def _value(self) -> Value:
        return self.walk.records.define(Value(shape=self.shape, qparams=None))


def hand_pixels(walk: Walk, op: ArgMax) -> None:
    """What an argmax outside reads: pixel by pixel, all classes of a pixel together."""
    x, given = walk.values[op.input], walk.result(op.input)
    if given is None or x.is_result:
        return
    source = walk.records.use(walk.layout(x, nhwc=False))
    target = Value(shape=x.shape, qparams=x.qparams, nhwc=True)
    walk.transpose(source, TO_NHWC, walk.records.define(walk.give(target, given)))


def hand_scores(walk: Walk, op: Nms) -> None:
    """What suppression outside reads: boxes, and scores without the background's, in one row."""
    given = walk.result(op.scores)
    if given is None:
        return
    x, handle = walk.values[op.scores], walk.handles.call()
    batch, anchors, classes = x.shape
    real = walk.records.define(Value(shape=(batch, anchors, classes - 1), qparams=None))
    record = schema.XNNStaticSlice(3, [0, 0, 1], real.dims, walk.records.use(x), real.id, 0)
    walk.records.node(record, handle)
    flat = walk.records.define(walk.give(Value(shape=given.dims, qparams=None), given))
    reshaped = schema.XNNStaticReshape(len(flat.dims), flat.dims, real.id, flat.id, 0)
    walk.records.node(reshaped, handle)
