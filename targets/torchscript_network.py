"""A QuantizedGraph as one function of torch operations, ready to be traced.

Weights are captured tensors, so a trace holds them as constants; int8 weights stay int8 and are
widened by the program. The integer rules are the golden's (exporter/golden.py cites XNNPACK for
them), each rounding step in the same float32 arithmetic; only sums are carried in wider types.
They hold while torch multiplies float32 as float32, which is its default on CPUs.

torchscript_heads.py has what follows the layers of detectors and segmenters, torchscript_nms.py
suppresses overlapping boxes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from exporter.errors import UnsupportedError
from exporter.graph import (
    QMAX,
    QMIN,
    RELU,
    RELU6,
    Add,
    Clamp,
    Conv,
    Dequantize,
    Input,
    Linear,
    Op,
    Output,
    Pool,
    QParams,
    QuantizedGraph,
    Reshape,
    WeightedOp,
    accumulator_scale,
)
from targets.torchscript_heads import Step, dequantize, float_head, integer_head, quantize, saturate

f32 = np.float32
EXACT_FLOAT32 = 2**24  # up to here every integer is a float32, in whatever order it was summed
SUMS = "_sums"  # names what a layer computes before it is clamped or rescaled
ADD_SHIFT = 20  # XNNPACK scales the larger operand's multiplier to [2^20, 2^21)

Results = torch.Tensor | tuple[torch.Tensor, ...]


def network(graph: QuantizedGraph) -> Callable[[torch.Tensor], Results]:
    """A function of (n, 3, r, r) images for any n: its one result, or a tuple in their order."""
    plan = steps(graph)

    def forward(images: torch.Tensor) -> Results:
        values: dict[str, torch.Tensor] = {}
        for op, step in plan:
            inputs = [values[name] for name in op.inputs] or [images]
            values[op.output] = step(*inputs)
            if not isinstance(op, Input | Output):
                _name_value(values[op.output], op.output)
        results = tuple(values[tensor.name] for tensor in graph.outputs)
        return results if len(results) > 1 else results[0]

    return forward


def steps(graph: QuantizedGraph) -> list[tuple[Op, Step]]:
    """Every operation with a function of its inputs' values; the image's of the image."""
    return [(op, _step(graph, op)) for op in graph.ops]


def graph_name(variable: str) -> str:
    """The tensor that a program's variable holds, or whose layer it is before the clamp."""
    return variable.split(".")[0].removesuffix(SUMS).replace("_", ".")


def _name_value(value: torch.Tensor, name: str) -> None:
    """Let a traced program call a value by the graph's name of it."""
    tracer: Any = torch._C
    if tracer._is_tracing():
        tracer._get_value_trace(value).setDebugName(name.replace(".", "_"))


def _step(graph: QuantizedGraph, op: Op) -> Step:
    """Codes where the graph has any, real values elsewhere."""
    source = graph.tensors[op.inputs[0]].qparams if op.inputs else None
    if isinstance(op, Dequantize | Output) and source is not None:
        return dequantize(source)
    if graph.tensors[op.output].qparams is None:
        return _float_step(op)
    return _integer_step(graph, op)


def _float_step(op: Op) -> Step:
    if isinstance(op, Conv | Linear):
        layer = _layer(op, torch.from_numpy(op.weight.dequantized()), torch.from_numpy(op.bias))
        return lambda x: _clamp(layer(x), op.clamp)
    if isinstance(op, Add):
        return torch.add
    if isinstance(op, Pool):
        return lambda x: x.mean((2, 3), keepdim=True)
    if isinstance(op, Reshape):
        return _reshape(op)
    if isinstance(op, Input | Output):
        return _same
    return float_head(op)


def _integer_step(graph: QuantizedGraph, op: Op) -> Step:
    """Int8 codes held in float32 go in and come out."""
    target = graph.qparams(op.output)
    if isinstance(op, Input):
        return quantize(target)
    if isinstance(op, Conv | Linear):
        return _integer_layer(graph, op)
    if isinstance(op, Add):
        return _integer_add(graph.qparams(op.a), graph.qparams(op.b), target)
    if isinstance(op, Pool):
        height, width = graph.tensors[op.input].shape[2:]
        return _integer_pool(height * width, graph.qparams(op.input), target)
    if isinstance(op, Reshape):
        return _reshape(op)
    return integer_head(graph, op)


