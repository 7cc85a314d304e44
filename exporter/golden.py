"""The golden: an integer-exact reference of a QuantizedGraph, and the float one of a float graph.

`Rules.XNNPACK` is what ExecuTorch and LiteRT compute, `Rules.ORT` what ONNX Runtime computes; they
differ in the rounding of the residual add, of the pool and of the bilinear resize (`resize.py`).
`Rules.ORT_WASM` is ONNX Runtime in WebAssembly, which differs from it in the add. Integers are
carried in float64, where every product and sum here is exact (|acc| < 2^31 is validated, float64
holds 2^53); the rounding steps are float32, as in the kernels.

Sources: XNNPACK `src/operators/{convolution,fully-connected,binary-elementwise}*.c` and
`src/microparams-init.c`; ONNX Runtime `core/mlas/lib/{quantize,qladd,qlgavgpool}.cpp`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from exporter.float_rules import real_step, rearranged
from exporter.graph import (
    QMAX,
    QMIN,
    Add,
    ArgMax,
    Concat,
    Conv,
    Dequantize,
    Input,
    Linear,
    Op,
    Output,
    Permute,
    Pool,
    QParams,
    QuantizedGraph,
    Reshape,
    Resize,
    Sigmoid,
    WeightedOp,
    accumulator_step,
    last_uses,
    no_rule,
)
from exporter.resize import resize_ort, resize_xnnpack
from exporter.results import joined
from exporter.spec import Rules

f32 = np.float32
Real = np.ndarray | np.float32
Trace = Callable[[str, np.ndarray], None]
UNSIGNED = 128  # ONNX Runtime's uint8 codes are the int8 codes plus this
AT_ONCE = 32 * 224 * 224  # pixels of one walk
ADD_SHIFT = 20  # XNNPACK scales the larger operand's multiplier to [2^20, 2^21)


def run(
    graph: QuantizedGraph,
    images: np.ndarray,
    rules: Rules = Rules.XNNPACK,
    trace: Trace | None = None,
) -> np.ndarray:
    """The one result, such as float32 (n, classes), for float32 (n, 3, r, r).

    `trace(name, value)` sees every tensor: int8 codes in an int8 graph, float32 otherwise.
    """
    return run_outputs(graph, images, rules, trace)[graph.output.name]


def run_outputs(
    graph: QuantizedGraph,
    images: np.ndarray,
    rules: Rules = Rules.XNNPACK,
    trace: Trace | None = None,
) -> dict[str, np.ndarray]:
    """Every result by name, of a graph with any number of them.

    Large images go a few at a time: the maps of all of them together would not fit.
    """
    total = max(1, len(images))
    count = total if trace is not None else max(1, AT_ONCE // math.prod(images.shape[2:]))
    return joined(
        _walk(graph, images[start : start + count], rules, trace)
        for start in range(0, total, count)
    )


def _walk(
    graph: QuantizedGraph, images: np.ndarray, rules: Rules, trace: Trace | None
) -> dict[str, np.ndarray]:
    values: dict[str, np.ndarray] = {}
    last = last_uses(graph)
    with torch.no_grad():
        for op in graph.ops:
            inputs = [values[name] for name in op.inputs] or [images]
            if graph.quantized:
                values[op.output] = _integer_step(graph, op, inputs, rules)
            else:
                values[op.output] = _float_step(op, inputs)
            if trace is not None:
                trace(op.output, values[op.output])
            for name in last.get(op.output, ()):
                del values[name]
    return {tensor.name: values[tensor.name] for tensor in graph.outputs}


def _float_step(op: Op, inputs: list[np.ndarray]) -> np.ndarray:
    if isinstance(op, Conv | Linear):
        x, weight = (torch.from_numpy(v) for v in (inputs[0], op.weight.dequantized()))
        y = _accumulate(op, x, weight)
        y += op.bias.reshape(_channels(y))
        return y if op.clamp is None else np.clip(y, f32(op.clamp[0]), f32(op.clamp[1]))
    if isinstance(op, Pool):
        return np.asarray(inputs[0].mean((2, 3), keepdims=True, dtype=np.float32))
    return np.asarray(real_step(op, [torch.from_numpy(x) for x in inputs]).numpy())


def _integer_step(
    graph: QuantizedGraph, op: Op, inputs: list[np.ndarray], rules: Rules
) -> np.ndarray:
    """Int8 codes of what `op` writes, real values behind a Dequantize and of an Output."""
    if isinstance(op, Input):
        return quantize(inputs[0], graph.qparams(op.output), rules)
    source = graph.tensors[op.inputs[0]].qparams
    if source is None or isinstance(op, ArgMax):
        return _float_step(op, inputs)
    if isinstance(op, Dequantize | Output):
        return dequantize(inputs[0], source)
    if isinstance(op, Conv | Linear):
        return weighted(op, inputs[0], source, graph.qparams(op.output))
    return _code_step(graph, op, inputs, rules)


def _code_step(graph: QuantizedGraph, op: Op, inputs: list[np.ndarray], rules: Rules) -> np.ndarray:
    """Operations without weights, from codes to codes."""
    sources, target = [graph.qparams(name) for name in op.inputs], graph.qparams(op.output)
    native = rules is Rules.XNNPACK
    if isinstance(op, Add):
        return ADDS[rules](inputs[0], inputs[1], sources[0], sources[1], target)
    if isinstance(op, Pool):
        return (pool_xnnpack if native else pool_ort)(inputs[0], sources[0], target)
    if isinstance(op, Resize):
        return (
            resize_xnnpack(inputs[0], op.size) if native else resize_ort(inputs[0], op.size, target)
        )
    if isinstance(op, Sigmoid):
        return sigmoid(inputs[0], sources[0], target)
    if isinstance(op, Concat):
        return concat(inputs, sources, target, op.axis, rules)
    if isinstance(op, Reshape | Permute):
        return np.asarray(rearranged(op, [torch.from_numpy(inputs[0])]).numpy())
    raise no_rule(op, "int8 arithmetic")


def quantize(x: np.ndarray, q: QParams, rules: Rules = Rules.XNNPACK) -> np.ndarray:
    """Float32 -> int8. XNNPACK multiplies by the reciprocal, ONNX Runtime divides."""
    scale = f32(q.scale)
    steps = x * (f32(1.0) / scale) if rules is Rules.XNNPACK else x / scale
    return _saturate(np.rint(steps).astype(np.float64) + q.zero_point)


def dequantize(x: np.ndarray, q: QParams) -> np.ndarray:
    """Int8 -> float32, `(q - zero_point) * scale`."""
    return np.asarray((x.astype(np.int32) - q.zero_point).astype(f32) * f32(q.scale), f32)


def weighted(op: WeightedOp, x: np.ndarray, source: QParams, target: QParams) -> np.ndarray:
    """A convolution or fully connected layer: int8 codes (n, ...) -> int8 codes.

    The result is `rne(float32(acc) * float32(s_x * s_w / s_y)) + zp`, clamped to the quantized
    bounds; acc is the int32 accumulator, bias included, and zero padding is the zero point.
    """
    centered = torch.from_numpy(x.astype(np.float64) - source.zero_point)
    acc = _accumulate(op, centered, torch.from_numpy(op.weight.values.astype(np.float64)))
    acc = np.asarray(acc.astype(np.int32) + op.bias.reshape(_channels(acc)))
    multiplier = (accumulator_step(op, source) / f32(target.scale)).astype(f32)
    y = np.rint(acc.astype(f32) * multiplier.reshape(_channels(acc))).astype(np.float64)
    low, high = QMIN, QMAX
    if op.clamp is not None:
        low, high = target.quantize_bound(op.clamp[0]), target.quantize_bound(op.clamp[1])
    return np.asarray(np.clip(y + target.zero_point, low, high).astype(np.int8))


def add_xnnpack(
    a: np.ndarray, b: np.ndarray, qa: QParams, qb: QParams, target: QParams
) -> np.ndarray:
    """Integer multipliers of 21 bits, then an arithmetic shift that rounds half up."""
    ratios = [np.float64(f32(f32(q.scale) / f32(target.scale))) for q in (qa, qb)]
    shift = ADD_SHIFT - int(np.floor(np.log2(max(ratios))))
    ma, mb = (int(np.rint(np.ldexp(r, shift))) for r in ratios)
    bias = (1 << (shift - 1)) - ma * qa.zero_point - mb * qb.zero_point
    acc = a.astype(np.int64) * ma + b.astype(np.int64) * mb + bias
    return _saturate((acc >> shift) + target.zero_point)


def add_ort(a: np.ndarray, b: np.ndarray, qa: QParams, qb: QParams, target: QParams) -> np.ndarray:
    """MLAS QLinearAdd on x86: unsigned codes, fused multiply-adds in float32, one rounding to even.

    The zero points are folded into one constant first (its AVX2 kernel; tests/test_onnx.py).
    """
    za, zb, zy = (f32(q.zero_point + UNSIGNED) for q in (qa, qb, target))
    ra, rb = (f32(f32(q.scale) / f32(target.scale)) for q in (qa, qb))
    constant = f32(zy - _fma(ra, za, f32(rb * zb)))
    ua, ub = a.astype(f32) + f32(UNSIGNED), b.astype(f32) + f32(UNSIGNED)
    codes = np.rint(_fma(ua, ra, _fma(ub, rb, constant)))
    return _saturate(codes - UNSIGNED)


def add_ort_wasm(
    a: np.ndarray, b: np.ndarray, qa: QParams, qb: QParams, target: QParams
) -> np.ndarray:
    """MLAS's plain kernel of the same: every product, sum and quotient is rounded to float32."""
    reals = [
        f32(q.scale) * (codes.astype(f32) - f32(q.zero_point)) for codes, q in ((a, qa), (b, qb))
    ]
    steps = (reals[0] + reals[1]) / f32(target.scale)
    return _saturate(np.rint(steps + f32(target.zero_point + UNSIGNED)) - UNSIGNED)


