"""A color for every class, told apart by color-blind people too as far as colors go.

The first seven are Okabe and Ito's ("Color Universal Design", 2008). Each further one is far from
those before it as people with and without protanopia, deuteranopia and tritanopia see them
(tests/test_drawing.py measures it). Beyond twenty they repeat; labels tell those apart.
"""

from __future__ import annotations

Color = tuple[int, int, int]

BLACK: Color = (0, 0, 0)
WHITE: Color = (255, 255, 255)
PALETTE: tuple[Color, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
    (135, 0, 240),
    (0, 255, 135),
    (135, 60, 45),
    (150, 120, 255),
    (180, 240, 195),
    (150, 165, 90),
    (165, 0, 120),
    (150, 240, 255),
    (180, 0, 0),
    (225, 0, 90),
    (255, 120, 150),
    (210, 0, 180),
    (135, 30, 195),
)


def class_color(index: int) -> Color:
    """Of a class from 1 on; 0 is the background, which has none."""
    return PALETTE[(index - 1) % len(PALETTE)]


def readable_on(color: Color) -> Color:
    """Black or white, whichever stands out more (WCAG 2's contrast ratio)."""
    light = luminance(color) + 0.05
    return BLACK if light / 0.05 >= 1.05 / light else WHITE


def luminance(color: Color) -> float:
    """Relative luminance of sRGB, 0 to 1."""
    red, green, blue = (_linear(value / 255) for value in color)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(value: float) -> float:
    return value / 12.92 if value <= 0.04045 else float(((value + 0.055) / 1.055) ** 2.4)
