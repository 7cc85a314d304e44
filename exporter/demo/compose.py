"""Emoji placed on backgrounds: the pictures that the demo trains, calibrates and tests with.

Everything follows from a seed; nothing here imports torch.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

HERE = Path(__file__).resolve().parent
SIDE = 96  # pixels of a composition; the network's input


@dataclass(frozen=True, kw_only=True)
class Sprites:
    """Emoji of some styles: `pixels` uint8 (n, 64, 64, 4), `labels` int64 (n,), `styles` (n,)."""

    pixels: np.ndarray
    labels: np.ndarray
    styles: tuple[str, ...]
    variants: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Jitter:
    """How far a composition strays from an upright, centered emoji; ranges are (low, high)."""

    size_px: tuple[float, float]  # longest side of the emoji
    rotation_deg: float
    stretch: float  # log ratio of width to height, and the shear
    overflow: float  # share of the emoji's side that may leave the picture
    flip: float  # probability
    hue_deg: float
    tone: float  # relative brightness, contrast and saturation
    gray: float  # probability
    blur: float  # probability
    noise: float  # largest standard deviation, in grey levels


TRAIN_JITTER = Jitter(
    size_px=(46, 98),
    rotation_deg=22,
    stretch=0.16,
    overflow=0.08,
    flip=0.5,
    hue_deg=40,
    tone=0.4,
    gray=0.12,
    blur=0.2,
    noise=8,
)
PLAIN_JITTER = Jitter(
    size_px=(54, 90),
    rotation_deg=12,
    stretch=0.05,
    overflow=0.0,
    flip=0.5,
    hue_deg=0,
    tone=0.12,
    gray=0.0,
    blur=0.1,
    noise=4,
)


def read_index() -> dict[str, object]:
    """The index of the sprite sheets, as tools/rasterize_emoji.py wrote it."""
    index: dict[str, object] = json.loads((HERE / "index.json").read_text(encoding="utf-8"))
    return index


def read_sheet(style: str, count: int, tile: int, columns: int) -> np.ndarray:
    """The first `count` tiles of one style's sheet, uint8 (count, tile, tile, 4)."""
    with Image.open(HERE / f"emoji-{style}.webp") as image:
        sheet = np.asarray(image.convert("RGBA"))
    rows = sheet.shape[0] // tile
    tiles = sheet.reshape(rows, tile, columns, tile, 4).transpose(0, 2, 1, 3, 4)
    return tiles.reshape(-1, tile, tile, 4)[:count]


def load_sprites(styles: Sequence[str], labels: Sequence[str]) -> Sprites:
    """All emoji of the named styles, style by style in the order of the index."""
    index = read_index()
    rows, tile, columns = index["sprites"], index["tile_px"], index["columns"]
    assert isinstance(rows, list)
    assert isinstance(tile, int)
    assert isinstance(columns, int)
    one = [labels.index(row["label"]) for row in rows]
    return Sprites(
        pixels=np.concatenate([read_sheet(style, len(rows), tile, columns) for style in styles]),
        labels=np.array(one * len(styles), np.int64),
        styles=tuple(style for style in styles for _ in rows),
        variants=tuple(row["variant"] for row in rows) * len(styles),
    )


def pictures(
    rng: np.random.Generator, sprites: np.ndarray, backgrounds: np.ndarray, jitter: Jitter
) -> np.ndarray:
    """One picture per sprite, uint8 (n, 96, 96, 3).

    `sprites` uint8 (n, t, t, 4); `backgrounds` uint8 (m, b, b, 3) with b >= 96, of which random
    ones are cropped and flipped.
    """
    images = np.stack([crop(rng, backgrounds, SIDE) for _ in sprites]).astype(np.float32)
    layers = np.stack([place(rng, recolor(rng, s, jitter), jitter) for s in sprites])
    alpha = layers[..., 3:].astype(np.float32) / 255
    images += alpha * (layers[..., :3] - images)
    return expose(rng, images, jitter)


def expose(rng: np.random.Generator, images: np.ndarray, jitter: Jitter) -> np.ndarray:
    """Float32 (n, s, s, 3) in 0..255 as a camera would take them: uint8 of another contrast and
    brightness, with grain, some of them out of focus.
    """
    count = len(images)
    gain = rng.uniform(1 - jitter.tone / 2, 1 + jitter.tone / 2, (count, 1, 1, 1))
    offset = rng.uniform(-40, 40, (count, 1, 1, 1)) * jitter.tone
    deviation = rng.uniform(0, jitter.noise, (count, 1, 1, 1)).astype(np.float32)
    grain = rng.standard_normal(images.shape, np.float32) * deviation
    images = (images - 128) * gain.astype(np.float32) + (128 + offset.astype(np.float32))
    images = np.clip(np.rint(images + grain), 0, 255)
    return np.stack([soften(rng, p, jitter) for p in images.astype(np.uint8)])


