"""Reading and writing at computed indices. A negative index counts from the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from exporter.errors import UnsupportedError
from targets.mil.rules.arguments import Rule, Value, axis_of, by_name
from targets.mil.rules.limits import bounded

COMBINATIONS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "max": torch.maximum,
    "min": torch.minimum,
    "update": lambda _, new: new,
}


def gather(
    x: Tensor,
    indices: Value,
    axis: int = 0,
    batch_dims: int = 0,
    validate_indices: bool = False,  # noqa: ARG001  an index out of range is refused in any case
) -> Tensor:
    """The dimensions of `indices`, less those of the batch, take the place of `axis`."""
    dim, batch = axis_of(axis, x.dim()), int(batch_dims)
    at = _positive(torch.as_tensor(indices), x.shape[dim])
    bounded([*x.shape[:dim], *at.shape[batch:], *x.shape[dim + 1 :]])
    if batch:
        parts = [gather(a, i, dim - 1, batch - 1) for a, i in zip(x, at, strict=True)]
        return torch.stack(parts)
    chosen = x.index_select(dim, at.reshape(-1))
    return chosen.reshape([*x.shape[:dim], *at.shape, *x.shape[dim + 1 :]])


def gather_along_axis(
    x: Tensor,
    indices: Tensor,
    axis: int = 0,
    validate_indices: bool = False,  # noqa: ARG001  an index out of range is refused in any case
) -> Tensor:
    """One index per element of the result."""
    return torch.gather(x, int(axis), _positive(indices, x.shape[int(axis)]))


def gather_nd(
    x: Tensor,
    indices: Tensor,
    batch_dims: int = 0,
    validate_indices: bool = False,  # noqa: ARG001  an index out of range is refused in any case
) -> Tensor:
    """The last dimension of `indices` is a position in the first dimensions of `x`."""
    batch = int(batch_dims)
    bounded([*indices.shape[:-1], *x.shape[batch + indices.shape[-1] :]])
    if batch:
        parts = [gather_nd(a, i, batch - 1) for a, i in zip(x, indices, strict=True)]
        return torch.stack(parts)
    return x[_coordinates(indices, x)]


def scatter(
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    axis: int = 0,
    mode: str = "add",
    validate_indices: bool = False,  # noqa: ARG001  an index out of range is refused in any case
) -> Tensor:
    """Slices of `updates`, one after the other, into the slices of `data` that `indices` name."""
    combine, dim = _combination("scatter", mode), axis_of(axis, data.dim())
    result = data.clone()
    for number, at in enumerate(_positive(indices, data.shape[dim]).tolist()):
        old = result.select(dim, at)
        old.copy_(combine(old, updates.select(dim, number)))
    return result


def scatter_along_axis(
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    axis: int = 0,
    mode: str = "add",
    validate_indices: bool = False,  # noqa: ARG001  an index out of range is refused in any case
) -> Tensor:
    """One index per element of `updates`."""
    dim = axis_of(axis, data.dim())
    at = _positive(indices, data.shape[dim])
    result, combine = data.clone(), _combination("scatter_along_axis", mode)
    for number in range(at.shape[dim]):  # in order, as one index may come twice
        here, new = at.narrow(dim, number, 1), updates.narrow(dim, number, 1)
        result.scatter_(dim, here, combine(result.gather(dim, here), new))
    return result


def scatter_nd(
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    mode: str = "add",
    validate_indices: bool = False,  # noqa: ARG001  an index out of range is refused in any case
) -> Tensor:
    """The last dimension of `indices` is a position in the first dimensions of `data`."""
    combine, depth = _combination("scatter_nd", mode), indices.shape[-1]
    result = data.clone()
    rows = updates.reshape(-1, *data.shape[depth:])
    for position, new in zip(indices.reshape(-1, depth).tolist(), rows, strict=True):
        result[tuple(position)] = combine(result[tuple(position)], new)
    return result


def non_zero(x: Tensor) -> Tensor:
    """(how many, rank), in the order in which they are stored."""
    return torch.nonzero(x)


def _positive(indices: Tensor, size: int) -> Tensor:
    whole = indices.long()
    return torch.where(whole < 0, whole + size, whole)


def _coordinates(indices: Tensor, x: Tensor) -> tuple[Tensor, ...]:
    columns = indices.unbind(-1)
    return tuple(_positive(c, n) for c, n in zip(columns, x.shape, strict=False))


def _combination(operation: str, mode: str) -> Callable[[Tensor, Tensor], Tensor]:
    if mode not in COMBINATIONS:
        raise UnsupportedError(f"{operation} in mode {mode!r} is not evaluated")
    return COMBINATIONS[mode]


RULES: Mapping[str, Rule] = by_name(
    gather,
    gather_along_axis,
    gather_nd,
    non_zero,
    scatter,
    scatter_along_axis,
    scatter_nd,
)
