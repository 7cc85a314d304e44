"""What follows a detector's and a segmenter's layers, as ONNX nodes: maps, scores, boxes, labels.

A map is never resized as codes: ONNX Runtime's kernel for uint8 truncates. So codes are
dequantized, resized in float32 and quantized again. Older versions (1.17 is one) undo that where
both ends have the same parameters; those of the far end are therefore written once per channel,
which means the same and is left alone.
"""

from __future__ import annotations

import numpy as np

from exporter.graph import ArgMax, Concat, DecodeBoxes, Nms, Op, Permute, Resize, Sigmoid, no_rule
from targets.onnx_nms import suppress
from targets.onnx_writer import MICROSOFT, UNSIGNED, Scope, Writer

LINEAR = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
FIRST_OF_EQUAL = {"axis": 1, "keepdims": 0, "select_last_index": 0}


def integer_head(writer: Writer, op: Op) -> None:
    """An operation that reads codes."""
    if isinstance(op, Resize) and not _is_one_value(writer, op):
        _resize_codes(writer, op)
    elif isinstance(op, Concat) and len({writer.graph.qparams(name) for name in _ends(op)}) > 1:
        _join_requantized(writer, op)
    elif isinstance(op, Sigmoid):
        inputs = [*writer.sources(op), *writer.qparams(op.input), *writer.qparams(op.output)]
        writer.node("QLinearSigmoid", inputs, op.output, domain=MICROSOFT)
    elif isinstance(op, Resize | Concat | Permute | ArgMax):
        float_head(writer, op)  # codes are only moved or compared
    else:
        raise no_rule(op, "the onnx target")


def float_head(writer: Writer, op: Op) -> None:
    """An operation that reads real values, or codes that it only moves or compares."""
    if isinstance(op, Permute):
        writer.node("Transpose", writer.sources(op), op.output, {"perm": op.order})
    elif isinstance(op, Concat):
        writer.node("Concat", writer.sources(op), op.output, {"axis": op.axis})
    elif isinstance(op, Resize):
        _resize(writer, op)
    elif isinstance(op, Sigmoid):
        writer.node("Sigmoid", writer.sources(op), op.output)
    elif isinstance(op, DecodeBoxes):
        _decode_boxes(writer, op)
    elif isinstance(op, ArgMax):
        _label(writer, op)
    elif isinstance(op, Nms):
        suppress(writer, op)
    else:
        raise no_rule(op, "the onnx target")


def _ends(op: Concat) -> tuple[str, ...]:
    return (*op.inputs, op.output)


def _is_one_value(writer: Writer, op: Resize) -> bool:
    """Whether every output of a channel is its one input."""
    return writer.graph.tensors[op.input].shape[2:] == (1, 1)


def _resize(writer: Writer, op: Resize) -> None:
    (source,) = writer.sources(op)
    if _is_one_value(writer, op):
        shape = Scope(writer, op.output).integers("shape", 1, 1, *op.size)
        writer.node("Expand", [source, shape], op.output)
    else:
        writer.node("Resize", [source, "", "", _sizes(writer, op)], op.output, LINEAR)


def _resize_codes(writer: Writer, op: Resize) -> None:
    scope, q = Scope(writer, op.output), writer.graph.qparams(op.output)
    channels = writer.graph.tensors[op.output].shape[1]
    small = scope.node(
        "DequantizeLinear", [*writer.sources(op), *writer.qparams(op.input)], "small"
    )
    large = scope.node("Resize", [small, "", "", _sizes(writer, op)], "large", **LINEAR)
    per_channel = [
        writer.constant(scope.called("scales"), np.full(channels, q.scale, np.float32)),
        writer.constant(
            scope.called("zero_points"), np.full(channels, q.zero_point + UNSIGNED, np.uint8)
        ),
    ]
    writer.node("QuantizeLinear", [large, *per_channel], op.output, {"axis": 1})


def _sizes(writer: Writer, op: Resize) -> str:
    """All four sizes: scales would not say exactly how many pixels there are."""
    scope, channels = Scope(writer, op.output), writer.graph.tensors[op.input].shape[1]
    if writer.batch is not None:
        return scope.integers("sizes", writer.batch, channels, *op.size)
    shape = scope.node("Shape", writer.sources(op), "shape")
    batch = scope.node("Slice", [shape, scope.integers("0", 0), scope.integers("1", 1)], "batch")
    fixed = scope.integers("fixed_sizes", channels, *op.size)
    return scope.node("Concat", [batch, fixed], "sizes", axis=0)


def _join_requantized(writer: Writer, op: Concat) -> None:
    inputs = writer.qparams(op.output)
    for name in op.inputs:
        inputs += [writer.codes(name), *writer.qparams(name)]
    writer.node("QLinearConcat", inputs, op.output, {"axis": op.axis}, MICROSOFT)


def _decode_boxes(writer: Writer, op: DecodeBoxes) -> None:
    """The formula of `graph.DecodeBoxes`, step by step."""
    scope = Scope(writer, op.output)
    centers, sizes = (
        writer.constant(scope.called(name), np.ascontiguousarray(part))
        for name, part in zip(
            ("anchor_centers", "anchor_sizes"), np.split(op.anchors, 2, axis=1), strict=True
        )
    )
    names = ["center_offsets", "size_offsets"]
    lengths = scope.integers("lengths", 2, 2)
    center_offsets, size_offsets = scope.split_node("Split", [op.input, lengths], names, axis=2)
    step = scope.real("center_step", op.center_variance)
    moved = scope.node("Mul", [center_offsets, step], "moved")
    moved_by_size = scope.node("Mul", [moved, sizes], "moved_by_size")
    center = scope.node("Add", [moved_by_size, centers], "center")
    step = scope.real("size_step", op.size_variance)
    logarithm = scope.node("Mul", [size_offsets, step], "logarithm")
    ratio = scope.node("Exp", [logarithm], "ratio")
    size = scope.node("Mul", [ratio, sizes], "size")
    reach = scope.node("Mul", [size, scope.real("half", 0.5)], "reach")
    low = scope.node("Sub", [center, reach], "low")
    high = scope.node("Add", [center, reach], "high")
    writer.node("Concat", [low, high], op.output, {"axis": 2})


def _label(writer: Writer, op: ArgMax) -> None:
    from onnx import TensorProto

    index = writer.node("ArgMax", writer.sources(op), f"{op.output}/index", FIRST_OF_EQUAL)
    writer.node("Cast", [index], op.output, {"to": int(TensorProto.UINT8)})
