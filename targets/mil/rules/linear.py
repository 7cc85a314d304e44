"""Products of matrices."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from targets.mil.rules.arguments import Rule, by_name, per_channel
from targets.mil.rules.limits import bounded, broadcast


def matmul(x: Tensor, y: Tensor, transpose_x: bool = False, transpose_y: bool = False) -> Tensor:
    """Vectors are taken as they are, whatever is said of transposing."""
    x = x.mT if transpose_x and x.dim() > 1 else x
    y = y.mT if transpose_y and y.dim() > 1 else y
    rows, columns = (x.shape[-2:-1], y.shape[-1:] if y.dim() > 1 else ())
    batch = broadcast(x.shape[:-2], y.shape[:-2])
    for matrix in ((*rows, *columns), x.shape[-2:], y.shape[-2:]):  # torch stretches its operands
        bounded([*batch, *matrix])
    dtype = torch.promote_types(x.dtype, y.dtype)
    return torch.matmul(x.to(dtype), y.to(dtype))


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (..., in), weight (out, in)."""
    y = matmul(x, weight, transpose_y=True)
    return y if bias is None else y + per_channel(bias, -1, y)


def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None
) -> Tensor:
    """A mask of bools lets through what is true; one of floats is added."""
    scores = matmul(query, key, transpose_y=True) / math.sqrt(query.shape[-1])
    if attn_mask is not None:
        broadcast(scores.shape, attn_mask.shape)
    if attn_mask is not None and attn_mask.dtype is torch.bool:
        scores = scores.masked_fill(~attn_mask, -math.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    return matmul(torch.softmax(scores, -1), value)


RULES: Mapping[str, Rule] = by_name(linear, matmul, scaled_dot_product_attention)
