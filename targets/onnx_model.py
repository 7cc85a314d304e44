"""A QuantizedGraph as an ONNX model: one pass, one node or two per operation.

int8   the form that ONNX Runtime runs wholly in integers (QLinearConv and its relatives): uint8
       activations (zero point + 128), int8 weights with a scale per channel, int32 biases.
       Quantize and dequantize nodes stand only at the ends.
fp32   Conv, Clip, Add, GlobalAveragePool, Reshape, Gemm.
fp16   the same with float16 weights, widened by Cast nodes that ONNX Runtime folds when it loads.
       Its CPU kernels are float32 (outside recent ARM), so float16 arithmetic would only add casts
       and lose the fusion of Clip into Conv, for a file of the same size.

Tensors are called as in the graph. A name with a slash is ours alone: "input/quantized" holds the
codes of "input", "<tensor>/unclamped" what a separate clamp reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from exporter.errors import UnsupportedError
from exporter.graph import (
    QMAX,
    QMIN,
    Add,
    Clamp,
    Conv,
    Input,
    Linear,
    Op,
    Output,
    Pool,
    QParams,
    QuantizedGraph,
    Reshape,
    WeightedOp,
    no_rule,
)
from exporter.metadata import METADATA_KEY, metadata_text
from exporter.spec import Precision

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

OPSET = 13  # the oldest that has every form used here; ONNX Runtime 1.7 (2021) reads it
IR_VERSION = 7  # of that opset
MICROSOFT = "com.microsoft"  # ONNX Runtime's own operations: QLinearAdd, QGemm, ...
PRODUCER = "mnv2-export"
BATCH_NAME = "batch"
UNSIGNED = 128  # int8 code + 128 = uint8 code
QUANTIZED = "/quantized"
UNCLAMPED = "/unclamped"

Attributes = Mapping[str, Any]  # integers and sequences of them


def build(graph: QuantizedGraph, precision: Precision, batch: int | None) -> ModelProto:
    """The model; `batch` None leaves the first dimension open."""
    from onnx import helper

    writer = _Writer(graph, precision)
    for op in graph.ops:
        if precision is Precision.INT8:
            _integer_node(writer, op)
        else:
            _float_node(writer, op)
    float32 = np.dtype(np.float32)
    ends = [
        helper.make_tensor_value_info(
            tensor.name,
            helper.np_dtype_to_tensor_dtype(float32),
            [BATCH_NAME if batch is None else batch, *tensor.shape[1:]],
        )
        for tensor in (graph.input, graph.output)
    ]
    body = helper.make_graph(writer.nodes, "mobilenet_v2", ends[:1], ends[1:], writer.constants)
    domains = [helper.make_opsetid("", OPSET)]
    if precision is Precision.INT8:
        domains.append(helper.make_opsetid(MICROSOFT, 1))
    model = helper.make_model(
        body, opset_imports=domains, ir_version=IR_VERSION, producer_name=PRODUCER
    )
    labels = "\n".join(graph.spec.label(i) for i in range(graph.spec.classes))
    helper.set_model_props(model, {METADATA_KEY: metadata_text(graph, precision), "labels": labels})
    return model


class _Writer:
    """Nodes and constants collected so far."""

    def __init__(self, graph: QuantizedGraph, precision: Precision) -> None:
        self.graph = graph
        self.half = precision is Precision.FP16
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self._names: set[str] = set()
        self._qparams: dict[QParams, tuple[str, str]] = {}

    def node(
        self,
        kind: str,
        inputs: Sequence[str],
        output: str,
        attributes: Attributes | None = None,
        domain: str = "",
    ) -> str:
        """Append a node that is called what it writes; returns that name."""
        from onnx import helper

        made = helper.make_node(kind, inputs, [output], output, None, domain, **(attributes or {}))
        self.nodes.append(made)
        return output

    def constant(self, name: str, values: np.ndarray) -> str:
        """Store values once per name."""
        from onnx import numpy_helper

        if name not in self._names:
            self._names.add(name)
            self.constants.append(numpy_helper.from_array(values, name))
        return name

    def qparams(self, tensor: str) -> list[str]:
        """[scale, zero point] of a tensor; tensors with equal parameters share them."""
        q = self.graph.qparams(tensor)
        if q not in self._qparams:
            self._qparams[q] = (
                self.constant(f"{tensor}/scale", np.array(q.scale, np.float32)),
                self.constant(f"{tensor}/zero_point", _code(q.zero_point)),
            )
        return list(self._qparams[q])

    def codes(self, tensor: str) -> str:
        """Where the codes of a tensor are; "input" itself is the float image."""
        return tensor + QUANTIZED if tensor == self.graph.input.name else tensor

    def float_weight(self, op: WeightedOp) -> str:
        """A float weight, stored as float16 and widened if this is an fp16 model."""
        name, values = f"{op.output}/weight", op.weight.values
        if not self.half:
            return self.constant(name, values)
        from onnx import TensorProto

        with np.errstate(over="ignore"):
            narrow = values.astype(np.float16)
        if not np.isfinite(narrow).all():
            raise UnsupportedError(
                f"{op.output}: a weight of {np.abs(values).max():.3g} exceeds float16's 65504",
                "export fp32 or int8",
            )
        stored = self.constant(f"{name}/float16", narrow)
        return self.node("Cast", [stored], name, {"to": int(TensorProto.FLOAT)})


def _integer_node(writer: _Writer, op: Op) -> None:
    if isinstance(op, Conv | Linear):
        _integer_layer(writer, op)
        return
    if isinstance(op, Input):
        inputs = [op.output, *writer.qparams(op.output)]
        writer.node("QuantizeLinear", inputs, writer.codes(op.output))
    elif isinstance(op, Add):
        a, b = ([writer.codes(name), *writer.qparams(name)] for name in op.inputs)
        target = writer.qparams(op.output)
        writer.node("QLinearAdd", [*a, *b, *target], op.output, domain=MICROSOFT)
    elif isinstance(op, Pool):
        inputs = [writer.codes(op.input), *writer.qparams(op.input), *writer.qparams(op.output)]
        attributes = {"channels_last": 0}
        writer.node("QLinearGlobalAveragePool", inputs, op.output, attributes, MICROSOFT)
    elif isinstance(op, Reshape):
        _reshape(writer, op)
    elif isinstance(op, Output):
        writer.node(
            "DequantizeLinear", [writer.codes(op.input), *writer.qparams(op.input)], op.output
        )
    else:
        raise no_rule(op, "the onnx target")


def _integer_layer(writer: _Writer, op: WeightedOp) -> None:
    weight = op.weight
    if weight.scale is None:
        raise TypeError(f"{op.output!r} has float weights")
    zeros = np.zeros(len(weight.scale), np.int8)
    source = [writer.codes(op.input), *writer.qparams(op.input)]
    kernel = [
        writer.constant(f"{op.output}/weight", weight.values),
        writer.constant(f"{op.output}/weight_scale", weight.scale),
        writer.constant(f"zeros/{len(zeros)}", zeros),
    ]
    bias = writer.constant(f"{op.output}/bias", op.bias)
    target = writer.qparams(op.output)
    bounds = _code_bounds(op, writer.graph)
    output = op.output if bounds is None else op.output + UNCLAMPED
    if isinstance(op, Conv):
        writer.node("QLinearConv", [*source, *kernel, *target, bias], output, _geometry(op))
    else:
        inputs = [*source, *kernel, bias, *target]
        writer.node("QGemm", inputs, output, {"transB": 1}, MICROSOFT)
    if bounds is not None:
        limits = [writer.constant(f"code/{code}", _code(code)) for code in bounds]
        writer.node("Clip", [output, *limits], op.output)


def _code_bounds(op: WeightedOp, graph: QuantizedGraph) -> tuple[int, int] | None:
    """Int8 codes to clamp to, or None where saturation to int8 does that already."""
    if op.clamp is None:
        return None
    target = graph.qparams(op.output)
    low, high = (target.quantize_bound(bound) for bound in op.clamp)
    return None if (low, high) == (QMIN, QMAX) else (low, high)


def _float_node(writer: _Writer, op: Op) -> None:
    if isinstance(op, Conv | Linear):
        output = op.output if op.clamp is None else op.output + UNCLAMPED
        bias = writer.constant(f"{op.output}/bias", op.bias)
        inputs = [op.input, writer.float_weight(op), bias]
        if isinstance(op, Conv):
            writer.node("Conv", inputs, output, _geometry(op))
        else:
            writer.node("Gemm", inputs, output, {"transB": 1})
        if op.clamp is not None:
            _float_clamp(writer, op.clamp, output, op.output)
    elif isinstance(op, Add):
        writer.node("Add", op.inputs, op.output)
    elif isinstance(op, Pool):
        writer.node("GlobalAveragePool", op.inputs, op.output)
    elif isinstance(op, Reshape):
        _reshape(writer, op)
    elif isinstance(op, Output):
        writer.node("Identity", op.inputs, op.output)
    elif not isinstance(op, Input):
        raise no_rule(op, "the onnx target")


def _float_clamp(writer: _Writer, clamp: Clamp, source: str, output: str) -> None:
    low, high = clamp
    if clamp == (0.0, float("inf")):
        writer.node("Relu", [source], output)
        return
    limits = [writer.constant(f"clamp/{v:g}", np.array(v, np.float32)) for v in (low, high)]
    writer.node("Clip", [source, *limits], output)


def _reshape(writer: _Writer, op: Reshape) -> None:
    # 0 copies the batch dimension, whatever it is at run time.
    shape = writer.constant(f"{op.output}/shape", np.array([0, *op.shape[1:]], np.int64))
    writer.node("Reshape", [writer.codes(op.input), shape], op.output)


def _geometry(op: Conv) -> Attributes:
    return {
        "kernel_shape": op.kernel,
        "strides": op.stride,
        "pads": op.padding,  # top, left, bottom, right: ONNX's own order
        "dilations": op.dilation,
        "group": op.groups,
    }


def _code(code: int) -> np.ndarray:
    return np.array(code + UNSIGNED, np.uint8)
