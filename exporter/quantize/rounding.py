"""Rounding to integer codes, with straight-through gradients where there are gradients.

torch's own `fake_quantize` gives the same values and takes fifteen times as long: it rounds in
64-bit integers, one value at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from exporter.graph import BIAS_BITS, QParams

IN_CACHE = 1 << 18  # values: 1 MiB of float32


class _RoundToCodes(torch.autograd.Function):
    """Clamp and round in one pass each way; torch's own pair keeps a mask more and costs more."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, scale: float, low: int, high: int) -> torch.Tensor:
        """`low` and `high` are codes less the zero point."""
        ctx.save_for_backward(x)
        ctx.bounds = (low - 0.5) * scale, (high + 0.5) * scale
        return x.mul(1.0 / scale).round_().clamp_(low, high).mul_(scale)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        """The gradient where `x` was not clamped."""
        (x,) = ctx.saved_tensors
        passed = torch.ops.aten.hardtanh_backward(grads[0], x, *ctx.bounds)
        return passed, None, None, None


def round_to_codes(x: torch.Tensor, q: QParams, low: int, high: int) -> torch.Tensor:
    """Float32 values of any shape, rounded to what codes `low` to `high` of `q` can hold."""
    rounded: torch.Tensor = _RoundToCodes.apply(  # type: ignore[no-untyped-call]
        x, q.scale, low - q.zero_point, high - q.zero_point
    )
    return rounded


def codes_of(x: torch.Tensor, q: QParams, low: int, high: int) -> torch.Tensor:
    """Int8 codes of what `round_to_codes` gives."""
    codes = torch.empty(x.shape, dtype=torch.int8)
    below, above = low - q.zero_point, high - q.zero_point
    for real, code in zip(in_cache(x), in_cache(codes), strict=True):
        steps = real.mul(1.0 / q.scale).round_().clamp_(below, above)
        code.copy_(steps.add_(q.zero_point))
    return codes


def real_of(codes: torch.Tensor, q: QParams) -> torch.Tensor:
    """Float32 values of int8 codes: those that `round_to_codes` gave, to the last bit."""
    return codes.float().sub_(q.zero_point).mul_(q.scale)


def histogram(x: torch.Tensor, bins: int, low: float, high: float) -> torch.Tensor:
    """Float64 (bins,): what `torch.histc` counts, several times as fast."""
    counts = torch.zeros(bins, dtype=torch.float64)
    width = float(np.float32(high) - np.float32(low)) or 1.0
    for part in in_cache(x):
        place = part.sub(low).mul_(bins).div_(width).to(torch.int32).clamp_(0, bins - 1)
        counts += torch.bincount(place.reshape(-1), minlength=bins)
    return counts


def in_cache(x: torch.Tensor) -> Iterator[torch.Tensor]:
    """Views of a few images each: what is computed in several steps stays in the cache."""
    rows = max(1, IN_CACHE * len(x) // max(1, x.numel()))
    return iter(torch.split(x, rows))


class _RoundLearned(torch.autograd.Function):
    """The same with a gradient for the scale, by LSQ (Esser et al. 2020, arXiv:1902.08153)."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, scale: torch.Tensor, low: int, high: int, clamped: bool
    ) -> torch.Tensor:
        """`clamped` says that `high` is the code of a clamp's bound, which stays where it is."""
        ctx.save_for_backward(x, scale)
        ctx.codes = low, high, clamped
        return x.div(scale).round_().clamp_(low, high).mul_(scale)

    @staticmethod
    def backward(
        ctx: Any, *grads: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, None, None, None]:
        """Of `x` where it was not clamped; of the scale over the root of values times codes.

        The division lets a scale move at the pace of the weights.
        """
        x, scale = ctx.saved_tensors
        low, high, clamped = ctx.codes
        size = scale.item()
        bounds = (low - 0.5) * size, (high + 0.5) * size
        passed = torch.ops.aten.hardtanh_backward(grads[0], x, *bounds)
        steps = x / scale
        slope = steps.round().clamp_(low, high)
        slope -= torch.where((x > bounds[0]) & (x < bounds[1]), steps, torch.zeros_like(steps))
        if clamped:
            slope = torch.where(x < bounds[1], slope, torch.zeros_like(slope))
        learned = (grads[0] * slope).sum() * (x.numel() * (high - low)) ** -0.5
        return passed, learned.reshape(scale.shape), None, None, None


def round_learned(
    x: torch.Tensor, scale: torch.Tensor, zero_point: int, low: int, high: int, *, clamped: bool
) -> torch.Tensor:
    """`round_to_codes` with a gradient for its scale, a tensor of one value.

    Where `high` is a clamp's bound (`clamped`) rather than the last code there is, another scale
    gives it another code and the value stays, so what is cut off there pulls at no scale.
    """
    rounded: torch.Tensor = _RoundLearned.apply(  # type: ignore[no-untyped-call]
        x, scale, low - zero_point, high - zero_point, clamped
    )
    return rounded


def round_bias_steps(bias: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
    """Real (o,) biases on the accumulator's grid, as `graph.round_bias` makes them."""
    exact = bias.detach().double() / step
    steps = exact.round()
    _, exponent = torch.frexp(steps)
    unit = torch.exp2((exponent - BIAS_BITS).clamp_min(0).double())
    error = ((steps / unit).round() * unit - exact) * step
    return bias + error.float()
