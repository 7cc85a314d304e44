"""Activation functions."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from exporter.errors import UnsupportedError
from targets.mil.rules.arguments import (
    Rule,
    Unary,
    Value,
    by_name,
    number,
    per_channel,
    unary,
)

CHANNELS = 1  # the dimension of a rank-3-and-up tensor that per-channel parameters run along


def softmax(x: Tensor, axis: int = -1) -> Tensor:
    """Over the last dimension by default."""
    return torch.softmax(x, int(axis))


def clamped_relu(x: Tensor, alpha: Value, beta: Value) -> Tensor:
    """Leaky below zero, bounded above."""
    return torch.clamp(leaky_relu(x, alpha), max=number(beta))


def elu(x: Tensor, alpha: Value) -> Tensor:
    """Only the negative side is scaled."""
    return torch.where(x >= 0, x, number(alpha) * torch.expm1(x))


def gelu(x: Tensor, mode: str = "EXACT") -> Tensor:
    """Raises UnsupportedError for a mode that MIL does not list."""
    if mode == "SIGMOID_APPROXIMATION":
        return x * torch.sigmoid(1.702 * x)
    if mode not in ("EXACT", "TANH_APPROXIMATION"):
        raise UnsupportedError(f"gelu in mode {mode!r} is not evaluated")
    return F.gelu(x, approximate="none" if mode == "EXACT" else "tanh")


def leaky_relu(x: Tensor, alpha: Value) -> Tensor:
    """Only the negative side is scaled."""
    return torch.where(x >= 0, x, x * number(alpha))


def linear_activation(x: Tensor, alpha: Value, beta: Value) -> Tensor:
    """A straight line."""
    return x * number(alpha) + number(beta)


def prelu(x: Tensor, alpha: Value) -> Tensor:
    """One slope per channel."""
    return torch.where(x >= 0, x, x * per_channel(alpha, CHANNELS, x))


def scaled_tanh(x: Tensor, alpha: Value, beta: Value) -> Tensor:
    """`alpha` scales the result, `beta` the argument."""
    return number(alpha) * torch.tanh(number(beta) * x)


def sigmoid_hard(x: Tensor, alpha: Value, beta: Value) -> Tensor:
    """A line between 0 and 1."""
    return torch.clamp(number(alpha) * x + number(beta), 0, 1)


def softplus_parametric(x: Tensor, alpha: Value, beta: Value) -> Tensor:
    """One pair of parameters per channel."""
    scale, slope = (per_channel(p, CHANNELS, x) for p in (alpha, beta))
    return scale * torch.log1p(torch.exp(slope * x))


def thresholded_relu(x: Tensor, alpha: Value) -> Tensor:
    """Zero below the threshold, not the threshold itself."""
    return torch.where(x >= number(alpha), x, torch.zeros_like(x))


UNARY: Mapping[str, Unary] = {
    "relu": torch.relu,
    "relu6": F.relu6,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "softplus": lambda x: F.softplus(x, threshold=40),  # linear from where float64 cannot tell
    "softsign": F.softsign,
}
RULES: Mapping[str, Rule] = unary(UNARY) | by_name(
    clamped_relu,
    elu,
    gelu,
    leaky_relu,
    linear_activation,
    prelu,
    scaled_tanh,
    sigmoid_hard,
    softmax,
    softplus_parametric,
    thresholded_relu,
)
