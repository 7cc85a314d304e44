"""Poolings, in one to three spatial dimensions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from targets.mil.rules.arguments import Ints, Rule, by_name, ints, ints_or
from targets.mil.rules.windows import Pads, padded, paddings

AVERAGES = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
MAXIMA = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


@dataclass(frozen=True, kw_only=True)
class Window:
    """Where a pooling looks; padding is never left to torch, which limits it to half a window."""

    kernel: list[int]
    strides: list[int]
    pads: Pads
    overhang: Pads  # beyond the padding, for a last window that `ceil_mode` keeps

    def average(self, x: Tensor) -> Tensor:
        """Every position counts, padding included."""
        return AVERAGES[len(self.kernel)](x, self.kernel, self.strides)


def avg_pool(
    x: Tensor,
    kernel_sizes: Ints,
    pad_type: str,
    strides: Ints | None = None,
    pad: Ints | None = None,
    exclude_padding_from_average: bool = False,
    ceil_mode: bool = False,
) -> Tensor:
    """Padding counts as zeros by default; a `ceil_mode` overhang never counts."""
    window = _window(x, kernel_sizes, strides, pad_type, pad, ceil_mode)
    padding = 0.0 if exclude_padding_from_average else 1.0
    counted = padded(torch.ones_like(x), window.pads, padding)
    sums = window.average(padded(padded(x, window.pads), window.overhang))
    return sums / window.average(padded(counted, window.overhang))


def max_pool(
    x: Tensor,
    kernel_sizes: Ints,
    pad_type: str,
    strides: Ints | None = None,
    pad: Ints | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """Padding never wins."""
    window = _window(x, kernel_sizes, strides, pad_type, pad, ceil_mode)
    around = padded(padded(x, window.pads, -math.inf), window.overhang, -math.inf)
    return MAXIMA[len(window.kernel)](around, window.kernel, window.strides)


def l2_pool(
    x: Tensor,
    kernel_sizes: Ints,
    pad_type: str,
    strides: Ints | None = None,
    pad: Ints | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """The root of the sum of squares, not of their mean."""
    window = _window(x, kernel_sizes, strides, pad_type, pad, ceil_mode)
    squares = padded(padded(x, window.pads), window.overhang).square()
    return torch.sqrt(window.average(squares) * math.prod(window.kernel))


def _window(
    x: Tensor,
    kernel_sizes: Ints,
    strides: Ints | None,
    pad_type: str,
    pad: Ints | None,
    ceil_mode: bool,
) -> Window:
    kernel = ints(kernel_sizes)
    steps = ints_or(strides, 1, len(kernel))
    pads = paddings(pad_type, pad, x.shape[2:], kernel, steps)
    overhang = [0] * len(kernel)
    if ceil_mode:
        overhang = [
            _overhang(n, k, s, before, after)
            for n, k, s, (before, after) in zip(x.shape[2:], kernel, steps, pads, strict=True)
        ]
    return Window(kernel=kernel, strides=steps, pads=pads, overhang=[(0, o) for o in overhang])


def _overhang(size: int, kernel: int, stride: int, before: int, after: int) -> int:
    outputs = math.ceil((size + before + after - kernel) / stride) + 1
    # As in torch, a window that would start in the padding behind is left out.
    outputs -= (outputs - 1) * stride >= size + before and (before > 0 or after > 0)
    return max(0, (outputs - 1) * stride + kernel - size - before - after)


RULES: Mapping[str, Rule] = by_name(avg_pool, l2_pool, max_pool)
