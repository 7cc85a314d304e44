"""Bilinear resize of int8 codes with half-pixel centers, by the rules of two runtimes.

Both keep the parameters of what they read. They are exact on x86 and, the first one being integer
arithmetic throughout, on ARM.

Sources: XNNPACK `src/indirection.c` and `src/qs8-ibilinear/` (11 fractional bits per axis); ONNX
Runtime `core/providers/cpu/tensor/upsample.h` (float32 between dequantize and quantize).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from exporter.graph import QMAX, QMIN, QParams

f32 = np.float32
FRACTION = 11  # bits of a weight in XNNPACK's int8 kernel


class Taps(NamedTuple):
    """Per output position of one axis: two source positions and how far it lies between them."""

    first: np.ndarray  # int32
    second: np.ndarray  # int32
    along: np.ndarray  # float32, of the second


def taps_xnnpack(size: int, wanted: int) -> Taps:
    """Half-pixel centers, every step in float32."""
    ratio = f32(size) / f32(wanted)
    offset = f32(f32(0.5) * ratio) - f32(0.5)
    x = (np.arange(wanted, dtype=np.int32).astype(f32) * ratio).astype(f32) + offset
    x = np.minimum(np.maximum(x, f32(0)), f32(size - 1))
    first = x.astype(np.int32)
    along = (x - first.astype(f32)).astype(f32)
    return Taps(first=first, second=np.minimum(first + 1, size - 1), along=along)


def resize_xnnpack(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Int8 (n, c, h, w) -> int8 (n, c, *size) in integers, rounded half up once."""
    rows, columns = (taps_xnnpack(i, o) for i, o in zip(x.shape[2:], size, strict=True))
    across, down = (
        np.rint(taps.along * f32(1 << FRACTION)).astype(np.int32) for taps in (columns, rows)
    )
    top, bottom = (x[:, :, taken].astype(np.int32) for taken in (rows.first, rows.second))
    top, bottom = (
        (line[..., columns.first] << FRACTION)
        + (line[..., columns.second] - line[..., columns.first]) * across
        for line in (top, bottom)
    )
    total = (top << FRACTION) + (bottom - top) * down[:, None]
    return np.asarray(((total + (1 << (2 * FRACTION - 1))) >> (2 * FRACTION)).astype(np.int8))


def taps_ort(size: int, wanted: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(first, second, distance to the first, distance to the second), float32 distances."""
    places = np.arange(wanted).astype(f32)
    if size == wanted:
        x = places
    else:
        scale = f32(f32(wanted) / f32(size))
        x = (((places + f32(0.5)) / scale).astype(f32) - f32(0.5)).astype(f32)
    x = np.maximum(f32(0), np.minimum(x, f32(size - 1)))
    first = np.minimum(x.astype(np.int32), size - 1)
    second = np.minimum(first + 1, size - 1)
    ahead, behind = (np.abs(x - end.astype(f32)).astype(f32) for end in (first, second))
    same = first == second  # at the edge both weights are a half
    ahead, behind = (np.where(same, f32(0.5), d).astype(f32) for d in (ahead, behind))
    return first, second, ahead, behind


def interpolate_ort(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Float32 (n, c, h, w) -> float32 (n, c, *size): four products, added one by one."""
    y0, y1, down, up = taps_ort(x.shape[2], size[0])
    x0, x1, right, left = taps_ort(x.shape[3], size[1])
    down, up = down[:, None], up[:, None]
    corners = (
        (left, up, x[:, :, y0][..., x0]),
        (right, up, x[:, :, y0][..., x1]),
        (left, down, x[:, :, y1][..., x0]),
        (right, down, x[:, :, y1][..., x1]),
    )
    total: np.ndarray | None = None
    for across, along, value in corners:
        part = ((across * along).astype(f32) * value).astype(f32)
        total = part if total is None else (total + part).astype(f32)
    assert total is not None
    return total


def resize_ort(x: np.ndarray, size: tuple[int, int], q: QParams) -> np.ndarray:
    """Int8 codes by way of float32; its kernel for uint8 truncates and is never used."""
    real = ((x.astype(np.int32) - q.zero_point).astype(f32) * f32(q.scale)).astype(f32)
    steps = (interpolate_ort(real, size) / f32(q.scale)).astype(f32)
    codes = np.rint(steps).astype(np.float64) + q.zero_point
    return np.asarray(np.clip(codes, QMIN, QMAX).astype(np.int8))
