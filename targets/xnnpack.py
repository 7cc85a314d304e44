"""A QuantizedGraph as an XNNPACK delegate payload, built through ExecuTorch's own schema classes.

The stock lowering re-interprets a traced program many times to arrive at these few hundred
records; here they are written down directly, in the order and numbering that the
stock lowering gives them, so that the bytes are equal (tests/test_android_stock.py). What fixes
the bytes:

- value ids are handed out on first use (a convolution: input, filter, output, bias; a fully
  connected layer: input, filter, bias, output; add and pool: output before input);
- activations stay NHWC from the first convolution to the reshape, with a transpose on each side;
- constants are named by the SHA-256 of their bytes, scales with the prefix "scale_";
- a node's debug handle is the 1-based position of its call in the traced program (`Handles`).

xnnpack_records.py appends the records, xnnpack_walk.py keeps values and layouts, xnnpack_heads.py
has the operations of detectors and segmenters; this module decides which records there are and in
what order.
"""

from __future__ import annotations

from executorch.backends.xnnpack.serialization import xnnpack_graph_schema as schema
from executorch.exir._serialize._named_data_store import NamedDataStoreOutput

from exporter.graph import (
    Add,
    ArgMax,
    Concat,
    Conv,
    DecodeBoxes,
    Dequantize,
    Input,
    Linear,
    Nms,
    Op,
    Output,
    Permute,
    Pool,
    QuantizedGraph,
    Reshape,
    Resize,
    Sigmoid,
    WeightedOp,
    accumulator_scale,
    no_rule,
)
from targets import xnnpack_heads as heads
from targets.xnnpack_records import FLAG_INPUT, TO_NCHW, Value
from targets.xnnpack_walk import Walk

FLAG_KEEP_DIMS = 64
DEPTHWISE_CHANNEL_AXIS = 3


