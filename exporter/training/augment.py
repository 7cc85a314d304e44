"""Random views of a training image, uint8 to uint8, the same whoever computes them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance

from exporter.errors import UnsupportedError
from exporter.preprocess import FILTERS, to_pixels
from exporter.spec import Preprocess

CROP_TRIES = 10  # random boxes before the largest one that the photo allows, as is usual
_STREAM = 2  # keeps these numbers apart from those that order the images


@dataclass(frozen=True, kw_only=True)
class Augment:
    """What may happen to a training image; the default is the usual crop and flip.

    `scale` is the share of the photo's area that a crop takes, `ratio` its width by its height;
    without a scale the contract's own resize and center crop are used. Colour factors are drawn
    from 1 - x to 1 + x.
    """

    scale: tuple[float, float] | None = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5  # probability
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0

    def __post_init__(self) -> None:
        if self.scale is not None and not 0.0 < self.scale[0] <= self.scale[1] <= 1.0:
            raise UnsupportedError(f"crop scale {self.scale} is no rising pair within 0 to 1")
        if not 0.0 < self.ratio[0] <= self.ratio[1]:
            raise UnsupportedError(f"crop ratio {self.ratio} is no rising pair above 0")
        if not 0.0 <= self.flip <= 1.0:
            raise UnsupportedError(f"flip probability {self.flip:g} is outside 0 to 1")
        if not all(0.0 <= x <= 1.0 for x in (self.brightness, self.contrast, self.saturation)):
            raise UnsupportedError("a colour jitter is outside 0 to 1")


NOTHING = Augment(scale=None, flip=0.0)


def generator(seed: int, epoch: int, index: int) -> np.random.Generator:
    """The random numbers of one image in one epoch, whichever process asks and whenever."""
    return np.random.Generator(np.random.PCG64([seed, epoch, index, _STREAM]))


def augmented(
    image: Image.Image, contract: Preprocess, how: Augment, random: np.random.Generator
) -> np.ndarray:
    """A view of an RGB image, uint8 RGB (crop_size, crop_size, 3)."""
    if how.scale is None:
        image = Image.fromarray(to_pixels(image, contract))
    else:
        box = _box(image.size, how.scale, how.ratio, random)
        side = contract.crop_size
        image = image.crop(box).resize((side, side), FILTERS[contract.resize_filter])
    if random.random() < how.flip:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.asarray(recolored(image, how, random))


def _box(
    size: tuple[int, int],
    scale: tuple[float, float],
    ratio: tuple[float, float],
    random: np.random.Generator,
) -> tuple[int, int, int, int]:
    """A random box by area and aspect, else the largest middle one of an allowed aspect."""
    width, height = size
    for _ in range(CROP_TRIES):
        area = width * height * random.uniform(*scale)
        aspect = math.exp(random.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(random.integers(width - w + 1)), int(random.integers(height - h + 1))
            return left, top, left + w, top + h
    aspect = min(max(width / height, ratio[0]), ratio[1])
    w = max(1, min(width, round(height * aspect)))
    h = max(1, min(height, round(width / aspect)))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def recolored(image: Image.Image, how: Augment, random: np.random.Generator) -> Image.Image:
    """The same RGB image in other light, by factors around 1."""
    steps = (
        (how.brightness, ImageEnhance.Brightness),
        (how.contrast, ImageEnhance.Contrast),
        (how.saturation, ImageEnhance.Color),
    )
    for amount, enhance in steps:
        if amount > 0.0:
            image = enhance(image).enhance(random.uniform(1.0 - amount, 1.0 + amount))
    return image
