"""What follows a detector's and a segmenter's layers, as torch operations ready to be traced.

Codes are carried in float32, as everywhere in torchscript_network.py. The integer rules are the
golden's: a bilinear resize with 11 fractional bits per axis (XNNPACK `src/qs8-ibilinear/`), and a
sigmoid that is looked up.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from exporter.graph import (
    QMAX,
    QMIN,
    ArgMax,
    Concat,
    DecodeBoxes,
    Nms,
    Op,
    Permute,
    QParams,
    QuantizedGraph,
    Resize,
    Sigmoid,
    no_rule,
)
from targets.torchscript_nms import suppression

f32 = np.float32
FRACTION = 11  # bits of a weight in XNNPACK's int8 resize
ONE = 1 << FRACTION
ROUNDING = 1 << (2 * FRACTION - 1)  # half of a code, in sums that carry both axes' fractions

Step = Callable[..., torch.Tensor]


def float_head(op: Op) -> Step:
    """An operation on real values, or one that only moves or compares codes."""
    if isinstance(op, Permute):
        return lambda x: x.permute(op.order)
    if isinstance(op, Concat):
        return lambda *parts: torch.cat(parts, op.axis)
    if isinstance(op, Resize):
        return lambda x: F.interpolate(x, op.size, mode="bilinear", align_corners=False)
    if isinstance(op, Sigmoid):
        return torch.sigmoid
    if isinstance(op, DecodeBoxes):
        return _decode_boxes(op)
    if isinstance(op, ArgMax):
        return lambda x: x.argmax(1).to(torch.uint8)
    if isinstance(op, Nms):
        return suppression(op)
    raise no_rule(op, "the torchscript target")


def integer_head(graph: QuantizedGraph, op: Op) -> Step:
    """An operation from codes to codes."""
    if isinstance(op, Resize):
        return _integer_resize(graph.tensors[op.input].shape[2:], op)
    if isinstance(op, Sigmoid):
        return _integer_sigmoid(graph.qparams(op.input), graph.qparams(op.output))
    if isinstance(op, Concat):
        return _integer_concat([graph.qparams(name) for name in op.inputs], graph, op)
    return float_head(op)


def quantize(q: QParams) -> Step:
    """Real values -> codes."""
    inverse = float(f32(1.0) / f32(q.scale))
    return lambda x: saturate(torch.round(x * inverse) + q.zero_point)


def saturate(codes: torch.Tensor) -> torch.Tensor:
    """To what int8 holds. A trace calls what enters here "codes"."""
    return torch.clamp(codes, QMIN, QMAX)


def dequantize(q: QParams) -> Step:
    """Codes -> real values."""
    return lambda codes: (codes - q.zero_point) * q.scale


def _decode_boxes(op: DecodeBoxes) -> Step:
    """The formula of `graph.DecodeBoxes`, step by step."""
    centers, sizes = (torch.from_numpy(part) for part in np.split(op.anchors, 2, axis=1))
    center_step, size_step = (float(f32(v)) for v in (op.center_variance, op.size_variance))

    def step(offsets: torch.Tensor) -> torch.Tensor:
        center = offsets[..., :2] * center_step * sizes + centers
        reach = torch.exp(offsets[..., 2:] * size_step) * sizes * 0.5
        return torch.cat([center - reach, center + reach], -1)

    return step


def _integer_resize(source: tuple[int, ...], op: Resize) -> Step:
    """Along every line, then between the lines, rounded half up once."""
    above, below, down = _taps(source[0], op.size[0])
    before, after, along = _taps(source[1], op.size[1])
    down = down.reshape(-1, 1)

    def step(codes: torch.Tensor) -> torch.Tensor:
        x = codes.to(torch.int32)
        left = x.index_select(3, before)
        lines = left * ONE + (x.index_select(3, after) - left) * along
        top = lines.index_select(2, above)
        sums = top * ONE + (lines.index_select(2, below) - top) * down
        return ((sums + ROUNDING) >> (2 * FRACTION)).to(torch.float32)

    return step


def _taps(size: int, wanted: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Per output position of one axis: two source positions, the second one's weight in 1 / ONE.

    Half-pixel centers, every step in float32 (XNNPACK `src/indirection.c`).
    """
    ratio = f32(size) / f32(wanted)
    x = np.arange(wanted, dtype=np.int32).astype(f32) * ratio + (f32(0.5) * ratio - f32(0.5))
    x = np.clip(x, f32(0), f32(size - 1))
    first = x.astype(np.int64)
    weight = np.rint((x - first.astype(f32)) * f32(ONE)).astype(np.int32)
    second = np.minimum(first + 1, size - 1)
    return torch.from_numpy(first), torch.from_numpy(second), torch.from_numpy(weight)


def _integer_sigmoid(source: QParams, target: QParams) -> Step:
    """A table of all 256 codes."""
    codes = np.arange(QMIN, QMAX + 1)
    real = ((codes - source.zero_point).astype(f32) * f32(source.scale)).astype(np.float64)
    steps = np.rint(1.0 / (1.0 + np.exp(-real)) / target.scale) + target.zero_point
    table = torch.from_numpy(np.clip(steps, QMIN, QMAX).astype(f32))
    return lambda x: table[x.to(torch.int64) - QMIN]


def _integer_concat(sources: list[QParams], graph: QuantizedGraph, op: Concat) -> Step:
    """Codes of other parameters than the output's are requantized."""
    target = graph.qparams(op.output)
    into = quantize(target)
    steps = [None if q == target else dequantize(q) for q in sources]

    def step(*parts: torch.Tensor) -> torch.Tensor:
        codes = [x if real is None else into(real(x)) for x, real in zip(parts, steps, strict=True)]
        return torch.cat(codes, op.axis)

    return step