ADDS = {Rules.XNNPACK: add_xnnpack, Rules.ORT: add_ort, Rules.ORT_WASM: add_ort_wasm}


def _fma(x: Real, y: Real, z: Real) -> np.ndarray:
    """`x * y + z` of float32 values rounded once: float64 holds the product exactly."""
    return np.asarray((np.float64(x) * np.float64(y) + np.float64(z)).astype(f32))


def pool_xnnpack(x: np.ndarray, source: QParams, target: QParams) -> np.ndarray:
    """The raw sum, a float32 zero point, then one rounding (adding zp after it errs on ties)."""
    count = x.shape[2] * x.shape[3]
    total = x.sum((2, 3), keepdims=True, dtype=np.int64).astype(f32)
    m = f32(f32(f32(source.scale) / f32(target.scale)) * f32(f32(1.0) / f32(count)))
    offset = f32(f32(target.zero_point) - f32(f32(count * source.zero_point) * m))
    return _saturate(np.rint((total * m).astype(f32) + offset))


def pool_ort(x: np.ndarray, source: QParams, target: QParams) -> np.ndarray:
    """MLAS QLinearGlobalAveragePool: the centered sum, rounded, then the zero point."""
    count = x.shape[2] * x.shape[3]
    acc = x.sum((2, 3), keepdims=True, dtype=np.int64) - count * source.zero_point
    m = f32(f32(source.scale) / (f32(target.scale) * f32(count)))
    return _saturate(np.rint(acc.astype(f32) * m).astype(np.float64) + target.zero_point)


