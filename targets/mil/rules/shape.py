"""Joining, splitting and reshaping: no element changes."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from targets.mil.rules.arguments import (
    Ints,
    Rule,
    Value,
    axes_or_all,
    axis_of,
    by_name,
    ints,
    listed,
    tensor,
    tensors,
)
from targets.mil.rules.limits import bounded


def shape(x: Value) -> Tensor:
    """MIL counts in int32."""
    return torch.tensor(tensor(x).shape, dtype=torch.int32)


def reshape(x: Value, shape: Ints) -> Tensor:
    """A 0 keeps a dimension of `x`, counted from the right."""
    value, wanted = tensor(x), ints(shape)
    kept = [1] * len(wanted) + list(value.shape)
    return value.reshape([kept[i - len(wanted)] if n == 0 else n for i, n in enumerate(wanted)])


def reshape_like(
    x: Tensor,
    ref_tensors: list[Tensor],
    begins: list[int],
    ends: list[int],
    end_masks: list[bool],
) -> Tensor:
    """Dimensions of other tensors, one after the other; a mask takes all up to the last."""
    wanted: list[int] = []
    ranges = zip(*map(listed, (ref_tensors, begins, ends, end_masks)), strict=True)
    for like, begin, end, to_end in ranges:
        wanted += like.shape[int(begin) : None if to_end else int(end)]
    return x.reshape(wanted)


def transpose(x: Tensor, perm: Ints) -> Tensor:
    """Torch's permute, not its transpose."""
    return x.permute(ints(perm))


def expand_dims(x: Value, axes: Ints) -> Tensor:
    """`axes` count in the result."""
    value, places = tensor(x), ints(axes)
    for axis in sorted(axis_of(a, value.dim() + len(places)) for a in places):
        value = value.unsqueeze(axis)
    return value


def squeeze(x: Tensor, axes: Ints | None = None) -> Tensor:
    """Every dimension of 1 by default."""
    return x.squeeze() if axes is None else x.squeeze(tuple(ints(axes)))


def flatten2d(x: Tensor, axis: int = 1) -> Tensor:
    """A matrix: the dimensions before `axis`, and those from it on."""
    split_at = x.dim() if axis == x.dim() else axis_of(axis, x.dim())
    return x.reshape(math.prod(x.shape[:split_at]), math.prod(x.shape[split_at:]))


def concat(values: list[Value], axis: int, interleave: bool = False) -> Tensor:
    """Interleaved, the first of each comes before the second of any; scalars are vectors of one."""
    parts = [v.reshape(1) if v.dim() == 0 else v for v in tensors(*listed(values))]
    dim = axis_of(axis, parts[0].dim())
    lengths = [part.shape[dim] for part in parts]
    bounded([sum(lengths), *parts[0].shape[:dim], *parts[0].shape[dim + 1 :]])
    if interleave:
        return torch.stack(parts, dim + 1).flatten(dim, dim + 1)
    return torch.cat(parts, dim)


def stack(values: list[Value], axis: int) -> Tensor:
    """`axis` counts in the result."""
    parts = tensors(*listed(values))
    bounded([len(parts), *parts[0].shape])
    return torch.stack(parts, int(axis))


def split(
    x: Tensor, axis: int, num_splits: int | None = None, split_sizes: Ints | None = None
) -> tuple[Tensor, ...]:
    """Either so many equal parts, or parts of these sizes."""
    dim = int(axis)
    if split_sizes is not None:
        return torch.split(x, ints(split_sizes), dim)
    if num_splits is None or x.shape[dim] % int(num_splits):
        raise ValueError(f"{x.shape[dim]} elements in {num_splits} equal parts")
    return torch.split(x, x.shape[dim] // int(num_splits), dim)


def tile(x: Tensor, reps: Ints) -> Tensor:
    """One factor per dimension."""
    factors = ints(reps)
    bounded(n * f for n, f in zip(x.shape, factors, strict=True))
    return x.tile(factors)


def reverse(x: Tensor, axes: Ints | None = None) -> Tensor:
    """Along every dimension by default."""
    return x.flip(axes_or_all(axes, x))


RULES: Mapping[str, Rule] = by_name(
    concat,
    expand_dims,
    flatten2d,
    reshape,
    reshape_like,
    reverse,
    shape,
    split,
    squeeze,
    stack,
    tile,
    transpose,
)
