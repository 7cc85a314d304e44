"""The part of a picture that the network sees, which may reach beyond the picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from exporter.preprocess import FILTERS
from exporter.spec import ChannelOrder, Preprocess, ResizeRule

Color = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class Window:
    """In the picture's pixels; what lies outside the picture is filled."""

    left: float
    top: float
    width: float
    height: float

    def boxes(self, pixels: np.ndarray) -> np.ndarray:
        """Corners in the picture's pixels (m, 4) -> in fractions of the window, not clipped."""
        corner = np.array([self.left, self.top, self.left, self.top])
        sides = np.array([self.width, self.height, self.width, self.height])
        fractions: np.ndarray = (pixels - corner) / sides
        return fractions


def whole(size: tuple[int, int]) -> Window:
    """All of a picture."""
    return Window(left=0, top=0, width=size[0], height=size[1])


def contract_size(size: tuple[int, int], contract: Preprocess) -> tuple[int, int]:
    """The picture's size after the contract's resize, before its crop."""
    side = contract.resize_size
    if contract.resize_rule is ResizeRule.STRETCH:
        return side, side
    width, height = size
    other = max(side, int(side * max(size) / min(size)))
    return (side, other) if width <= height else (other, side)


def contract_window(size: tuple[int, int], contract: Preprocess) -> Window:
    """What the contract's resize and center crop keep of a picture."""
    width, height = contract_size(size, contract)
    crop = contract.crop_size
    x, y = size[0] / width, size[1] / height  # the picture's pixels per resized one
    left, top = round((width - crop) / 2), round((height - crop) / 2)
    return Window(left=left * x, top=top * y, width=crop * x, height=crop * y)


def show(image: Image.Image, window: Window, contract: Preprocess) -> Image.Image:
    """An RGB picture's window as the network's crop_size x crop_size pixels."""
    side = contract.crop_size
    return _show(image, window, side, FILTERS[contract.resize_filter], _neutral(contract))


def show_mask(mask: np.ndarray, window: Window, side: int, outside: int) -> np.ndarray:
    """A mask's window, uint8 (side, side), by the nearest pixel; `outside` where there is none."""
    image = Image.fromarray(mask)
    return np.array(_show(image, window, side, Image.Resampling.NEAREST, outside))


def _show(
    image: Image.Image,
    window: Window,
    side: int,
    kind: Image.Resampling,
    fill: int | Color,
) -> Image.Image:
    left, right, x = _overlap(window.left, window.width, image.width, side)
    top, bottom, y = _overlap(window.top, window.height, image.height, side)
    # Width first, as `resize` does it.
    part = image.resize((x[1] - x[0], image.height), kind, (left, 0, right, image.height))
    part = part.resize((x[1] - x[0], y[1] - y[0]), kind, (0, top, part.width, bottom))
    if part.size == (side, side):
        return part
    canvas = Image.new(image.mode, (side, side), fill)
    canvas.paste(part, (x[0], y[0]))
    return canvas


def _overlap(
    start: float, length: float, limit: int, side: int
) -> tuple[float, float, tuple[int, int]]:
    """Along one side: what window and picture share, and the network's pixels that show it.

    One pixel at least, however little of the window the picture covers.
    """
    low, high = max(0.0, start), min(float(limit), start + length)
    first = min(side - 1, round((low - start) / length * side))
    last = max(first + 1, round((high - start) / length * side))
    return low, high, (first, last)


def _neutral(contract: Preprocess) -> Color:
    """The color that becomes about 0 in the network: the mean, or gray."""
    low, high = contract.value_range
    levels = [min(255, max(0, round((m - low) / (high - low) * 255))) for m in contract.mean]
    r, g, b = levels[::-1] if contract.channel_order is ChannelOrder.BGR else levels
    return r, g, b
