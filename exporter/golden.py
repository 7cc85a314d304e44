"""The golden: an integer-exact reference of a QuantizedGraph, and the float one of a float graph.

`Rules.XNNPACK` is what ExecuTorch and LiteRT compute, `Rules.ORT` what ONNX Runtime computes; they
differ in the rounding of the residual add (`adds.py`), of the pool and of the bilinear resize
(`resize.py`).
`Rules.ORT_WASM` is ONNX Runtime in WebAssembly, which differs from it in the add. Accumulators are
carried in float32 where none can reach 2^24, below which it holds every integer, and else in
float64, which holds 2^53 (|acc| < 2^31 is validated): every product and sum is exact. The rounding
steps are float32, as in the kernels.

Sources: XNNPACK `src/operators/{convolution,fully-connected,binary-elementwise}*.c` and
`src/microparams-init.c`; ONNX Runtime `core/mlas/lib/{quantize,qladd,qlgavgpool}.cpp`.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from exporter.adds import ADDS, saturate
from exporter.adds import add_ort as add_ort
from exporter.adds import add_ort_wasm as add_ort_wasm
from exporter.adds import add_xnnpack as add_xnnpack
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
from exporter.threads import side_by_side

f32 = np.float32
Trace = Callable[[str, np.ndarray], None]
AT_ONCE = 32 * 224 * 224  # pixels of one walk
INTEGERS_AT_ONCE = 2 * 224 * 224  # fewer stay in the cache; integers are the same in any batch
EXACT_BELOW = 2**24  # integers that float32 holds, whatever the order of a sum
# Where torch's float32 convolutions are oneDNN's for x86: sums of products, in some order. Other
# libraries may transform a convolution, even one of 1x1, into another one (Winograd, Fourier), and
# round.
ON_X86 = platform.machine().lower() in ("x86_64", "amd64")


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

    Images go a few at a time: the maps of all of them together would not fit.
    """
    total = max(1, len(images))
    at_once = min(AT_ONCE, INTEGERS_AT_ONCE) if graph.quantized else AT_ONCE
    count = total if trace is not None else max(1, at_once // math.prod(images.shape[2:]))
    parts = [images[start : start + count] for start in range(0, total, count)]
    return joined(side_by_side(lambda part: _walk(graph, part, rules, trace), parts))


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
    return saturate(np.rint(steps) + f32(q.zero_point))


def dequantize(x: np.ndarray, q: QParams) -> np.ndarray:
    """Int8 -> float32, `(q - zero_point) * scale`."""
    return np.asarray((x.astype(np.int32) - q.zero_point).astype(f32) * f32(q.scale), f32)


def weighted(op: WeightedOp, x: np.ndarray, source: QParams, target: QParams) -> np.ndarray:
    """A convolution or fully connected layer: int8 codes (n, ...) -> int8 codes.

    The result is `rne(float32(acc) * float32(s_x * s_w / s_y)) + zp`, clamped to the quantized
    bounds; acc is the int32 accumulator, bias included, and zero padding is the zero point.
    """
    reach = max(QMAX - source.zero_point, source.zero_point - QMIN)
    real = f32 if float32_is_exact(op, reach) else np.float64
    centered = torch.from_numpy(x.astype(real)).sub_(source.zero_point)
    acc = _accumulate(op, centered, torch.from_numpy(op.weight.values.astype(real)))
    acc += op.bias.astype(real).reshape(_channels(acc))
    multiplier = (accumulator_step(op, source) / f32(target.scale)).astype(f32)
    y = acc.astype(f32, copy=False)
    y *= multiplier.reshape(_channels(acc))
    np.rint(y, out=y)
    y += f32(target.zero_point)
    low, high = QMIN, QMAX
    if op.clamp is not None:
        low, high = target.quantize_bound(op.clamp[0]), target.quantize_bound(op.clamp[1])
    return np.asarray(np.clip(y, low, high, out=y).astype(np.int8))


def sums_products() -> bool:
    """Whether a float32 convolution only adds products; without oneDNN, NNPACK takes its place."""
    return ON_X86 and torch._C._has_mkldnn and bool(torch.backends.mkldnn.enabled)


def float32_is_exact(op: WeightedOp, reach: int) -> bool:
    """Whether no partial sum can reach 2^24; `reach` is the largest |code - zero point|."""
    if isinstance(op, Conv) and not sums_products():
        return False
    taps = np.abs(op.weight.values.astype(np.int64)).reshape(len(op.bias), -1).sum(1)
    return int((taps * reach + np.abs(op.bias.astype(np.int64))).max()) < EXACT_BELOW


def pool_xnnpack(x: np.ndarray, source: QParams, target: QParams) -> np.ndarray:
    """The raw sum, a float32 zero point, then one rounding (adding zp after it errs on ties)."""
    count = x.shape[2] * x.shape[3]
    total = x.sum((2, 3), keepdims=True, dtype=np.int64).astype(f32)
    m = f32(f32(f32(source.scale) / f32(target.scale)) * f32(f32(1.0) / f32(count)))
    offset = f32(f32(target.zero_point) - f32(f32(count * source.zero_point) * m))
    return saturate(np.rint((total * m).astype(f32) + offset))


def pool_ort(x: np.ndarray, source: QParams, target: QParams) -> np.ndarray:
    """MLAS QLinearGlobalAveragePool: the centered sum, rounded, then the zero point."""
    count = x.shape[2] * x.shape[3]
    acc = x.sum((2, 3), keepdims=True, dtype=np.int64) - count * source.zero_point
    m = f32(f32(source.scale) / (f32(target.scale) * f32(count)))
    return saturate(np.rint(acc.astype(f32) * m).astype(np.float64) + target.zero_point)


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
    return np.asarray(saturate(np.rint(steps) + target.zero_point)[x.astype(np.int64) - QMIN])


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