class XnnpackWriter(Walk):
    """Collects the records of one delegate while walking a graph."""

    def __init__(self, graph: QuantizedGraph, *, fold_pads: bool = True) -> None:
        super().__init__(graph)
        self.fold_pads = fold_pads

    def write(self) -> tuple[bytes, NamedDataStoreOutput]:
        """The payload and the constants that it refers to by name."""
        for op in self.graph.ops:
            self.write_op(op)
        return self.records.serialize()

    def write_op(self, op: Op) -> None:
        """Append one operation's records."""
        if isinstance(op, Input):
            self.input(op)
        elif isinstance(op, Conv):
            self.conv(op)
        elif isinstance(op, Linear):
            self.linear(op)
        elif isinstance(op, Add):
            self.add(op)
        elif isinstance(op, Pool):
            self.pool(op)
        elif isinstance(op, Reshape):
            self.reshape(op)
        elif isinstance(op, Output):
            self.output(op)
        else:
            self.write_head_op(op)

    def write_head_op(self, op: Op) -> None:
        """Append the records of what only detectors and segmenters have."""
        if isinstance(op, Permute):
            heads.permute(self, op)
        elif isinstance(op, Concat):
            heads.concat(self, op)
        elif isinstance(op, Resize):
            heads.resize(self, op)
        elif isinstance(op, Sigmoid):
            heads.sigmoid(self, op)
        elif isinstance(op, Dequantize):
            heads.dequantize(self, op)
        elif isinstance(op, DecodeBoxes):
            heads.decode_boxes(self, op)
        elif isinstance(op, ArgMax):
            heads.hand_pixels(self, op)
        elif isinstance(op, Nms):
            heads.hand_scores(self, op)
        else:
            raise no_rule(op, "the android target")

    # ---- operations -------------------------------------------------------------------------

    def input(self, op: Input) -> None:
        """The float image; an int8 graph converts it at once."""
        tensor = self.graph.tensors[op.output]
        image = Value(shape=tensor.shape, qparams=None, external=0, flags=FLAG_INPUT)
        if tensor.qparams is None:
            self.values[op.output] = image
            return
        handle = self.handles.call()
        source, target = self.records.use(image), self.new(tensor, nhwc=False)
        self.records.node(schema.XNNConvert(source, target.id, 0), handle)
        self.handles.count -= 1  # `written` counts the quantize call that `handle` was taken from
        self.handles.written(op.output)

    def conv(self, op: Conv) -> None:
        """A (depthwise) convolution with its padding and clamp."""
        x = self.values[op.input]
        if self.graph.quantized:
            self.handles.call()  # the weight's dequantize
        padding = op.padding
        if not self.fold_pads and padding[:2] != padding[2:]:
            x, padding = self.pad(x, op.padding), (0, 0, 0, 0)
        handle = self.clamped_call(op)
        source = self.records.use(self.layout(x, nhwc=True))
        channel_axis = DEPTHWISE_CHANNEL_AXIS if op.depthwise else 0
        axes = (1, 2, 3, 0) if op.depthwise else (0, 2, 3, 1)
        filter_id = self.records.constant(
            op.weight.values.transpose(axes), op.weight.scale, channel_axis
        )
        target = self.new(self.graph.tensors[op.output], nhwc=True)
        bias_id = self.bias(op)
        top, left, bottom, right = padding
        kind = schema.XNNDepthwiseConv2d if op.depthwise else schema.XNNConv2d
        outputs, group_inputs = op.weight.values.shape[:2]
        record = kind(
            top, right, bottom, left, *op.kernel, *op.stride, *op.dilation,
            group_inputs, outputs // op.groups, op.groups, 0, 0,
            source, filter_id, bias_id, target.id, 0,
        )  # fmt: skip
        self.records.node(record, handle, op.clamp)
        self.handles.written(op.output)

    def linear(self, op: Linear) -> None:
        """A fully connected layer."""
        if self.graph.quantized:
            self.handles.call()
        handle = self.clamped_call(op)
        source = self.records.use(self.values[op.input])
        filter_id = self.records.constant(op.weight.values, op.weight.scale, 0)
        bias_id = self.bias(op)
        target = self.new(self.graph.tensors[op.output], nhwc=False)
        record = schema.XNNFullyConnected(source, filter_id, bias_id, target.id, 0)
        self.records.node(record, handle, op.clamp)
        self.handles.written(op.output)

    def add(self, op: Add) -> None:
        """A residual sum."""
        handle = self.handles.call()
        a, b = self.values[op.a], self.values[op.b]
        target = self.new(self.graph.tensors[op.output], nhwc=a.nhwc)
        record = schema.XNNAdd(
            self.records.use(a), self.records.use(self.layout(b, nhwc=a.nhwc)), target.id, 0
        )
        self.records.node(record, handle)
        self.handles.written(op.output)

    def pool(self, op: Pool) -> None:
        """Global average pooling that keeps its two unit dimensions."""
        handle = self.handles.call()
        x = self.layout(self.values[op.input], nhwc=True)
        target = self.new(self.graph.tensors[op.output], nhwc=True)
        record = schema.XNNGlobalAvgPooling2d(self.records.use(x), target.id, FLAG_KEEP_DIMS)
        self.records.node(record, handle)
        self.handles.written(op.output)

    def reshape(self, op: Reshape) -> None:
        """Row-major NCHW order is what the graph means, so the layout goes back first."""
        handle = self.handles.call()
        x = self.layout(self.values[op.input], nhwc=False)
        target = self.new(self.graph.tensors[op.output], nhwc=False)
        record = schema.XNNStaticReshape(
            len(target.shape), target.dims, self.records.use(x), target.id, 0
        )
        self.records.node(record, handle)
        self.handles.written(op.output)

    def output(self, op: Output) -> None:
        """Codes are converted to float on the way out; float results mostly are out already."""
        given = self.result(op.input)
        if given is None:
            return  # made outside of the delegate
        x = self.values[op.input]
        if x.is_result:
            return
        if x.nhwc and x.qparams is None:
            target = self.records.define(self.give(Value(shape=x.shape, qparams=None), given))
            self.transpose(self.records.use(x), TO_NCHW, target)
            return
        source = self.records.use(self.layout(x, nhwc=False))
        target = self.records.define(self.give(Value(shape=x.shape, qparams=None), given))
        kind = schema.XNNCopy if x.qparams is None else schema.XNNConvert
        # The convert carries the handle of the dequantize that follows the result's quantize.
        self.records.node(kind(source, target.id, 0), self.handles.count)

    # ---- parts of operations ------------------------------------------------------------------

    def clamped_call(self, op: WeightedOp) -> int:
        """The handle of a layer; its clamp is a call of its own in the traced program."""
        handle = self.handles.call()
        if op.clamp is not None:
            self.handles.call()
        return handle

    def pad(self, x: Value, padding: tuple[int, int, int, int]) -> Value:
        """A separate zero padding, as the stock lowering keeps it for uneven sides."""
        handle = self.handles.call()
        top, left, bottom, right = padding
        n, c, height, width = x.shape
        shape = (n, c, height + top + bottom, width + left + right)
        y = self.records.define(Value(shape=shape, qparams=x.qparams, nhwc=x.nhwc))
        before, after = [0, 0, top, left], [0, 0, bottom, right]
        if x.nhwc:
            before, after = [0, top, left, 0], [0, bottom, right, 0]
        self.records.node(
            schema.XNNStaticConstantPad(before, after, 0.0, self.records.use(x), y.id, 0), handle
        )
        return y

    def bias(self, op: WeightedOp) -> int:
        """Float32, or int32 at the accumulator's scale."""
        scale = accumulator_scale(op, self.graph) if self.graph.quantized else None
        return self.records.constant(op.bias, scale, 0)
