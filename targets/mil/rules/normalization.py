"""Normalizations."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from targets.mil.rules.arguments import Ints, Rule, Value, axes_or_all, by_name, number, per_channel


def batch_norm(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: Value = 1e-5,
) -> Tensor:
    """With stored statistics, never those of the batch."""
    return F.batch_norm(x, mean, variance, gamma, beta, eps=number(epsilon))


def instance_norm(
    x: Tensor, gamma: Tensor | None = None, beta: Tensor | None = None, epsilon: Value = 1e-5
) -> Tensor:
    """Each channel of each image by its own statistics."""
    spatial = tuple(range(2, x.dim()))
    y = _standardized(x, spatial, epsilon)
    y = y if gamma is None else y * per_channel(gamma, 1, y)
    return y if beta is None else y + per_channel(beta, 1, y)


def layer_norm(
    x: Tensor,
    axes: Ints | None = None,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: Value = 1e-5,
) -> Tensor:
    """`gamma` and `beta` have the shape of the normalized dimensions, every one by default."""
    dims = sorted(axes_or_all(axes, x))
    y = _standardized(x, tuple(dims), epsilon)
    shape = [n if d in dims else 1 for d, n in enumerate(x.shape)]
    y = y if gamma is None else y * gamma.reshape(shape)
    return y if beta is None else y + beta.reshape(shape)


def l2_norm(x: Tensor, epsilon: Value = 1e-6) -> Tensor:
    """Over the last three dimensions together."""
    squares = x.square().sum(tuple(range(-min(3, x.dim()), 0)), keepdim=True)
    return x / torch.sqrt(squares + number(epsilon))


def local_response_norm(
    x: Tensor, size: int, alpha: Value = 1e-4, beta: Value = 0.75, k: Value = 1.0
) -> Tensor:
    """Across neighbouring channels."""
    return F.local_response_norm(x, int(size), number(alpha), number(beta), number(k))


def _standardized(x: Tensor, dims: tuple[int, ...], epsilon: Value) -> Tensor:
    centred = x - x.mean(dims, keepdim=True)
    return centred * torch.rsqrt(centred.square().mean(dims, keepdim=True) + number(epsilon))


RULES: Mapping[str, Rule] = by_name(
    batch_norm, instance_norm, l2_norm, layer_norm, local_response_norm
)