def crop(rng: np.random.Generator, backgrounds: np.ndarray, side: int) -> np.ndarray:
    """A random side x side window of a random background, flipped half of the time."""
    slack = backgrounds.shape[1] - side
    which = rng.integers(len(backgrounds))
    top, left = rng.integers(0, slack + 1, 2)
    window = backgrounds[which, top : top + side, left : left + side]
    return window[:, ::-1] if rng.random() < 0.5 else window


def recolor(rng: np.random.Generator, sprite: np.ndarray, jitter: Jitter) -> np.ndarray:
    """A sprite with its hue, saturation, contrast and brightness moved; uint8 (t, t, 4)."""
    saturation = (
        0.0 if rng.random() < jitter.gray else rng.uniform(1 - jitter.tone, 1 + jitter.tone)
    )
    angle = np.deg2rad(rng.uniform(-jitter.hue_deg, jitter.hue_deg))
    gain = rng.uniform(1 - jitter.tone, 1 + jitter.tone)
    channel = rng.uniform(1 - jitter.tone / 3, 1 + jitter.tone / 3, 3)
    offset = rng.uniform(-64, 64) * jitter.tone
    matrix = gain * channel[:, None] * color_matrix(angle, saturation)
    rgb = (sprite[..., :3].astype(np.float32) - 128) @ matrix.T.astype(np.float32) + (128 + offset)
    result = sprite.copy()
    result[..., :3] = np.clip(np.rint(rgb), 0, 255)
    return result


def color_matrix(angle: float, saturation: float) -> np.ndarray:
    """(3, 3): rotate about the gray axis by `angle`, then scale the distance from it."""
    third, cosine, sine = 1 / 3, np.cos(angle), np.sin(angle) / np.sqrt(3)
    rotation = np.full((3, 3), third * (1 - cosine)) + cosine * np.eye(3)
    rotation += sine * np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
    gray = np.full((3, 3), third)
    result: np.ndarray = gray + saturation * (rotation - gray)
    return result


def place(rng: np.random.Generator, sprite: np.ndarray, jitter: Jitter) -> np.ndarray:
    """The sprite scaled, turned and moved onto an empty picture; uint8 (96, 96, 4)."""
    size = rng.uniform(*jitter.size_px)
    room = max(0.0, (SIDE - size) / 2) + jitter.overflow * size
    return warp(rng, sprite, jitter, size, SIDE / 2 + rng.uniform(-room, room, 2), SIDE)


def warp(
    rng: np.random.Generator,
    sprite: np.ndarray,
    jitter: Jitter,
    size: float,
    center: np.ndarray,
    side: int,
) -> np.ndarray:
    """The sprite, `size` pixels long and turned, at a center (x, y); uint8 (side, side, 4).

    Of the jitter, all but the size and the position count. Turning and shearing keep the area.
    """
    angle = np.deg2rad(rng.uniform(-jitter.rotation_deg, jitter.rotation_deg))
    ratio, shear = np.exp(rng.uniform(-jitter.stretch, jitter.stretch) / 2), jitter.stretch
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    bend = np.array([[ratio, rng.uniform(-shear, shear) / 2], [0.0, 1 / ratio]])
    if rng.random() < jitter.flip:
        bend[:, 0] *= -1
    tile = sprite.shape[0]
    inverse = np.linalg.inv(turn @ bend * (size / tile))
    shift = tile / 2 - inverse @ center
    data = (*inverse[0], shift[0], *inverse[1], shift[1])
    layer = Image.fromarray(sprite).transform(
        (side, side),
        Image.Transform.AFFINE,
        tuple(float(v) for v in data),
        resample=Image.Resampling.BILINEAR,
    )
    return np.asarray(layer)


def soften(rng: np.random.Generator, picture: np.ndarray, jitter: Jitter) -> np.ndarray:
    """Now and then, a picture slightly out of focus; uint8 (s, s, 3)."""
    if rng.random() >= jitter.blur:
        return picture
    blur = ImageFilter.GaussianBlur(rng.uniform(0.3, 1.2))
    return np.asarray(Image.fromarray(picture).filter(blur))
