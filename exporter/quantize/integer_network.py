"""The int8 graph on torch in batches: equal to the golden bit for bit, and several times as fast.

Codes are carried as float32, in which every integer below 2^24 is exact. A layer whose accumulator
could leave that range (by the sum of its absolute weights) is summed in float64 instead, so nothing
here depends on the order in which a kernel adds. The rules are XNNPACK's, as in exporter/golden.py,
which stays the reference; validation runs on this one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from exporter import golden
from exporter.float_rules import real_step, rearranged
from exporter.golden import float32_is_exact
from exporter.graph import (
    QMAX,
    QMIN,
    Add,
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
from exporter.quantize.fake_quant import accumulate
from exporter.quantize.settings import CodeLimits
from exporter.resize import resize_xnnpack

Step = Callable[[list[torch.Tensor]], torch.Tensor]
BATCH = 16
ADD_SHIFT = 20  # as in the golden
f32 = np.float32


class IntegerNetwork:
    """An int8 QuantizedGraph made ready to run; its steps can also be taken one by one.

    `limits` narrows the codes of tensors with fewer than 8 bits, which the graph cannot say.
    """

    def __init__(self, graph: QuantizedGraph, limits: CodeLimits | None = None) -> None:
        self.graph = graph
        self.limits = limits or {}
        self.steps = {op.output: self.compile(op) for op in graph.ops}
        self._last = last_uses(graph)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """The one result for float32 (n, 3, r, r), as `golden.run` gives it."""
        return self.results(images)[self.graph.output.name]

    def results(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Every result by name, as `golden.run_outputs` gives them."""
        with torch.no_grad():
            batches = [self._run(x) for x in torch.split(torch.from_numpy(images), BATCH)]
        names = [tensor.name for tensor in self.graph.outputs]
        return {name: torch.cat([batch[name] for batch in batches]).numpy() for name in names}

    def _run(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        values: dict[str, torch.Tensor] = {}
        for op in self.graph.ops:
            values[op.output] = self.steps[op.output]([values[n] for n in op.inputs] or [images])
            for name in self._last.get(op.output, ()):
                del values[name]
        return {tensor.name: values[tensor.name] for tensor in self.graph.outputs}

    def compile(self, op: Op) -> Step:
        """A function from codes to codes, float32 (n, ...) of integer values.

        `op` is of this graph, or has other weights than the one of that name in it. The Input
        takes pixels, the Output gives real logits.
        """
        read = [self.graph.tensors[name].qparams for name in op.inputs]
        if isinstance(op, Dequantize | Output) and read[0] is not None:
            codes = read[0]
            return lambda x: dequantize(x[0], codes)
        target = self.graph.tensors[op.output].qparams
        if target is None:
            return lambda x: real_step(op, x)
        limits = self.limits.get(op.output, (QMIN, QMAX))
        if isinstance(op, Input):
            return lambda x: quantize(x[0], target)
        if isinstance(op, Conv | Linear):
            source = self.graph.qparams(op.input)
            reach = max(abs(code - source.zero_point) for code in self.codes(op.input))
            return _weighted_step(op, source, target, limits, reach)
        if isinstance(op, Add):
            return _add_step(self.graph.qparams(op.a), self.graph.qparams(op.b), target, limits)
        return self._unweighted(op, target)

    def _unweighted(self, op: Op, target: QParams) -> Step:
        """Rules that are the same for any number of bits."""
        sources = [self.graph.qparams(name) for name in op.inputs]
        if isinstance(op, Pool):
            return _pool_step(sources[0], target)
        if isinstance(op, Reshape | Permute):
            return lambda x: rearranged(op, x)
        if isinstance(op, Concat):
            return _concat_step(op, sources, target)
        if isinstance(op, Resize):
            size = op.size
            return lambda x: _by_golden(x[0], lambda codes: resize_xnnpack(codes, size))
        if isinstance(op, Sigmoid):
            return lambda x: _by_golden(
                x[0], lambda codes: golden.sigmoid(codes, sources[0], target)
            )
        raise no_rule(op, "int8 arithmetic")

    def codes(self, name: str) -> tuple[int, int]:
        """The smallest and the largest code that a tensor can hold."""
        return self.limits.get(name, (QMIN, QMAX))


def quantize(x: torch.Tensor, q: QParams) -> torch.Tensor:
    """Real values -> codes."""
    steps = x * float(f32(1.0) / f32(q.scale))
    return steps.round_().add_(q.zero_point).clamp_(QMIN, QMAX)


def dequantize(codes: torch.Tensor, q: QParams) -> torch.Tensor:
    """Codes of any dtype -> real float32 values."""
    return codes.float().sub(q.zero_point).mul_(q.scale)


def clamped_codes(
    op: WeightedOp, target: QParams, limits: tuple[int, int] = (QMIN, QMAX)
) -> tuple[int, int]:
    """The smallest and the largest code that a layer writes."""
    if op.clamp is None:
        return limits
    low, high = (target.quantize_bound(bound) for bound in op.clamp)
    return max(low, limits[0]), min(high, limits[1])


def _weighted_step(
    op: WeightedOp, source: QParams, target: QParams, limits: tuple[int, int], reach: int
) -> Step:
    exact = float32_is_exact(op, reach)
    dtype = torch.float32 if exact else torch.float64
    weight = torch.from_numpy(op.weight.values).to(dtype)
    bias = torch.from_numpy(op.bias).to(dtype)
    ratio = (accumulator_step(op, source) / f32(target.scale)).astype(f32)
    multiplier = torch.from_numpy(ratio).reshape((-1,) + (1,) * (weight.dim() - 2))
    low, high = clamped_codes(op, target, limits)

    def step(inputs: list[torch.Tensor]) -> torch.Tensor:
        centered = inputs[0].to(dtype) - source.zero_point  # zero padding is the zero point
        acc = accumulate(op, centered, weight, bias).to(torch.float32)
        return acc.mul_(multiplier).round_().add_(target.zero_point).clamp_(low, high)

    return step


def _add_step(qa: QParams, qb: QParams, target: QParams, limits: tuple[int, int]) -> Step:
    """The golden's integer sum and shift, in float64: the sum is below 2^53, the shift exact."""
    ratios = [np.float64(f32(f32(q.scale) / f32(target.scale))) for q in (qa, qb)]
    shift = ADD_SHIFT - int(np.floor(np.log2(max(ratios))))
    ma, mb = (int(np.rint(np.ldexp(r, shift))) for r in ratios)
    bias = (1 << (shift - 1)) - ma * qa.zero_point - mb * qb.zero_point

    def step(inputs: list[torch.Tensor]) -> torch.Tensor:
        acc = inputs[0].double().mul_(ma).add_(inputs[1].double(), alpha=mb).add_(bias)
        codes = acc.mul_(2.0**-shift).floor_().add_(target.zero_point).clamp_(*limits)
        return codes.float()

    return step


def _concat_step(op: Concat, sources: list[QParams], target: QParams) -> Step:
    """Codes one after another, those of other parameters requantized."""

    def step(inputs: list[torch.Tensor]) -> torch.Tensor:
        parts = [
            x if q == target else quantize(dequantize(x, q), target)
            for x, q in zip(inputs, sources, strict=True)
        ]
        return torch.cat(parts, op.axis)

    return step


def _by_golden(x: torch.Tensor, rule: Callable[[np.ndarray], np.ndarray]) -> torch.Tensor:
    """A rule of the golden's on codes that are carried as float32."""
    return torch.from_numpy(rule(x.to(torch.int8).numpy())).float()


def _pool_step(source: QParams, target: QParams) -> Step:
    def step(inputs: list[torch.Tensor]) -> torch.Tensor:
        count = inputs[0].shape[2] * inputs[0].shape[3]
        total = inputs[0].sum((2, 3), keepdim=True, dtype=torch.float64).float()
        m = f32(f32(f32(source.scale) / f32(target.scale)) * f32(f32(1.0) / f32(count)))
        offset = f32(f32(target.zero_point) - f32(f32(count * source.zero_point) * m))
        return total.mul_(float(m)).add_(float(offset)).round_().clamp_(QMIN, QMAX)

    return step
