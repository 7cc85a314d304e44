"""SSD's anchors ("default boxes"), as the paper's detector places them on its six maps."""

from __future__ import annotations

import math

import numpy as np

from exporter.tasks import DetectionSpec

MAPS = 6
FIRST_STRIDE = 16
Size = tuple[float, float]


def map_sides(resolution: int) -> tuple[int, ...]:
    """Cells per side of every map: 20, 10, 5, 3, 2, 1 at 320 px."""
    sides = [math.ceil(resolution / FIRST_STRIDE)]
    while len(sides) < MAPS:
        sides.append(math.ceil(sides[-1] / 2))
    return tuple(sides)


def anchors_per_cell(spec: DetectionSpec) -> tuple[int, ...]:
    """Anchors of one cell of every map: 3, then one per ratio and one between scales."""
    return tuple(len(sizes) for sizes in anchor_sizes(spec))


def anchor_sizes(spec: DetectionSpec) -> tuple[tuple[Size, ...], ...]:
    """(width, height) of the anchors of one cell, for every map."""
    step = (spec.max_scale - spec.min_scale) / (MAPS - 1)
    scales = [spec.min_scale + step * k for k in range(MAPS)] + [1.0]
    smallest = (
        _size(spec.smallest_scale, 1.0),
        _size(scales[0], 2.0),
        _size(scales[0], 0.5),
    )
    others = [
        (
            *(_size(scales[k], ratio) for ratio in spec.ratios),
            _size(math.sqrt(scales[k] * scales[k + 1]), 1.0),
        )
        for k in range(1, MAPS)
    ]
    return (smallest, *others)


def make_anchors(spec: DetectionSpec, resolution: int) -> np.ndarray:
    """Float32 (anchors, 4): center x, center y, width, height, in fractions of the image.

    Map by map, row by row, cell by cell: the order in which the heads' outputs are joined.
    """
    parts = []
    for side, sizes in zip(map_sides(resolution), anchor_sizes(spec), strict=True):
        rows, columns, index = np.meshgrid(
            np.arange(side), np.arange(side), np.arange(len(sizes)), indexing="ij"
        )
        centers = np.stack([columns, rows], -1) + 0.5
        parts.append(np.concatenate([centers / side, np.asarray(sizes)[index]], -1).reshape(-1, 4))
    return np.concatenate(parts).astype(np.float32)


def _size(scale: float, ratio: float) -> Size:
    return scale * math.sqrt(ratio), scale / math.sqrt(ratio)
