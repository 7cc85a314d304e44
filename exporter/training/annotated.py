"""What a data set says about its pictures, before any of them is opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from exporter.training.entries import Entry

Size = tuple[int, int]  # width, height


class Picture(Protocol):
    """A picture and the size that its annotations are of."""

    @property
    def entry(self) -> Entry:
        """Where it lies."""
        ...

    @property
    def size(self) -> Size | None:
        """As the data set says it; None where it does not."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class ObjectPicture:
    """A picture's boxes in pixels, as written: they may lie outside or have no area."""

    entry: Entry
    size: Size | None
    boxes: np.ndarray  # float64 (m, 4): x1, y1, x2, y2
    categories: np.ndarray  # int64 (m,), into the set's names
    ignored: np.ndarray  # bool (m,)


@dataclass(frozen=True, kw_only=True, eq=False)
class MaskPicture:
    """A picture and its mask: a file, or shapes to paint."""

    entry: Entry
    size: Size | None
    mask: Path | bytes  # bytes: packed shapes of `coco_masks`


@dataclass(frozen=True, kw_only=True)
class FoundObjects:
    """A set for detection; the names are without the background."""

    origin: Path
    names: tuple[str, ...]
    pictures: Sequence[ObjectPicture]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FoundMasks:
    """A set for segmentation; the names are by a mask's values, None where nothing names them."""

    origin: Path
    names: tuple[str, ...] | None
    pictures: Sequence[MaskPicture]
    notes: tuple[str, ...] = ()


class Part(Protocol):
    """One part of a data set in some format, such as what to train on."""

    def objects(self) -> FoundObjects:
        """Raises DataError where the part has none."""
        ...

    def masks(self) -> FoundMasks:
        """Raises DataError where the part has none."""
        ...


Parts = tuple[Part, Part | None]  # what to train on, and what to validate on where the set says it
