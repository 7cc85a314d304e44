"""COCO's segmentations, polygons or run lengths, painted into masks when they are asked for."""

from __future__ import annotations

import json
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from exporter.coco_tools import coco_tools
from exporter.errors import DataError
from exporter.segmentation import IGNORED
from exporter.training.annotated import Size
from exporter.training.turned import turned_mask

Segmentation = list[list[float]] | dict[str, Any]
Shape = tuple[int | None, Segmentation]  # a mask's value; None: a crowd, whose pixels are ignored
FEWEST = 6  # coordinates of a polygon
LARGEST_SIDE = 1 << 16  # pixels; more would take all memory
HINT = "export the data set as COCO instances once more"


def pack_shapes(shapes: Sequence[Shape]) -> bytes:
    """In few bytes: a data set has millions of corners, and every worker process gets them all."""
    return zlib.compress(json.dumps(shapes, separators=(",", ":")).encode(), 1)


def unpack_shapes(packed: bytes) -> list[Shape]:
    """The inverse of `pack_shapes`."""
    shapes: list[Shape] = json.loads(zlib.decompress(packed))
    return shapes


def check_segmentation(segmentation: object, where: str) -> Segmentation:
    """The same without polygons of fewer than three corners; raises DataError for anything else."""
    if isinstance(segmentation, list) and all(map(_is_polygon, segmentation)):
        return [polygon for polygon in segmentation if len(polygon) >= FEWEST]
    if isinstance(segmentation, dict) and _is_run_lengths(segmentation):
        return {"size": segmentation["size"], "counts": segmentation["counts"]}
    raise DataError(f"{where}: its segmentation is neither polygons nor run lengths", HINT)


def _is_polygon(corners: object) -> bool:
    return (
        isinstance(corners, list)
        and len(corners) % 2 == 0
        and all(isinstance(v, int | float) and abs(v) < LARGEST_SIDE for v in corners)
    )


def _is_run_lengths(data: dict[str, Any]) -> bool:
    size, counts = data.get("size"), data.get("counts")
    if not isinstance(size, list) or len(size) != 2:
        return False
    if not all(type(side) is int and 0 < side < LARGEST_SIDE for side in size):
        return False
    if isinstance(counts, str):
        return counts.isascii()
    if not isinstance(counts, list) or not all(type(run) is int and run >= 0 for run in counts):
        return False
    return bool(sum(counts) == size[0] * size[1])


@dataclass(frozen=True, eq=False)
class PaintedMasks:
    """Masks made from shapes; what the shapes do not cover is 0."""

    content: bytes  # packed shapes behind each other
    ends: np.ndarray  # int64 (n + 1,) from 0
    sizes: np.ndarray  # int32 (n, 2): width and height that the shapes are of
    turns: np.ndarray  # uint8 (n,): the orientations to undo

    @classmethod
    def of(
        cls, packed: Sequence[bytes], sizes: Sequence[Size], turns: Sequence[int]
    ) -> PaintedMasks:
        """In the pictures' order."""
        return cls(
            content=b"".join(packed),
            ends=np.cumsum([0, *map(len, packed)], dtype=np.int64),
            sizes=np.array(sizes, np.int32).reshape(-1, 2),
            turns=np.array(turns, np.uint8),
        )

    def read(self, index: int) -> np.ndarray:
        """Uint8 (h, w), upright; raises DataError for run lengths that do not fit."""
        packed = self.content[self.ends[index] : self.ends[index + 1]]
        width, height = self.sizes[index].tolist()
        mask = paint(unpack_shapes(packed), (width, height))
        return turned_mask(mask, int(self.turns[index]))


def paint(shapes: Sequence[Shape], size: Size) -> np.ndarray:
    """Crowds first, then larger shapes before smaller ones: what lies in front is mostly smaller.

    Uint8 (h, w), 0 where nothing lies.
    """
    tools = coco_tools("mask", "painting COCO segmentations")
    width, height = size
    mask = np.zeros((height, width), np.uint8)
    layers = []
    for value, segmentation in shapes:
        if segmentation:
            covered = _covered(segmentation, size, tools)
            layers.append((value is not None, -int(covered.sum()), value, covered))
    for _, _, value, covered in sorted(layers, key=lambda layer: layer[:2]):
        mask[covered] = IGNORED if value is None else value
    return mask


def _covered(segmentation: Segmentation, size: Size, tools: Any) -> np.ndarray:
    """Bool (h, w)."""
    width, height = size
    if isinstance(segmentation, dict) and segmentation["size"] != [height, width]:
        rows, columns = segmentation["size"]
        raise DataError(
            f"a segmentation is of {columns} x {rows} pixels, the picture has {width} x {height}",
            HINT,
        )
    try:
        if isinstance(segmentation, list):
            runs = tools.merge(tools.frPyObjects(segmentation, height, width))
        elif isinstance(segmentation["counts"], str):
            runs = {**segmentation, "counts": segmentation["counts"].encode()}
        else:
            runs = tools.frPyObjects(segmentation, height, width)
        with warnings.catch_warnings():  # it makes arrays as numpy 1 had them made
            warnings.simplefilter("ignore", DeprecationWarning)
            covered = np.asarray(tools.decode(runs), np.bool_)
    except ValueError as error:
        raise DataError(f"a segmentation's run lengths are damaged ({error})", HINT) from None
    return covered
