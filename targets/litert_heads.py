"""The operations of detectors and segmenters in a `.tflite` model.

XNNPACK takes all of them but ArgMax and Nms, which built-in kernels run behind it.
"""

from __future__ import annotations

import numpy as np

from exporter.errors import UnsupportedError
from exporter.graph import QMIN, ArgMax, Concat, DecodeBoxes, Dequantize, Nms, Resize, Sigmoid
from targets.litert_arithmetic import RESULT, Arithmetic, joined_shape
from targets.litert_nms import add_nms
from targets.litert_writer import TO_ROWS, GraphWriter

HeadOp = Resize | Concat | Sigmoid | Dequantize | DecodeBoxes | ArgMax | Nms
CHANNELS = 3  # axis of a map in the file
INTEGER_SCALE = 1 / 256  # of a LOGISTIC's codes
MOST_JOINED = 4  # inputs of a CONCATENATION that every version of the delegate takes


def add_head(writer: GraphWriter, op: HeadOp) -> None:
    """Append what `op` becomes."""
    if isinstance(op, Resize):
        _resize(writer, op)
    elif isinstance(op, Concat):
        _concat(writer, op)
    elif isinstance(op, Sigmoid):
        _sigmoid(writer, op)
    elif isinstance(op, Dequantize):
        writer.dequantize(writer.source(op.input), writer.result(op))
    elif isinstance(op, DecodeBoxes):
        _decode(writer, op)
    elif isinstance(op, ArgMax):
        _arg_max(writer, op)
    else:
        _suppress(writer, op)


def _sigmoid(writer: GraphWriter, op: Sigmoid) -> None:
    """Codes of another scale than 1/256 go by way of float32: not every version has them."""
    q = writer.graph.tensors[op.output].qparams
    source, shape = writer.source(op.input), writer.shape(op.output)
    if q is None or (q.scale == INTEGER_SCALE and q.zero_point == QMIN):
        writer.model.operate("LOGISTIC", [source], writer.result(op), None)
        return
    logits, scores = (
        writer.model.tensor(f"{op.output}/{name}", shape, np.float32) for name in ("logits", "real")
    )
    writer.model.operate("LOGISTIC", [writer.dequantize(source, logits)], scores, None)
    writer.quantize(scores, writer.result(op))


def _resize(writer: GraphWriter, op: Resize) -> None:
    options = writer.schema.ResizeBilinearOptionsT()
    options.halfPixelCenters = True
    size = writer.model.constant(f"{op.output}/size", np.array(op.size, np.int32))
    inputs = [writer.source(op.input), size]
    writer.model.operate("RESIZE_BILINEAR", inputs, writer.result(op), options)


def _concat(writer: GraphWriter, op: Concat) -> None:
    """The delegate copies codes, so each input gets the output's parameters first.

    Of many inputs the last are joined first: a detector's smallest maps.
    """
    parts = [_requantized(writer, name, op.output) for name in op.inputs]
    options = writer.schema.ConcatenationOptionsT()
    options.axis = TO_ROWS.index(op.axis) if writer.is_map(op.output) else op.axis
    target, model = writer.graph.tensors[op.output], writer.model
    dtype = np.float32 if target.qparams is None else np.int8
    while len(parts) > MOST_JOINED:
        last = parts[-MOST_JOINED:]
        shape = joined_shape([model.tensors[part].shape for part in last], options.axis)
        name = f"{op.output}/last{len(parts)}"
        joined = model.tensor(name, shape, dtype, target.qparams)
        model.operate("CONCATENATION", last, joined, options)
        parts[-MOST_JOINED:] = [joined]
    model.operate("CONCATENATION", parts, writer.result(op), options)


def _requantized(writer: GraphWriter, name: str, like: str) -> int:
    """A tensor, in the parameters of another one."""
    place, tensors = writer.source(name), writer.graph.tensors
    target = tensors[like].qparams
    if tensors[name].qparams == target:
        return place
    shape = writer.shape(name)
    real = writer.model.tensor(f"{like}/{name}.real", shape, np.float32)
    codes = writer.model.tensor(f"{like}/{name}", shape, np.int8, target)
    return writer.quantize(writer.dequantize(place, real), codes)


def _decode(writer: GraphWriter, op: DecodeBoxes) -> None:
    """Step by step as the graph states it, each rounded to float32."""
    math = Arithmetic(writer.model, op.output)
    moves, sizes = math.split(writer.source(op.input), 2, ("moves", "sizes"))
    centers, extents = op.anchors[None, :, :2], op.anchors[None, :, 2:]
    anchor_size = math.constant("anchor.size", extents)
    moved = math.binary("MUL", moves, math.constant("center.step", op.center_variance), "scaled")
    moved = math.binary("MUL", moved, anchor_size, "moved")
    center = math.binary("ADD", moved, math.constant("anchor.center", centers), "center")
    logs = math.binary("MUL", sizes, math.constant("size.step", op.size_variance), "logs")
    size = math.binary("MUL", math.unary("EXP", logs, "factors"), anchor_size, "size")
    half = math.binary("MUL", size, math.constant("half", 0.5), "halved")
    corners = [math.binary("SUB", center, half, "low"), math.binary("ADD", center, half, "high")]
    writer.places[op.output] = math.concat(corners, 2, RESULT)


def _arg_max(writer: GraphWriter, op: ArgMax) -> None:
    """TensorFlow's is an int32; its byte is the label."""
    math = Arithmetic(writer.model, op.output)
    options = writer.schema.ArgMaxOptionsT()
    options.outputType = math.type(np.dtype(np.int32))
    inputs = [writer.source(op.input), math.constant("axis", CHANNELS, np.int32)]
    index = math.activation("index", writer.shape(op.output), np.int32)
    writer.model.operate("ARG_MAX", inputs, index, options)
    writer.places[op.output] = math.cast(index, np.uint8, RESULT)


def _suppress(writer: GraphWriter, op: Nms) -> None:
    if op.native:
        raise UnsupportedError(
            "LiteRT's own non-maximum suppression decodes boxes itself and gives other rows",
            "choose --nms graph or --nms none",
        )
    boxes, scores = writer.source(op.boxes), writer.source(op.scores)
    writer.places[op.output] = add_nms(writer.model, op, boxes, scores)
