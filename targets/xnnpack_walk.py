"""What a walk over a graph knows while it writes an XNNPACK delegate: values, layouts, handles.

Feature maps stay NHWC in memory from the first convolution on; a value that something reads in the
other order is transposed once. What the delegate gives is decided before the walk begins, so that a
result is written where it belongs and copied only if another layout was needed inside.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from executorch.backends.xnnpack.serialization import xnnpack_graph_schema as schema

from exporter.graph import ArgMax, Nms, QParams, QuantizedGraph, Shape, Tensor
from targets.xnnpack_records import FLAG_OUTPUT, TO_NCHW, TO_NHWC, Records, Value

NO_HANDLE = 65535  # layout transposes belong to no node of the traced program


@dataclass(frozen=True, kw_only=True)
class Given:
    """A result of the delegate: a tensor of the graph as it is, or what is made of one."""

    source: str
    dims: Shape  # in memory order
    nhwc: bool = False
    qparams: QParams | None = None  # None: float32, otherwise codes


def results_of(graph: QuantizedGraph) -> tuple[Given, ...]:
    """What the delegate gives, in order: a graph's results, or what is read outside of it."""
    given: list[Given] = []
    for tensor in graph.outputs:
        op = graph.producer(graph.producer(tensor.name).inputs[0])
        if isinstance(op, ArgMax):
            given.append(_of_pixels(graph.tensors[op.input]))
        elif isinstance(op, Nms):
            given += _of_anchors(graph.tensors[op.boxes], graph.tensors[op.scores])
        else:
            given.append(Given(source=op.output, dims=tensor.shape))
    return tuple(given)


def _of_pixels(x: Tensor) -> Given:
    """Codes stay codes: their largest is the same, and they are a quarter of the memory."""
    dims = tuple(x.shape[i] for i in TO_NHWC)
    return Given(source=x.name, dims=dims, nhwc=True, qparams=x.qparams)


def _of_anchors(boxes: Tensor, scores: Tensor) -> tuple[Given, Given]:
    """Boxes, and one row of all scores without those of the background."""
    _, anchors, classes = scores.shape
    flat = Given(source=scores.name, dims=(1, anchors * (classes - 1)))
    return Given(source=boxes.name, dims=boxes.shape), flat


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


class Walk:
    """The records of one delegate and the values that were defined so far."""

    def __init__(self, graph: QuantizedGraph) -> None:
        self.graph = graph
        self.handles = Handles(graph)
        self.records = Records()
        self.values: dict[str, Value] = {}
        self.results = results_of(graph)

    def new(self, tensor: Tensor, *, nhwc: bool) -> Value:
        """Define the value of a graph tensor; one that is a result as it is goes out at once."""
        value = Value(shape=tensor.shape, qparams=tensor.qparams, nhwc=nhwc)
        given = self.result(tensor.name)
        as_it_is = (tuple(value.dims), nhwc, value.qparams)
        if given is not None and as_it_is == (given.dims, given.nhwc, given.qparams):
            self.give(value, given)
        self.values[tensor.name] = self.records.define(value)
        return value

    def result(self, source: str) -> Given | None:
        """The delegate's result that is, or is made of, a tensor."""
        return next((given for given in self.results if given.source == source), None)

    def give(self, value: Value, given: Given) -> Value:
        """Make a value without an id a result."""
        value.external, value.flags = 1 + self.results.index(given), FLAG_OUTPUT
        return value

    def layout(self, x: Value, *, nhwc: bool) -> Value:
        """`x` in the wanted memory order, transposed once however often it is asked for."""
        if x.nhwc == nhwc or len(x.shape) != len(TO_NHWC):
            return x
        if x.other_layout is None:
            source = self.records.use(x)
            x.other_layout = self.records.define(Value(shape=x.shape, qparams=x.qparams, nhwc=nhwc))
            self.transpose(source, TO_NHWC if nhwc else TO_NCHW, x.other_layout)
        return x.other_layout

    def transpose(
        self, source: int, order: list[int], target: Value, handle: int = NO_HANDLE
    ) -> None:
        """Another memory order; as a rule no call of the traced program."""
        record = schema.XNNStaticTranspose(len(order), order, source, target.id, 0)
        self.records.node(record, handle)

    def unary(self, kind: type[schema.XNNNode1x1], x: Value, y: Value, handle: int) -> None:
        """One value in, one of the same layout out."""
        self.records.node(kind(self.records.use(x), y.id, 0), handle)

    def inside(self, like: Value, qparams: QParams | None) -> Value:
        """Define a value that is no tensor of the graph, with the shape and layout of another."""
        return self.records.define(Value(shape=like.shape, qparams=qparams, nhwc=like.nhwc))
