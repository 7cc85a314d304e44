"""Photos for any model: made to fit as Apple's Vision does, or by a package's own contract."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from exporter.preprocess import normalize, read_image, resize
from exporter.spec import Fit, Preprocess

BILINEAR = Image.Resampling.BILINEAR
Size = tuple[int, int]  # width, height
Box = tuple[float, float, float, float]  # left, top, right, bottom


def fitted(image: Image.Image, size: Size, fit: Fit) -> Image.Image:
    """An RGB image made `size` (width, height); `none` leaves it as it is.

    Vision's words, Pillow's antialiased bilinear filter: Apple does not say which filter it uses.
    """
    if fit is Fit.NONE:
        return image
    if fit is Fit.SCALE_FILL:
        return _scaled(image, (0, 0, *image.size), size)
    if fit is Fit.CENTER_CROP:
        return _scaled(image, _middle(image.size, size), size)
    scale = min(size[0] / image.width, size[1] / image.height)
    inner = tuple(max(1, round(side * scale)) for side in image.size)
    canvas = Image.new("RGB", size)
    corner = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    canvas.paste(_scaled(image, (0, 0, *image.size), (inner[0], inner[1])), corner)
    return canvas


@dataclass(frozen=True, kw_only=True)
class Photos:
    """How the photos of one model are made to fit; the contract is followed unless `fit` is set."""

    contract: Preprocess | None
    fit: Fit | None

    @property
    def how(self) -> Fit | None:
        """None where the contract is followed."""
        return self.fit or (None if self.contract is not None else Fit.CENTER_CROP)

    def picture(self, path: Path, size: Size, allows: Callable[[int, int], bool]) -> Image.Image:
        """RGB: by the contract, or fitted to `size` unless the model allows the photo's own."""
        image = read_image(path)
        if self.contract is not None and self.how is None:
            return resize(image, self.contract)
        return image if allows(*image.size) else fitted(image, size, self.how or Fit.NONE)

    def tensor(self, path: Path) -> np.ndarray | None:
        """Float32 (1, 3, h, w) as the contract normalizes; None without one."""
        if self.contract is None:
            return None
        side = self.contract.crop_size
        picture = self.picture(path, (side, side), lambda *size: size == (side, side))
        return normalize(np.asarray(picture)[None], self.contract)


def _middle(size: Size, target: Size) -> Box:
    """The largest box around the center that has the target's shape."""
    scale = max(target[0] / size[0], target[1] / size[1])
    width, height = target[0] / scale, target[1] / scale
    left, top = (size[0] - width) / 2, (size[1] - height) / 2
    return left, top, left + width, top + height


def _scaled(image: Image.Image, box: Box, size: Size) -> Image.Image:
    """The box of an image at another size; width first and then height, as the contract has it."""
    left, top, right, bottom = box
    right, bottom = min(right, image.width), min(bottom, image.height)  # of the last bit
    left, top = max(left, 0), max(top, 0)
    wide = image.resize((size[0], image.height), BILINEAR, box=(left, 0, right, image.height))
    return wide.resize(size, BILINEAR, box=(0, top, size[0], bottom))
