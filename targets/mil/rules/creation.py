"""Tensors from a shape or a range."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from targets.mil.rules.arguments import Ints, Rule, Value, by_name, ints
from targets.mil.rules.limits import bounded


def fill(shape: Ints, value: Value = 0.0) -> Tensor:
    """One value, everywhere."""
    return torch.full(bounded(ints(shape)), _plain(value))


def fill_like(ref_tensor: Tensor, value: Value = 0.0) -> Tensor:
    """Only the shape is like, not the type."""
    return torch.full(ref_tensor.shape, _plain(value))


def range_1d(end: Value, start: Value, step: Value) -> Tensor:
    """`end` is left out."""
    first, last, stride = _plain(start), _plain(end), _plain(step)
    bounded([max(0, math.ceil((last - first) / stride))])
    return torch.arange(first, last, stride)


def one_hot(
    indices: Value,
    one_hot_vector_size: int,
    axis: int = -1,
    on_value: Value = 1,
    off_value: Value = 0,
) -> Tensor:
    """An index beyond the vector leaves it without a hot element."""
    where, size = torch.as_tensor(indices), int(one_hot_vector_size)
    bounded([*where.shape, size])
    hot = where.unsqueeze(-1) == torch.arange(size)
    return torch.where(hot, _plain(on_value), _plain(off_value)).movedim(-1, int(axis))


def _plain(value: Value) -> bool | int | float:
    return value.item() if isinstance(value, Tensor) else value


RULES: Mapping[str, Rule] = by_name(fill, fill_like, one_hot, range_1d)
