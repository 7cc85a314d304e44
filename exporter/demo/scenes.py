"""Pictures of several emoji with exact boxes and masks: what the detector and the segmenter see.

Later emoji hide earlier ones. A box encloses the whole emoji as far as it lies in the picture, a
mask shows what is visible; none is hidden or cut off so far that less than `MIN_VISIBLE` of it is
left. Everything follows from a seed; nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from exporter.demo import LABELS, SCENES_LABELS, TEST_STYLE, TRAIN_STYLES, backgrounds
from exporter.demo.compose import (
    PLAIN_JITTER,
    TRAIN_JITTER,
    Jitter,
    Sprites,
    crop,
    expose,
    load_sprites,
    recolor,
    warp,
)

COUNT = 200  # pictures of the test split
SCENES_SEED = 20_260_202
MOST_OBJECTS = 4  # on one picture
SIZES = (0.34, 0.75)  # longest side of an emoji, in sides of the picture
OVERFLOW = 0.08  # share of the emoji's side that may leave the picture
SOLID = 128  # alpha from which on a pixel is the emoji's
MIN_VISIBLE = 0.65  # of an emoji's area
TRIES = 5  # places for an emoji, before it is left out
SLACK = 0.2  # sides of the picture that a background is larger
BACKGROUNDS = 120  # each cropped anew for every picture
MILD_JITTER = replace(TRAIN_JITTER, rotation_deg=15, stretch=0.1)  # for less time to learn in
_CALIBRATION_STREAM, _TRAINING_STREAM = 2, 3


@dataclass(frozen=True, kw_only=True, eq=False)
class Scenes:
    """Pictures and what is on them; the emoji of a picture in the order of drawing, topmost last.

    Classes are places in `demo.SCENES_LABELS`, so 0 is the background.
    """

    pixels: np.ndarray  # uint8 (n, side, side, 3), RGB
    boxes: tuple[np.ndarray, ...]  # float32 (m, 4) each: x1, y1, x2, y2 in fractions of the side
    classes: tuple[np.ndarray, ...]  # int64 (m,) each, from 1 on
    masks: np.ndarray  # uint8 (n, side, side), classes of the pixels


@dataclass(frozen=True, kw_only=True, eq=False)
class _Scene:
    """One of them, before it is exposed."""

    image: np.ndarray  # float32 (side, side, 3)
    boxes: np.ndarray
    classes: np.ndarray
    mask: np.ndarray


def unseen_scenes(side: int, count: int = COUNT, seed: int = SCENES_SEED) -> Scenes:
    """The test split: the unseen style over the unseen families of backgrounds.

    `seed` draws other scenes of the same emoji. Every emoji is shown once before any is shown
    again, so any part of the split is a fair sample.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    sprites = _objects((TEST_STYLE,))
    scenery = paint(rng, backgrounds.TEST_FAMILIES, BACKGROUNDS, side)
    return draw(rng, sprites, _rounds(rng, len(sprites.labels)), scenery, PLAIN_JITTER, side, count)


def calibration_scenes(side: int, count: int, seed: int = 0) -> np.ndarray:
    """Uint8 (count, side, side, 3) RGB pictures of the training styles and backgrounds."""
    rng = np.random.Generator(np.random.PCG64([seed, _CALIBRATION_STREAM]))
    sprites = _objects(TRAIN_STYLES)
    scenery = paint(rng, backgrounds.TRAIN_SCENERY, min(count, BACKGROUNDS), side)
    return draw(rng, sprites, _by_class(rng, sprites), scenery, PLAIN_JITTER, side, count).pixels


def training_scenes(side: int, batch: int, scenery: int, seed: int) -> Iterator[Scenes]:
    """Endless batches over `scenery` backgrounds; each class is equally likely."""
    rng = np.random.Generator(np.random.PCG64([seed, _TRAINING_STREAM]))
    sprites = _objects(TRAIN_STYLES)
    painted = paint(rng, backgrounds.TRAIN_SCENERY, scenery, side)
    order = _by_class(rng, sprites)
    while True:
        yield draw(rng, sprites, order, painted, MILD_JITTER, side, batch)


def paint(
    rng: np.random.Generator, families: tuple[backgrounds.Family, ...], count: int, side: int
) -> np.ndarray:
    """Backgrounds with room to crop pictures of a side from them."""
    return backgrounds.paint(rng, families, count, round(side * (1 + SLACK)))


