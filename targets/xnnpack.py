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

xnnpack_records.py appends the records; this module decides which and in what order.
"""

from __future__ import annotations

from collections import Counter

from executorch.backends.xnnpack.serialization import xnnpack_graph_schema as schema
from executorch.exir._serialize._named_data_store import NamedDataStoreOutput

from exporter.graph import (
    Add,
    Conv,
    Input,
    Linear,
    Output,
    Pool,
    QuantizedGraph,
    Reshape,
    Tensor,
    WeightedOp,
    accumulator_scale,
    no_rule,
)
from targets.xnnpack_records import TO_NCHW, TO_NHWC, Records, Value

NO_HANDLE = 65535  # layout transposes belong to no node of the traced program
FLAG_INPUT, FLAG_OUTPUT, FLAG_KEEP_DIMS = 1, 2, 64
DEPTHWISE_CHANNEL_AXIS = 3


class Handles:
    """Positions of calls in the program that torch.export would trace from the graph.

    Each operation counts one call, a clamp one more; in an int8 graph a weight adds its
    dequantize before the operation, and every written tensor a quantize and one dequantize per
    reader after it.
    """

    def __init__(self, graph: QuantizedGraph) -> None:
        self.count = 0
        self.quantized = graph.quantized
        self.readers = Counter(name for op in graph.ops for name in op.inputs)

    def call(self) -> int:
        """The handle of the next call."""
        self.count += 1
        return self.count

    def written(self, name: str) -> None:
        """Count the quantize and dequantize calls that follow a tensor."""
        if self.quantized:
            self.count += 1 + self.readers[name]


class XnnpackWriter:
    """Collects the records of one delegate while walking a graph."""

    def __init__(self, graph: QuantizedGraph, *, fold_pads: bool = True) -> None:
        self.graph = graph
        self.fold_pads = fold_pads
        self.handles = Handles(graph)
        self.records = Records()
        self.values: dict[str, Value] = {}

    def write(self) -> tuple[bytes, NamedDataStoreOutput]:
        """The payload and the constants that it refers to by name."""
        for op in self.graph.ops:
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
                raise no_rule(op, "the android target")
        return self.records.serialize()

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
        target = self.new(self.graph.tensors[op.output], nhwc=False, output=self.is_result(op))
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
        """An int8 graph converts the result to float; a float graph has written it already."""
        if not self.graph.quantized:
            return
        source = self.records.use(self.values[op.input])
        tensor = Tensor(name=op.output, shape=self.graph.output.shape)
        target = self.new(tensor, nhwc=False, output=True)
        # The convert carries the handle of the dequantize that follows the result's quantize.
        self.records.node(schema.XNNConvert(source, target.id, 0), self.handles.count)

    # ---- parts of operations ------------------------------------------------------------------

    def clamped_call(self, op: WeightedOp) -> int:
        """The handle of a layer; its clamp is a call of its own in the traced program."""
        handle = self.handles.call()
        if op.clamp is not None:
            self.handles.call()
        return handle

    def is_result(self, op: Linear) -> bool:
        """Whether a float graph's result is what this layer writes."""
        return not self.graph.quantized and self.graph.ops[-1].inputs == (op.output,)

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

    def layout(self, x: Value, *, nhwc: bool) -> Value:
        """`x` in the wanted memory order, transposed once however often it is asked for."""
        if x.nhwc == nhwc or len(x.shape) != 4:
            return x
        if x.other_layout is None:
            source = self.records.use(x)
            x.other_layout = self.records.define(Value(shape=x.shape, qparams=x.qparams, nhwc=nhwc))
            order = TO_NHWC if nhwc else TO_NCHW
            record = schema.XNNStaticTranspose(4, order, source, x.other_layout.id, 0)
            self.records.node(record, NO_HANDLE)
        return x.other_layout

    def new(self, tensor: Tensor, *, nhwc: bool, output: bool = False) -> Value:
        """Define the value of a graph tensor, optionally as the delegate's output."""
        value = Value(shape=tensor.shape, qparams=tensor.qparams, nhwc=nhwc)
        if output:
            value.external, value.flags = 1, FLAG_OUTPUT
        self.values[tensor.name] = self.records.define(value)
        if output:
            self.records.graph.output_ids.append(value.id)
        return value

    def bias(self, op: WeightedOp) -> int:
        """Float32, or int32 at the accumulator's scale."""
        scale = accumulator_scale(op, self.graph) if self.graph.quantized else None
        return self.records.constant(op.bias, scale, 0)
