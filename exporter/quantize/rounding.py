"""Rounding to integer codes with straight-through gradients."""

from __future__ import annotations

from typing import Any

import torch

from exporter.graph import BIAS_BITS, QParams


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


def round_learned(
    x: torch.Tensor, scale: torch.Tensor, zero_point: int, low: int, high: int
) -> torch.Tensor:
    """`round_to_codes` with a gradient for its scale, a tensor of one value.

    As in LSQ the gradient is divided by the root of values times codes, so that a scale moves at
    the pace of the weights.
    """
    weight = (x.numel() * (high - low)) ** -0.5
    gentle = scale.detach() + (scale - scale.detach()) * weight
    steps = (x / gentle).clamp(low - zero_point, high - zero_point)
    rounded = steps + (steps.round() - steps).detach()
    learned: torch.Tensor = rounded * gentle
    return learned


def round_bias_steps(bias: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
    """Real (o,) biases on the accumulator's grid, as `graph.round_bias` makes them."""
    exact = bias.detach().double() / step
    steps = exact.round()
    _, exponent = torch.frexp(steps)
    unit = torch.exp2((exponent - BIAS_BITS).clamp_min(0).double())
    error = ((steps / unit).round() * unit - exact) * step
    return bias + error.float()
