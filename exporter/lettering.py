"""Text on photos: how large, how much of it fits, in letters that the built-in font has."""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass

from PIL import ImageFont

SMALLEST_TEXT = 11  # px; smaller is not read
TEXT_SHARE = 0.028  # of the photo's mean side
MOST_OF_A_SIDE = 12  # so many lines of text fit on the shorter side, unless they get too small
LINE_SHARE = 0.0035
CUT = "..."


@dataclass(frozen=True, kw_only=True)
class Pen:
    """Sizes of what is drawn on one photo, in its pixels."""

    font: ImageFont.FreeTypeFont | ImageFont.ImageFont
    text_height: int
    padding: int  # around text
    line: int  # thickness

    def width(self, text: str) -> int:
        """Of a line of text."""
        return math.ceil(self.font.getlength(text))

    def fit(self, text: str, end: str, width: int) -> str:
        """The text and its end, the text cut where both are too wide; "" if nothing of it fits."""
        if self.width(text + end) <= width:
            return text + end
        for length in range(len(text) - 1, 0, -1):
            short = text[:length].rstrip() + CUT + end
            if self.width(short) <= width:
                return short
        return ""


def pen_for(width: int, height: int) -> Pen:
    """Text and lines look alike on photos of any size; the mean side is geometric."""
    side = math.sqrt(width * height)
    size = max(SMALLEST_TEXT, round(min(side * TEXT_SHARE, min(width, height) / MOST_OF_A_SIDE)))
    font = ImageFont.load_default(size)
    _, _, _, bottom = font.getbbox("Ag")
    return Pen(
        font=font,
        text_height=math.ceil(bottom),
        padding=max(2, size // 4),
        line=max(1, round(side * LINE_SHARE)),
    )


def spelled(label: str, index: int) -> str:
    """A label without accents, or the class's number where the font has not all of its letters.

    Pillow's font has the letters of ASCII, and draws the same empty box for every other one.
    """
    plain = "".join(c for c in unicodedata.normalize("NFKD", label) if not unicodedata.combining(c))
    return plain if plain.isascii() and plain.isprintable() and plain else f"class {index}"
