"""Tiles of given areas that fill a rectangle and are nearly square (Bruls et al., 2000)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Tile:
    """A rectangle; y grows downwards."""

    x: float
    y: float
    width: float
    height: float


def squarified(values: Sequence[float], width: float, height: float) -> list[Tile]:
    """One tile for each positive value; they come largest first and get their share of the area."""
    total = sum(values)
    areas = [value * width * height / total for value in values]
    free = Tile(x=0.0, y=0.0, width=width, height=height)
    tiles: list[Tile] = []
    start = 0
    while start < len(areas):
        end = _row_end(areas, start, min(free.width, free.height))
        row, free = _laid(areas[start:end], free)
        tiles += row
        start = end
    return tiles


def _row_end(areas: Sequence[float], start: int, side: float) -> int:
    """The row grows while its worst tile gets no longer."""
    end = start + 1
    while end < len(areas):
        if _worst(areas[start : end + 1], side) > _worst(areas[start:end], side):
            break
        end += 1
    return end


def _worst(row: Sequence[float], side: float) -> float:
    depth = sum(row) / side
    return max(max(depth * depth / area, area / (depth * depth)) for area in row)


def _laid(row: Sequence[float], free: Tile) -> tuple[list[Tile], Tile]:
    """The row along the shorter side of what is free, and what remains."""
    upright = free.width >= free.height
    side = free.height if upright else free.width
    depth = sum(row) / side
    tiles, offset = [], 0.0
    for area in row:
        length = area / depth
        if upright:
            tile = Tile(x=free.x, y=free.y + offset, width=depth, height=length)
        else:
            tile = Tile(x=free.x + offset, y=free.y, width=length, height=depth)
        tiles.append(tile)
        offset += length
    if upright:
        rest = Tile(x=free.x + depth, y=free.y, width=free.width - depth, height=free.height)
    else:
        rest = Tile(x=free.x, y=free.y + depth, width=free.width, height=free.height - depth)
    return tiles, rest
