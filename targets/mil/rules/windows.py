"""Sliding windows over the spatial dimensions: what convolutions and poolings share."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from exporter.errors import UnsupportedError
from targets.mil.rules.arguments import Ints, ints_or
from targets.mil.rules.limits import bounded

Pads = list[tuple[int, int]]  # before and after, for each spatial dimension


def spread(kernel: Sequence[int], dilations: Sequence[int]) -> list[int]:
    """How far a dilated kernel reaches."""
    return [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]


def pairs(flat: list[int]) -> Pads:
    """MIL's (before, after, before, after, ...)."""
    return list(zip(flat[0::2], flat[1::2], strict=True))


def paddings(
    pad_type: str, pad: Ints | None, sizes: Sequence[int], kernel: list[int], strides: list[int]
) -> Pads:
    """`same` puts an odd one behind, `same_lower` in front; raises UnsupportedError for others."""
    if pad_type == "valid":
        return [(0, 0)] * len(kernel)
    if pad_type == "custom":
        return pairs(ints_or(pad, 0, 2 * len(kernel)))
    if pad_type not in ("same", "same_lower"):
        raise UnsupportedError(f"padding of type {pad_type!r} is not evaluated")
    totals = [
        max(0, s * math.ceil(n / s) - n + k - s)
        for n, k, s in zip(sizes, kernel, strides, strict=True)
    ]
    halves = [(total // 2, total - total // 2) for total in totals]
    return halves if pad_type == "same" else [(after, before) for before, after in halves]


def padded(x: Tensor, pads: Pads, value: float = 0.0) -> Tensor:
    """The last dimensions of `x` with a constant around them."""
    if not any(map(any, pads)):
        return x
    kept = x.dim() - len(pads)
    bounded([*x.shape[:kept], *(n + sum(p) for n, p in zip(x.shape[kept:], pads, strict=True))])
    return F.pad(x, [p for pair in reversed(pads) for p in pair], value=value)