def concat(
    inputs: list[np.ndarray], sources: list[QParams], target: QParams, axis: int, rules: Rules
) -> np.ndarray:
    """Codes one after another; an input of other parameters is requantized by way of float32."""
    return np.concatenate(
        [
            x if q == target else quantize(dequantize(x, q), target, rules)
            for x, q in zip(inputs, sources, strict=True)
        ],
        axis,
    )


def sigmoid(x: np.ndarray, source: QParams, target: QParams) -> np.ndarray:
    """A table of 256 codes; runtimes look it up or compute it in float32, to the same code.

    They may where no entry lies on a rounding tie (`exporter.ends` sees to that).
    """
    real = dequantize(np.arange(QMIN, QMAX + 1), source).astype(np.float64)
    steps = 1.0 / (1.0 + np.exp(-real)) / target.scale
    return np.asarray(_saturate(np.rint(steps) + target.zero_point)[x.astype(np.int64) - QMIN])


def _accumulate(op: WeightedOp, x: torch.Tensor, weight: torch.Tensor) -> np.ndarray:
    if isinstance(op, Linear):
        y = F.linear(x, weight)
    else:
        top, left, bottom, right = op.padding
        padded = F.pad(x, (left, right, top, bottom))
        y = F.conv2d(padded, weight, None, op.stride, 0, op.dilation, op.groups)
    return np.asarray(y.numpy())


def _channels(y: np.ndarray) -> tuple[int, ...]:
    """Shape that broadcasts a (channels,) vector over `y`."""
    return (1, -1) + (1,) * (y.ndim - 2)


def _saturate(codes: np.ndarray) -> np.ndarray:
    return np.asarray(np.clip(codes, QMIN, QMAX).astype(np.int8))
