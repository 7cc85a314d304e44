"""What rules are given: tensors, Python scalars where MIL has rank 0, text and lists of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

Scalar: TypeAlias = bool | int | float
Value: TypeAlias = Tensor | Scalar  # a rank-0 value that was computed is a tensor all the same
Ints: TypeAlias = Tensor | Sequence[int] | int
Rule: TypeAlias = Callable[..., Any]
Unary: TypeAlias = Callable[[Tensor], Tensor]


def by_name(*rules: Rule) -> dict[str, Rule]:
    """Rules under the name of the operation that each is called after."""
    return {rule.__name__: rule for rule in rules}


def unary(functions: Mapping[str, Unary]) -> dict[str, Rule]:
    """Rules for operations whose one input is `x`."""

    def rule(function: Unary) -> Rule:
        return lambda x: function(tensor(x))

    return {name: rule(function) for name, function in functions.items()}


def ints(value: Ints) -> list[int]:
    """The numbers of a shape, of axes or of paddings; a single one may come without a list."""
    return [int(v) for v in torch.as_tensor(value).reshape(-1).tolist()]


def ints_or(value: Ints | None, default: int, count: int) -> list[int]:
    """A parameter with one number per dimension, whose MIL default depends on how many."""
    return [default] * count if value is None else ints(value)


def axis_of(axis: int, rank: int) -> int:
    """A dimension without its sign; raises IndexError for one that is not there."""
    if not -rank <= axis < rank:
        raise IndexError(f"dimension {axis} of a tensor of rank {rank}")
    return int(axis) % rank


def axes_or_all(axes: Ints | None, x: Tensor) -> list[int]:
    """Dimensions without their signs; none given means every one."""
    return list(range(x.dim())) if axes is None else [axis_of(a, x.dim()) for a in ints(axes)]


def tensors(*values: Value) -> list[Tensor]:
    """All as tensors; scalars beside a tensor take its type, as MIL types them alike."""
    like = next((v.dtype for v in values if isinstance(v, Tensor)), None)
    return [v if isinstance(v, Tensor) else torch.tensor(v, dtype=like) for v in values]


def tensor(value: Value) -> Tensor:
    """One value as a tensor."""
    return tensors(value)[0]


def number(value: Value) -> float:
    """A scalar argument, which may have been computed at run time."""
    return float(value)


def per_channel(values: Value, axis: int, x: Tensor) -> Tensor:
    """A vector shaped to broadcast along one dimension of `x`; a scalar serves all channels."""
    if tensor(values).numel() not in (1, x.shape[axis]):
        raise ValueError(f"{tensor(values).numel()} parameters for {x.shape[axis]} channels")
    channel = axis_of(axis, x.dim())
    return tensor(values).reshape([-1 if d == channel else 1 for d in range(x.dim())])


def listed(values: Any) -> list[Any]:
    """A list argument; one that holds a single value comes as that value."""
    return list(values) if isinstance(values, (list, tuple)) else [values]
