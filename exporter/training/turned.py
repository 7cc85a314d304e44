"""Annotations of pictures that a camera stored lying on their side.

`read_image` turns such a picture upright; boxes and masks may have been drawn on either. Which one
it was shows in the size that they come with.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from exporter.errors import DataError
from exporter.training.annotated import Size

ORIENTATION = 0x0112  # EXIF's tag
AS_IT_IS = 1
# Pillow's name of what makes a picture of each such orientation upright; the other ones keep the
# size, so nothing tells what annotations of them mean, and they count as drawn upright.
TURNS = {
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A picture's file: its size, and its EXIF orientation."""

    size: Size
    orientation: int

    @property
    def upright(self) -> Size:
        """The size that `read_image` gives it."""
        width, height = self.size
        return (height, width) if self.orientation in TURNS else (width, height)

    def turn_from(self, annotated: Size | None) -> int:
        """The orientation to undo in annotations of that size; `AS_IT_IS` for upright ones.

        Raises DataError for the size of neither.
        """
        if annotated is None or annotated == self.upright:
            return AS_IT_IS
        if annotated == self.size:
            return self.orientation
        raise DataError(
            f"annotated at {annotated[0]} x {annotated[1]} pixels, "
            f"the picture has {self.upright[0]} x {self.upright[1]}"
        )


def stored(path: Path) -> Stored:
    """Read a header, and of a PNG the pixels, behind which it may say how it is turned."""
    try:
        with Image.open(path) as image:
            return Stored(size=image.size, orientation=image.getexif().get(ORIENTATION, AS_IT_IS))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: cannot be decoded as an image ({error})") from None


def turned_boxes(boxes: np.ndarray, orientation: int) -> np.ndarray:
    """Corners in fractions of a stored picture (m, 4) -> of the upright one."""
    x1, y1, x2, y2 = boxes.T
    columns = {
        5: (y1, x1, y2, x2),
        6: (1 - y2, x1, 1 - y1, x2),
        7: (1 - y2, 1 - x2, 1 - y1, 1 - x1),
        8: (y1, 1 - x2, y2, 1 - x1),
    }.get(orientation)
    return boxes if columns is None else np.stack(columns, 1)


def turned_mask(mask: np.ndarray, orientation: int) -> np.ndarray:
    """Uint8 (h, w) as stored -> upright."""
    if orientation not in TURNS:
        return mask
    return np.asarray(Image.fromarray(mask).transpose(TURNS[orientation]))
