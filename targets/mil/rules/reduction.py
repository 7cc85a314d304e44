"""Reductions, searches and running sums along dimensions."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from targets.mil.rules.arguments import Ints, Rule, axes_or_all, by_name

Reduction = Callable[[Tensor, list[int], bool], Tensor]


def _reduction(function: Reduction) -> Rule:
    def rule(x: Tensor, axes: Ints | None = None, keep_dims: bool = False) -> Tensor:
        return function(x, axes_or_all(axes, x), bool(keep_dims))

    return rule


def _product(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted(axes, reverse=True):
        x = torch.prod(x, axis, keepdim=keep)
    return x


def reduce_argmax(
    x: Tensor,
    axis: int = -1,
    keep_dims: bool = False,
    output_dtype: str = "int32",  # noqa: ARG001  the declared type says the same
) -> Tensor:
    """The first of equals."""
    return torch.argmax(x, int(axis), bool(keep_dims))


def reduce_argmin(
    x: Tensor,
    axis: int = -1,
    keep_dims: bool = False,
    output_dtype: str = "int32",  # noqa: ARG001  the declared type says the same
) -> Tensor:
    """The first of equals."""
    return torch.argmin(x, int(axis), bool(keep_dims))


def argsort(x: Tensor, axis: int = -1, ascending: bool = False) -> Tensor:
    """Largest first by default; equals stay in their order."""
    return torch.sort(x, dim=int(axis), descending=not ascending, stable=True).indices


def topk(
    x: Tensor,
    k: int = 1,
    axis: int = -1,
    ascending: bool = False,
    sort: bool = True,  # noqa: ARG001  MIL leaves the order open without it: sorted is one of them
    return_indices: bool = True,
    output_indices_dtype: str = "int32",  # noqa: ARG001  the declared type says the same
) -> Tensor | tuple[Tensor, Tensor]:
    """`k` = -1 takes all; equals stay in their order."""
    dim, count = int(axis), int(k)
    count = x.shape[dim] if count == -1 else count
    ordered = torch.sort(x, dim=dim, descending=not ascending, stable=True)
    values = ordered.values.narrow(dim, 0, count)
    return (values, ordered.indices.narrow(dim, 0, count)) if return_indices else values


def cumsum(x: Tensor, axis: int = 0, exclusive: bool = False, reverse: bool = False) -> Tensor:
    """`exclusive` leaves an element out of its own sum, `reverse` sums from the end."""
    dim = int(axis)
    y = x.flip(dim) if reverse else x
    y = torch.cumsum(y, dim) - y if exclusive else torch.cumsum(y, dim)
    return y.flip(dim) if reverse else y


REDUCTIONS: Mapping[str, Reduction] = {
    "reduce_l1_norm": lambda x, axes, keep: x.abs().sum(axes, keep),
    "reduce_l2_norm": lambda x, axes, keep: x.square().sum(axes, keep).sqrt(),
    "reduce_log_sum": lambda x, axes, keep: x.sum(axes, keep).log(),
    "reduce_log_sum_exp": torch.logsumexp,
    "reduce_max": torch.amax,
    "reduce_mean": torch.mean,
    "reduce_min": torch.amin,
    "reduce_prod": _product,
    "reduce_sum": torch.sum,
    "reduce_sum_square": lambda x, axes, keep: x.square().sum(axes, keep),
}
RULES: Mapping[str, Rule] = {
    **{name: _reduction(function) for name, function in REDUCTIONS.items()},
    **by_name(argsort, cumsum, reduce_argmax, reduce_argmin, topk),
}