def draw(
    rng: np.random.Generator,
    sprites: Sprites,
    order: Iterator[int],
    scenery: np.ndarray,
    jitter: Jitter,
    side: int,
    count: int,
) -> Scenes:
    """`count` pictures of the sprites that `order` names one after the other."""
    scenes = []
    for _ in range(count):
        chosen = [next(order) for _ in range(rng.integers(1, MOST_OBJECTS + 1))]
        background = crop(rng, scenery, side).astype(np.float32)
        scenes.append(_arrange(rng, sprites, chosen, background, jitter))
    return Scenes(
        pixels=expose(rng, np.stack([s.image for s in scenes]), jitter),
        boxes=tuple(s.boxes for s in scenes),
        classes=tuple(s.classes for s in scenes),
        masks=np.stack([s.mask for s in scenes]),
    )


def _arrange(
    rng: np.random.Generator,
    sprites: Sprites,
    chosen: list[int],
    background: np.ndarray,
    jitter: Jitter,
) -> _Scene:
    """The chosen sprites over a background (side, side, 3), which they change."""
    image, side = background, len(background)
    owner = np.zeros((side, side), np.uint8)  # the emoji that a pixel shows, from 1 on
    classes, areas, boxes = [0], [0.0], []
    for index in chosen:
        sprite = recolor(rng, sprites.pixels[index], jitter)
        for _ in range(TRIES):
            size = rng.uniform(*SIZES) * side
            layer = warp(rng, sprite, jitter, size, _center(rng, size, side), side)
            solid = layer[..., 3] >= SOLID
            area = np.count_nonzero(sprite[..., 3] >= SOLID) * (size / len(sprite)) ** 2
            covered = np.where(solid, np.uint8(len(classes)), owner)
            visible = np.bincount(covered.ravel(), minlength=len(classes) + 1)[1:]
            if (visible >= MIN_VISIBLE * np.array([*areas[1:], area])).all():
                _blend(image, layer)
                owner = covered
                areas.append(area)
                boxes.append(_extent(solid))
                classes.append(int(sprites.labels[index]))
                break
    return _Scene(
        image=image,
        boxes=np.array(boxes, np.float32).reshape(-1, 4) / np.float32(side),
        classes=np.array(classes[1:], np.int64),
        mask=np.array(classes, np.uint8)[owner],
    )


def _center(rng: np.random.Generator, size: float, side: int) -> np.ndarray:
    room = (side - size) / 2 + OVERFLOW * size
    return side / 2 + rng.uniform(-room, room, 2)


def _blend(image: np.ndarray, layer: np.ndarray) -> None:
    """Lay a uint8 (side, side, 4) over a float32 (side, side, 3), where there is something."""
    x1, y1, x2, y2 = _extent(layer[..., 3] > 0)
    part, over = image[y1:y2, x1:x2], layer[y1:y2, x1:x2].astype(np.float32)
    part += over[..., 3:] / 255 * (over[..., :3] - part)


def _extent(solid: np.ndarray) -> tuple[int, int, int, int]:
    """x1, y1, x2, y2 in pixels of what is set in a bool (side, side), the far edges exclusive."""
    rows, columns = np.flatnonzero(solid.any(1)), np.flatnonzero(solid.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _objects(styles: Sequence[str]) -> Sprites:
    """The emoji of the styles that have one of `SCENES_LABELS`, labeled with its place there."""
    sprites = load_sprites(styles, LABELS)
    names = [LABELS[label] for label in sprites.labels]
    kept = [i for i, name in enumerate(names) if name in SCENES_LABELS]
    return Sprites(
        pixels=sprites.pixels[kept],
        labels=np.array([SCENES_LABELS.index(names[i]) for i in kept], np.int64),
        styles=tuple(sprites.styles[i] for i in kept),
        variants=tuple(sprites.variants[i] for i in kept),
    )


def _rounds(rng: np.random.Generator, count: int) -> Iterator[int]:
    """0 to count - 1 in a new random order, again and again."""
    while True:
        yield from rng.permutation(count)


def _by_class(rng: np.random.Generator, sprites: Sprites) -> Iterator[int]:
    """A random sprite of every class in turn, the classes in a new random order every time."""
    members = [np.flatnonzero(sprites.labels == i) for i in np.unique(sprites.labels)]
    for label in _rounds(rng, len(members)):
        yield int(rng.choice(members[label]))
