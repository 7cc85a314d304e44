"""Blocks of pixels that become channels or images, and back."""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from targets.mil.rules.arguments import Ints, Rule, by_name, ints
from targets.mil.rules.windows import padded, pairs


def depth_to_space(x: Tensor, block_size: int) -> Tensor:
    """The position in the block is the slower part of a channel's index."""
    n, c, h, w = x.shape
    b = int(block_size)
    y = x.reshape(n, b, b, c // (b * b), h, w)
    return y.permute(0, 3, 4, 1, 5, 2).reshape(n, c // (b * b), h * b, w * b)


def space_to_depth(x: Tensor, block_size: int) -> Tensor:
    """The inverse of `depth_to_space`."""
    n, c, h, w = x.shape
    b = int(block_size)
    y = x.reshape(n, c, h // b, b, w // b, b)
    return y.permute(0, 3, 5, 1, 2, 4).reshape(n, c * b * b, h // b, w // b)


def pixel_shuffle(x: Tensor, upscale_factor: int) -> Tensor:
    """The position in the block is the faster part of a channel's index."""
    return F.pixel_shuffle(x, int(upscale_factor))


def pixel_unshuffle(x: Tensor, downscale_factor: int) -> Tensor:
    """The inverse of `pixel_shuffle`."""
    return F.pixel_unshuffle(x, int(downscale_factor))


def space_to_batch(x: Tensor, block_shape: Ints, paddings: Ints) -> Tensor:
    """Zeros first fill what the blocks do not."""
    y = padded(x, pairs(ints(paddings)))
    (n, c, h, w), (b, d) = y.shape, ints(block_shape)
    y = y.reshape(n, c, h // b, b, w // d, d)
    return y.permute(3, 5, 0, 1, 2, 4).reshape(n * b * d, c, h // b, w // d)


def batch_to_space(x: Tensor, block_shape: Ints, crops: Ints) -> Tensor:
    """The inverse of `space_to_batch`."""
    (n, c, h, w), (b, d) = x.shape, ints(block_shape)
    y = x.reshape(b, d, n // (b * d), c, h, w).permute(2, 3, 4, 0, 5, 1)
    y = y.reshape(n // (b * d), c, h * b, w * d)
    return padded(y, [(-before, -after) for before, after in pairs(ints(crops))])


RULES: Mapping[str, Rule] = by_name(
    batch_to_space,
    depth_to_space,
    pixel_shuffle,
    pixel_unshuffle,
    space_to_batch,
    space_to_depth,
)
