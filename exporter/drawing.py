"""What was found, drawn onto a copy of the photo: boxes with tags, or colored regions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from exporter.lettering import Pen, pen_for, spelled
from exporter.palette import BLACK, WHITE, Color, class_color, readable_on
from exporter.predictions import FoundObject, Region

FILL = 112  # of 255: how much of a region is its color
PANEL = 0.3  # of the photo's light that is left behind the legend
PANEL_SHARE = 0.6  # of either side that the legend may take
TAG_SHARE = 1 / 3  # of the height that a tag may take, or it would hide what it names
VALUES = 256  # of a byte

Pixels = tuple[int, int, int, int]  # left, top, right, bottom; right and bottom are outside


def draw_objects(photo: Image.Image, objects: Sequence[FoundObject]) -> Image.Image:
    """An RGB copy with a box and a tag for each object; better ones lie above worse ones."""
    picture = photo.convert("RGB")
    pen, draw = pen_for(*picture.size), ImageDraw.Draw(picture)
    best_first = sorted(objects, key=lambda found: -found.score)
    for found in reversed(best_first):
        _draw_box(draw, pixels_of(found.box, picture.size), class_color(found.index), pen)
    placed: list[Pixels] = []
    tags = []
    for found in best_first:
        text = pen.fit(
            spelled(found.label, found.index),
            f" {found.score:.0%}",
            picture.width - 2 * pen.padding,
        )
        place = place_tag(pixels_of(found.box, picture.size), text, picture.size, pen, placed)
        if place is not None:
            placed.append(place)
            tags.append((place, text, class_color(found.index)))
    for place, text, color in reversed(tags):
        _draw_tag(draw, place, text, color, pen)
    return picture


def draw_regions(photo: Image.Image, labels: np.ndarray, regions: Sequence[Region]) -> Image.Image:
    """An RGB copy with every class but the background in its color, outlined, and a legend.

    `labels` is uint8 of the photo's height and width.
    """
    picture = photo.convert("RGB")
    pen = pen_for(*picture.size)
    strength = np.full(VALUES, FILL, np.uint8)
    strength[0] = 0
    opaque = strength[labels]
    opaque[outline(labels, pen.line)] = 255
    colors = Image.fromarray(labels)
    colors.putpalette([v for i in range(VALUES) for v in (class_color(i) if i else BLACK)])
    picture.paste(colors.convert("RGB"), mask=Image.fromarray(opaque))
    _draw_legend(picture, labels, [region for region in regions if region.index], pen)
    return picture


def pixels_of(box: tuple[float, float, float, float], size: tuple[int, int]) -> Pixels:
    """The pixels of a box, at least one, inside a picture of this size."""
    left, top = (min(round(v), n - 1) for v, n in zip(box[:2], size, strict=True))
    right, bottom = (min(round(v), n) for v, n in zip(box[2:], size, strict=True))
    return left, top, max(right, left + 1), max(bottom, top + 1)


def place_tag(
    box: Pixels, text: str, size: tuple[int, int], pen: Pen, placed: Sequence[Pixels]
) -> Pixels | None:
    """Where the tag of a box goes: inside the picture, off other tags where that is possible.

    Above the box first, then inside it, then below; None where the photo is too small for text.
    """
    width, height = pen.width(text) + 2 * pen.padding, pen.text_height + 2 * pen.padding
    if not text or width > size[0] or height > size[1] * TAG_SHARE:
        return None
    left, top, right, bottom = box
    corners = [
        (min(x, size[0] - width), y)
        for y in (top - height, top, bottom, bottom - height)
        for x in (left, max(0, right - width))
        if 0 <= y <= size[1] - height
    ]
    places = [(x, y, x + width, y + height) for x, y in corners]
    return next((p for p in places if not any(_overlap(p, other) for other in placed)), places[0])


def outline(labels: np.ndarray, thickness: int) -> np.ndarray:
    """Bool (h, w): pixels of a class within `thickness` of another class or of the background."""
    found = np.zeros(labels.shape, bool)
    for before, after, edge in ((labels, labels, found), (labels.T, labels.T, found.T)):
        differs = before[thickness:] != after[: len(after) - thickness]
        edge[thickness:] |= differs
        edge[: len(edge) - thickness] |= differs
    return np.asarray(found & (labels != 0))


def _draw_box(draw: ImageDraw.ImageDraw, box: Pixels, color: Color, pen: Pen) -> None:
    """A line inside the box with a thin one around it, so that it shows on its own color too."""
    left, top, right, bottom = box[0], box[1], box[2] - 1, box[3] - 1
    thin = max(1, pen.line // 3)
    around = (left - thin, top - thin, right + thin, bottom + thin)
    draw.rectangle(around, outline=readable_on(color), width=pen.line + 2 * thin)
    draw.rectangle((left, top, right, bottom), outline=color, width=pen.line)


def _draw_tag(draw: ImageDraw.ImageDraw, place: Pixels, text: str, color: Color, pen: Pen) -> None:
    left, top, right, bottom = place
    draw.rectangle((left, top, right - 1, bottom - 1), fill=color)
    corner = (left + pen.padding, top + pen.padding)
    draw.text(corner, text, fill=readable_on(color), font=pen.font)


def _draw_legend(
    picture: Image.Image, labels: np.ndarray, regions: Sequence[Region], pen: Pen
) -> None:
    """A darkened panel in the corner where it hides the least; as many classes as it has room."""
    row, swatch = pen.text_height + pen.padding, pen.text_height
    room = int(picture.width * PANEL_SHARE) - swatch - 3 * pen.padding
    most = (int(picture.height * PANEL_SHARE) - pen.padding) // row
    texts = [pen.fit(spelled(r.label, r.index), f"  {r.percent}", room) for r in regions[:most]]
    rows = [(text, region) for text, region in zip(texts, regions, strict=False) if text]
    if not rows:
        return
    width = swatch + 3 * pen.padding + max(pen.width(text) for text, _ in rows)
    left, top, right, bottom = _quietest_corner(labels, width, len(rows) * row + pen.padding)
    behind = picture.crop((left, top, right, bottom)).point(lambda value: value * PANEL)
    picture.paste(behind, (left, top))
    draw = ImageDraw.Draw(picture)
    for i, (text, region) in enumerate(rows):
        x, y = left + pen.padding, top + pen.padding + i * row
        square = (x, y, x + swatch - 1, y + swatch - 1)
        draw.rectangle(square, fill=class_color(region.index), outline=WHITE)
        draw.text((x + swatch + pen.padding, y), text, fill=WHITE, font=pen.font)


def _quietest_corner(labels: np.ndarray, width: int, height: int) -> Pixels:
    """The corner of this size with the fewest pixels of a class; the top left of equal ones."""
    right, bottom = labels.shape[1] - width, labels.shape[0] - height
    corners = [(0, 0), (right, 0), (0, bottom), (right, bottom)]
    x, y = min(
        corners, key=lambda c: int((labels[c[1] : c[1] + height, c[0] : c[0] + width] != 0).sum())
    )
    return x, y, x + width, y + height


def _overlap(a: Pixels, b: Pixels) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
