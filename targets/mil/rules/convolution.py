"""Convolution and its transpose, in one to three spatial dimensions."""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from targets.mil.rules.arguments import Ints, Rule, by_name, ints, ints_or, per_channel
from targets.mil.rules.limits import bounded
from targets.mil.rules.windows import padded, paddings, spread

CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    strides: Ints | None = None,
    pad_type: str = "valid",
    pad: Ints | None = None,
    dilations: Ints | None = None,
    groups: int = 1,
) -> Tensor:
    """x (n, c, *d), weight (out, c / groups, *k)."""
    rank = x.dim() - 2
    steps, apart = ints_or(strides, 1, rank), ints_or(dilations, 1, rank)
    kernel = spread(weight.shape[2:], apart)
    pads = paddings(pad_type, pad, x.shape[2:], kernel, steps)
    sizes = [n + sum(p) for n, p in zip(x.shape[2:], pads, strict=True)]
    outputs = [max(0, (n - k) // s + 1) for n, k, s in zip(sizes, kernel, steps, strict=True)]
    bounded([x.shape[0], weight.shape[0], *outputs])
    bounded([weight[0].numel(), *outputs])  # where torch lays out every window
    # Torch pads both sides alike without a copy.
    symmetric = all(before == after >= 0 for before, after in pads)
    inside = [before for before, _ in pads] if symmetric else 0
    x = x if symmetric else padded(x, pads)
    return CONVOLUTIONS[rank](x, weight, bias, steps, inside, apart, int(groups))


def conv_transpose(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    pad: Ints | None = None,
    output_shape: Ints | None = None,
    pad_type: str = "valid",
    strides: Ints | None = None,
    dilations: Ints | None = None,
    groups: int = 1,
) -> Tensor:
    """x (n, c, *d), weight (c, out / groups, *k); padding is cut from the result."""
    rank = x.dim() - 2
    steps, apart = ints_or(strides, 1, rank), ints_or(dilations, 1, rank)
    kernel = spread(weight.shape[2:], apart)
    whole = [(n - 1) * s + k for n, s, k in zip(x.shape[2:], steps, kernel, strict=True)]
    bounded([x.shape[0], weight.shape[1] * int(groups), *whole])
    y = TRANSPOSED[rank](x, weight, None, steps, 0, 0, int(groups), apart)
    wanted = None if output_shape is None else ints(output_shape)[2:]
    if pad_type in ("same", "same_lower"):
        totals = [max(0, k - s) for k, s in zip(kernel, steps, strict=True)]
        cut = [total // 2 if pad_type == "same" else total - total // 2 for total in totals]
        wanted = wanted or [n * s for n, s in zip(x.shape[2:], steps, strict=True)]
    else:
        pads = paddings(pad_type, pad, x.shape[2:], kernel, steps)
        cut = [before for before, _ in pads]
        wanted = wanted or [n - sum(p) for n, p in zip(whole, pads, strict=True)]
    bounded([*y.shape[:2], *wanted])
    # An output shape may ask for a little more than the kernel reaches: zeros behind the end.
    short = [max(0, c + w - n) for c, w, n in zip(cut, wanted, whole, strict=True)]
    y = padded(y, [(0, s) for s in short])
    for dim, (first, size) in enumerate(zip(cut, wanted, strict=True), 2):
        y = y.narrow(dim, first, size)
    return y if bias is None else y + per_channel(bias, 1, y)


RULES: Mapping[str, Rule] = by_name(conv, conv_transpose)
