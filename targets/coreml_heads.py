"""The operations of detectors and segmenters in a Core ML program."""

from __future__ import annotations

import numpy as np
from coremltools.converters.mil import Builder as mb  # noqa: N813 (coremltools' own spelling)

from exporter.graph import (
    ArgMax,
    Concat,
    DecodeBoxes,
    Dequantize,
    Nms,
    Op,
    Output,
    Permute,
    Resize,
    Sigmoid,
    no_rule,
)
from targets.coreml_sdk import RAW_CONFIDENCE, RAW_COORDINATES
from targets.coreml_suppression import write_suppression
from targets.coreml_values import Values, Var

f32 = np.float32
HALF_PIXEL = "UNALIGN_CORNERS"  # MIL's name of half-pixel centers, torch's align_corners=False
# Core ML's suppression loses boxes of an ML program whose classes are no multiple of so many
# (https://github.com/ultralytics/ultralytics/issues/22309).
CLASS_BLOCK = 80


def write_head(values: Values, op: Op) -> None:
    """One operation; raises UnsupportedError for one that is not known here either."""
    if isinstance(op, Permute):
        values.write(op, mb.transpose, x=values.read(op.input), perm=op.order)
    elif isinstance(op, Concat):
        parts = [values.read(name) for name in op.inputs]
        values.write(op, mb.concat, values=parts, axis=op.axis)
    elif isinstance(op, Resize):
        _resize(values, op)
    elif isinstance(op, Sigmoid):
        _sigmoid(values, op)
    elif isinstance(op, Dequantize):
        name = f"{values.name(op.input)}_dequantized"
        values.values[op.output] = values.dequantize(op.input, f32, name)
    elif isinstance(op, ArgMax):
        x = values.read(op.input)
        values.write(op, mb.reduce_argmax, x=x, axis=1, keep_dims=False)  # the first of equals
    elif isinstance(op, DecodeBoxes):
        _decode(values, op)
    elif isinstance(op, Nms):
        _suppress(values, op)
    else:
        raise no_rule(op, "the ios target")


def _resize(values: Values, op: Resize) -> None:
    """To a size, since factors between 33 and 513 would be fractions."""
    height, width = op.size
    values.write(
        op,
        mb.resize_bilinear,
        x=values.read(op.input),
        target_size_height=height,
        target_size_width=width,
        sampling_mode=HALF_PIXEL,
    )


def _sigmoid(values: Values, op: Sigmoid) -> None:
    """In float32 where it makes the scores themselves: fp16 ones would be equal too often."""
    if values.is_quantized(op.output):
        x = values.read(op.input)
    else:
        x = values.read_float32(op.input, f"{values.name(op.input)}__fp32")
    values.write(op, mb.sigmoid, x=x)


def _decode(values: Values, op: DecodeBoxes) -> None:
    """Corners, in float32: fp16 would move them by up to a sixth of a pixel at 320."""
    if _native_reader(values, op) is not None:
        return  # which takes centers and sizes, and writes them itself
    center, size = _centers(values, op)
    half = mb.mul(x=size, y=f32(0.5), name=f"{op.output}__half")
    low = mb.sub(x=center, y=half, name=f"{op.output}__low")
    high = mb.add(x=center, y=half, name=f"{op.output}__high")
    values.write(op, mb.concat, values=[low, high], axis=-1)


def _centers(values: Values, op: DecodeBoxes) -> tuple[Var, Var]:
    """Centers (1, anchors, 2) and sizes (1, anchors, 2), rounded as the graph states them."""
    name = op.output
    anchors = op.anchors[None]
    offsets = values.read_float32(op.input, f"{name}__offsets")
    moved, grown = mb.split(x=offsets, num_splits=2, axis=-1, name=f"{name}__parts")
    step = mb.mul(x=moved, y=f32(op.center_variance), name=f"{name}__step")
    shift = mb.mul(x=step, y=anchors[..., 2:], name=f"{name}__shift")
    center = mb.add(x=shift, y=anchors[..., :2], name=f"{name}__center")
    power = mb.mul(x=grown, y=f32(op.size_variance), name=f"{name}__power")
    growth = mb.exp(x=power, name=f"{name}__growth")
    return center, mb.mul(x=growth, y=anchors[..., 2:], name=f"{name}__size")


def _native_reader(values: Values, op: DecodeBoxes) -> Nms | None:
    readers = [r for r in values.graph.ops if op.output in r.inputs]
    return next((r for r in readers if isinstance(r, Nms) and r.native), None)


def write_result(values: Values, op: Output) -> None:
    """A result as float32, or as integers where it is a map of labels."""
    source = values.graph.producer(op.input)
    if not (isinstance(source, Nms) and source.native):
        values.results[op.output] = values.read_float32(op.input, op.output)


def _suppress(values: Values, op: Nms) -> None:
    """Suppressed here, or made ready for the model that suppresses after this one."""
    if op.native:
        values.results[RAW_CONFIDENCE] = _confidence(values, op)
        values.results[RAW_COORDINATES] = _coordinates(values, op)
        return
    boxes, scores = values.read(op.boxes), values.read(op.scores)
    values.values[op.output] = write_suppression(op, boxes, scores, values.name(op.output))


def _confidence(values: Values, op: Nms) -> Var:
    """(anchors, classes) without the background, and zeros up to a whole block of classes."""
    scores = values.read(op.scores)
    _, anchors, classes = scores.shape
    ends = [1, anchors, classes]
    x = mb.slice_by_index(x=scores, begin=[0, 0, 1], end=ends, name=f"{op.output}__real")
    spare = padded_classes(classes) - (classes - 1)
    if spare:
        pad = [0, 0, 0, 0, 0, spare]
        x = mb.pad(x=x, pad=pad, mode="constant", constant_val=f32(0), name=f"{op.output}__padded")
    return mb.squeeze(x=x, axes=[0], name=RAW_CONFIDENCE)


def _coordinates(values: Values, op: Nms) -> Var:
    """(anchors, 4): center x, center y, width, height, in fractions of the image."""
    decode = values.graph.producer(op.boxes)
    if not isinstance(decode, DecodeBoxes):
        raise no_rule(op, "the ios target")
    parts = _centers(values, decode)
    x = mb.concat(values=list(parts), axis=-1, name=f"{op.output}__boxes")
    return mb.squeeze(x=x, axes=[0], name=RAW_COORDINATES)


def padded_classes(classes: int) -> int:
    """Columns of the confidence, given the classes with the background."""
    return -(-(classes - 1) // CLASS_BLOCK) * CLASS_BLOCK