def _integer_layer(graph: QuantizedGraph, op: WeightedOp) -> Step:
    """`rne(float32(acc) * float32(s_x * s_w / s_y)) + zp`, then the clamp's codes."""
    source, target = graph.qparams(op.input), graph.qparams(op.output)
    shape = (1, -1, 1, 1) if isinstance(op, Conv) else (1, -1)
    ratio = (accumulator_scale(op, graph) / f32(target.scale)).astype(f32)
    multiplier = torch.from_numpy(ratio).reshape(shape)
    bounds = op.clamp or (-np.inf, np.inf)
    low, high = (target.quantize_bound(bound) for bound in bounds)
    carrier = _carrier(op)
    layer = _layer(op, torch.from_numpy(op.weight.values), torch.from_numpy(op.bias), carrier)

    def step(codes: torch.Tensor) -> torch.Tensor:
        sums = _widen(layer(_widen(codes - source.zero_point, carrier)), torch.float32)
        return torch.clamp(torch.round(sums * multiplier) + target.zero_point, low, high)

    return step


def _carrier(op: WeightedOp) -> torch.dtype:
    """Float32 where no partial sum can pass 2^24, else float64 (slower, exact to 2^53)."""
    taps = np.abs(op.weight.values.astype(np.int64)).reshape(len(op.bias), -1).sum(1)
    worst = taps * (QMAX - QMIN) + np.abs(op.bias.astype(np.int64))
    return torch.float32 if int(worst.max()) < EXACT_FLOAT32 else torch.float64


def _integer_add(a: QParams, b: QParams, target: QParams) -> Step:
    """Integer multipliers of 21 bits, then an arithmetic shift that rounds half up."""
    ratios = [float(f32(f32(q.scale) / f32(target.scale))) for q in (a, b)]
    shift = ADD_SHIFT - int(np.floor(np.log2(max(ratios))))
    ma, mb = (int(np.rint(np.ldexp(ratio, shift))) for ratio in ratios)
    # 2 x 2^21 x 255 stays far below 2^31; the shift is at least 12 by the graph's own rules.
    bias = (1 << (shift - 1)) - ma * a.zero_point - mb * b.zero_point

    def step(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        sums = x.to(torch.int32) * ma + y.to(torch.int32) * mb + bias
        return saturate(((sums >> shift) + target.zero_point).to(torch.float32))

    return step


def _integer_pool(count: int, source: QParams, target: QParams) -> Step:
    """The raw sum, a float32 zero point, then one rounding (adding zp after it errs on ties)."""
    m = f32(f32(f32(source.scale) / f32(target.scale)) * f32(f32(1.0) / f32(count)))
    offset = float(f32(f32(target.zero_point) - f32(f32(count * source.zero_point) * m)))
    if count * -QMIN >= EXACT_FLOAT32:
        raise UnsupportedError(f"a pool over {count} values does not sum exactly in float32")
    return lambda x: saturate(torch.round(x.sum((2, 3), keepdim=True) * float(m) + offset))


def _layer(
    op: WeightedOp,
    weight: torch.Tensor,
    bias: torch.Tensor,
    carrier: torch.dtype = torch.float32,
) -> Step:
    """The layer without its clamp, computed in `carrier` whatever type its constants have."""
    top, left, bottom, right = op.padding if isinstance(op, Conv) else (0, 0, 0, 0)
    folded = (top, left) == (bottom, right)

    def step(x: torch.Tensor) -> torch.Tensor:
        wide = _widen(weight, carrier), _widen(bias, carrier)
        if isinstance(op, Linear):
            y = F.linear(x, *wide)
        else:
            x = x if folded else F.pad(x, (left, right, top, bottom))
            padding = (top, left) if folded else (0, 0)
            y = F.conv2d(x, *wide, op.stride, padding, op.dilation, op.groups)
        _name_value(y, op.output + SUMS)
        return y

    return step


def _widen(x: torch.Tensor, carrier: torch.dtype) -> torch.Tensor:
    """Leaves no conversion in the program where there is none to do."""
    return x if x.dtype == carrier else x.to(carrier)


def _clamp(x: torch.Tensor, clamp: Clamp | None) -> torch.Tensor:
    if clamp is None:
        return x
    if clamp == RELU6:
        return F.relu6(x)
    return F.relu(x) if clamp == RELU else torch.clamp(x, *clamp)


def _reshape(op: Reshape) -> Step:
    return lambda x: x.reshape(-1, *op.shape[1:])


def _same(x: torch.Tensor) -> torch.Tensor:
    return x
