"""Resizing images: grids of sampling positions, and interpolation between pixels."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from exporter.errors import UnsupportedError
from targets.mil.rules.arguments import Ints, Rule, Value, by_name, ints, number
from targets.mil.rules.limits import bounded

ROWS, COLUMNS = -2, -1


def resize_bilinear(
    x: Tensor,
    target_size_height: int = 1,
    target_size_width: int = 1,
    sampling_mode: str = "DEFAULT",
) -> Tensor:
    """Raises UnsupportedError for a sampling mode that MIL does not list."""
    height, width = int(target_size_height), int(target_size_width)
    bounded([*x.shape[:-2], height, width])
    y = _interpolated(x, ROWS, height, sampling_mode)
    return _interpolated(y, COLUMNS, width, sampling_mode)


def upsample_bilinear(
    x: Tensor,
    scale_factor_height: Value = 1,
    scale_factor_width: Value = 1,
    align_corners: bool = True,
    half_pixel_centers: bool | None = None,
) -> Tensor:
    """Pixel centres count as half pixels exactly when corners are not aligned, by default."""
    half = not align_corners if half_pixel_centers is None else bool(half_pixel_centers)
    if align_corners and half:
        raise UnsupportedError("upsample_bilinear cannot align corners at half-pixel centers")
    mode = "STRICT_ALIGN_CORNERS" if align_corners else "UNALIGN_CORNERS" if half else "DEFAULT"
    height, width = _scaled(x, scale_factor_height, scale_factor_width)
    return resize_bilinear(x, height, width, mode)


def resize_nearest_neighbor(x: Tensor, target_size_height: int, target_size_width: int) -> Tensor:
    """The pixel that an output pixel's first corner falls in."""
    height, width = int(target_size_height), int(target_size_width)
    bounded([*x.shape[:-2], height, width])
    for dim, size in ((ROWS, height), (COLUMNS, width)):
        x = x.index_select(dim, torch.arange(size) * x.shape[dim] // size)
    return x


def upsample_nearest_neighbor(
    x: Tensor, scale_factor_height: Value = 1, scale_factor_width: Value = 1
) -> Tensor:
    """Factors may be fractions; sizes are rounded down."""
    height, width = _scaled(x, scale_factor_height, scale_factor_width)
    return resize_nearest_neighbor(x, height, width)


def resize(
    x: Tensor,
    shape: Ints,
    resized_dims: int,
    interpolation_mode: str = "LINEAR",
    sampling_mode: str = "DEFAULT",
) -> Tensor:
    """The last `resized_dims` sizes of `shape`; a 0 leaves a dimension as it is."""
    if interpolation_mode not in ("LINEAR", "NEAREST_NEIGHBOR"):
        raise UnsupportedError(f"resize in mode {interpolation_mode!r} is not evaluated")
    count = int(resized_dims)
    dims = range(-count, 0)
    sizes = [n or x.shape[d] for d, n in zip(dims, ints(shape)[-count:], strict=True)]
    bounded([*x.shape[:-count], *sizes])
    for dim, size in zip(dims, sizes, strict=True):
        if interpolation_mode == "LINEAR":
            x = _interpolated(x, dim, size, sampling_mode)
        else:
            nearest = _grid(x.shape[dim], size, sampling_mode) + 0.5
            x = x.index_select(dim, nearest.floor().long())
    return x


def _scaled(x: Tensor, height_factor: Value, width_factor: Value) -> tuple[int, int]:
    return (
        math.floor(x.shape[ROWS] * number(height_factor)),
        math.floor(x.shape[COLUMNS] * number(width_factor)),
    )


def _grid(size: int, outputs: int, mode: str) -> Tensor:
    """Where each output falls among the inputs, from 0 to `size` - 1."""
    at = torch.arange(outputs, dtype=torch.float64)
    if mode == "ALIGN_CORNERS" and outputs == 1:
        at = at + (size - 1) / 2
    elif mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        at = at * ((size - 1) / max(1, outputs - 1))
    elif mode == "DEFAULT":
        at = at * (size / outputs)
    elif mode == "OFFSET_CORNERS":
        at = (at + 0.5) * (max(1, size - 1) / outputs)
    elif mode == "UNALIGN_CORNERS":
        at = (at + 0.5) * (size / outputs) - 0.5
    else:
        raise UnsupportedError(f"sampling mode {mode!r} is not evaluated")
    return at.clamp(0, size - 1)


def _interpolated(x: Tensor, dim: int, outputs: int, mode: str) -> Tensor:
    size = x.shape[dim]
    at = _grid(size, outputs, mode)
    low = at.floor().long()
    high = (low + 1).clamp(max=size - 1)
    part = (at - low).to(x.dtype).reshape(-1, *[1] * (-dim - 1))
    return torch.lerp(x.index_select(dim, low), x.index_select(dim, high), part)


RULES: Mapping[str, Rule] = by_name(
    resize,
    resize_bilinear,
    resize_nearest_neighbor,
    upsample_bilinear,
    upsample_nearest_neighbor,
)
