"""A QuantizedGraph as an ONNX model: one pass, one node or two per operation.

int8   the form that ONNX Runtime runs wholly in integers (QLinearConv and its relatives): uint8
       activations (zero point + 128), int8 weights with a scale per channel, int32 biases.
       Quantize and dequantize nodes stand only at the ends and around a resized map.
fp32   Conv, Clip, Add, GlobalAveragePool, Reshape, Gemm.
fp16   the same with float16 weights, widened by Cast nodes that ONNX Runtime folds when it loads.
       Its CPU kernels are float32 (outside recent ARM), so float16 arithmetic would only add casts
       and lose the fusion of Clip into Conv, for a file of the same size.

onnx_writer.py collects the nodes and names them, onnx_heads.py has what follows the layers of
detectors and segmenters, onnx_nms.py and onnx_fixed_point.py suppress overlapping boxes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from exporter.graph import (
    QMAX,
    QMIN,
    Add,
    Clamp,
    Conv,
    Dequantize,
    Input,
    Linear,
    Op,
    Output,
    Pool,
    QuantizedGraph,
    Reshape,
    Tensor,
    WeightedOp,
)
from exporter.metadata import METADATA_KEY, metadata_text
from exporter.spec import Precision
from targets.onnx_heads import float_head, integer_head
from targets.onnx_writer import (
    MICROSOFT,
    UNCLAMPED,
    Attributes,
    Writer,
    unsigned,
)

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto

OPSET = 13  # the oldest that has every form used here; ONNX Runtime 1.7 (2021) reads it
IR_VERSION = 7  # of that opset
PRODUCER = "mnv2-export"
BATCH_NAME = "batch"
GRAPH_NAMES = {  # by task
    "classification": "mobilenet_v2",
    "detection": "ssdlite_mobilenet_v2",
    "segmentation": "mobile_deeplab_v3",
}


def build(graph: QuantizedGraph, precision: Precision, batch: int | None) -> ModelProto:
    """The model; `batch` None leaves the first dimension open."""
    from onnx import helper

    writer = Writer(graph, precision, batch)
    for op in graph.ops:
        if precision is Precision.INT8:
            _integer_node(writer, op)
        else:
            _float_node(writer, op)
    image = _end(graph.input, np.float32, batch)
    results = [_end(t, graph.result_dtype(t.name), batch) for t in graph.outputs]
    name = GRAPH_NAMES[graph.spec.task]
    body = helper.make_graph(writer.nodes, name, [image], results, writer.constants)
    domains = [helper.make_opsetid("", OPSET)]
    if precision is Precision.INT8:
        domains.append(helper.make_opsetid(MICROSOFT, 1))
    model = helper.make_model(
        body, opset_imports=domains, ir_version=IR_VERSION, producer_name=PRODUCER
    )
    labels = "\n".join(graph.spec.label(i) for i in range(graph.spec.classes))
    helper.set_model_props(model, {METADATA_KEY: metadata_text(graph, precision), "labels": labels})
    return model


def _end(tensor: Tensor, dtype: type[np.generic], batch: int | None) -> ValueInfoProto:
    """An input or output with its shape."""
    from onnx import helper

    shape = [BATCH_NAME if batch is None else batch, *tensor.shape[1:]]
    return helper.make_tensor_value_info(
        tensor.name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape
    )


def _integer_node(writer: Writer, op: Op) -> None:
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
    elif not writer.holds_codes(op.inputs[0]):
        _float_node(writer, op)
    elif isinstance(op, Reshape):
        _reshape(writer, op)
    elif isinstance(op, Dequantize | Output):
        writer.node(
            "DequantizeLinear", [writer.codes(op.input), *writer.qparams(op.input)], op.output
        )
    else:
        integer_head(writer, op)


def _integer_layer(writer: Writer, op: WeightedOp) -> None:
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
        limits = [writer.constant(f"code/{code}", unsigned(code)) for code in bounds]
        writer.node("Clip", [output, *limits], op.output)


def _code_bounds(op: WeightedOp, graph: QuantizedGraph) -> tuple[int, int] | None:
    """Int8 codes to clamp to, or None where saturation to int8 does that already."""
    if op.clamp is None:
        return None
    target = graph.qparams(op.output)
    low, high = (target.quantize_bound(bound) for bound in op.clamp)
    return None if (low, high) == (QMIN, QMAX) else (low, high)


def _float_node(writer: Writer, op: Op) -> None:
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
        float_head(writer, op)


def _float_clamp(writer: Writer, clamp: Clamp, source: str, output: str) -> None:
    low, high = clamp
    if clamp == (0.0, float("inf")):
        writer.node("Relu", [source], output)
        return
    limits = [writer.constant(f"clamp/{v:g}", np.array(v, np.float32)) for v in (low, high)]
    writer.node("Clip", [source, *limits], output)


def _reshape(writer: Writer, op: Reshape) -> None:
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
