"""The pictures of the demo's detector and segmenter: repeatable, exact and without a leak."""

from __future__ import annotations

import hashlib
import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from exporter import demo
from exporter.demo import backgrounds, compose, scenes
from exporter.demo.compose import Jitter, Sprites
from exporter.demo.scenes import Scenes

SIDE = 96  # smaller than the networks', for speed
STILL = Jitter(
    size_px=(64, 64),
    rotation_deg=0,
    stretch=0,
    overflow=0,
    flip=0,
    hue_deg=0,
    tone=0,
    gray=0,
    blur=0,
    noise=0,
)


def digest(drawn: Scenes) -> str:
    arrays = (drawn.pixels, drawn.masks, *drawn.boxes, *drawn.classes)
    return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()


def extent(mask: np.ndarray) -> list[int]:
    """x1, y1, x2, y2 of what is set, found by hand."""
    rows, columns = np.nonzero(mask)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@pytest.fixture(scope="module")
def unseen() -> Scenes:
    return scenes.unseen_scenes(SIDE, 60)


def test_scenes_have_the_stated_form(unseen: Scenes) -> None:
    """One to four objects, boxes within the picture, classes of the labels but the background."""
    assert unseen.pixels.shape == (60, SIDE, SIDE, 3)
    assert unseen.masks.shape == (60, SIDE, SIDE)
    assert unseen.pixels.dtype == unseen.masks.dtype == np.uint8
    assert {len(boxes) for boxes in unseen.boxes} == set(range(1, scenes.MOST_OBJECTS + 1))
    for boxes, classes in zip(unseen.boxes, unseen.classes, strict=True):
        assert boxes.dtype == np.float32
        assert boxes.shape == (len(classes), 4)
        assert classes.dtype == np.int64
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, :2] < boxes[:, 2:]).all()
        assert (boxes[:, 2:] <= 1).all()
    shown = np.unique(np.concatenate(unseen.classes))
    assert shown.tolist() == list(range(1, len(demo.SCENES_LABELS)))


def test_scenes_follow_from_the_seed(unseen: Scenes) -> None:
    """The same bytes in another process, which loads no torch; another seed draws others."""
    code = (
        "import sys; from tests.test_demo_scenes import digest, scenes; "
        f"print(digest(scenes.unseen_scenes({SIDE}, 60))); sys.exit('torch' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,  # fails, too, if the scenes need torch
        cwd=Path(__file__).parents[1],
        env={**os.environ, "PYTHONHASHSEED": "1"},
    )
    assert result.stdout.strip() == digest(unseen)
    assert digest(scenes.unseen_scenes(SIDE, 60, seed=1)) != digest(unseen)


def test_masks_and_boxes_agree_to_the_pixel(unseen: Scenes) -> None:
    """Whatever a mask shows lies in a box of its class; the topmost emoji fills its box."""
    exact = 0
    for mask, boxes, classes in zip(unseen.masks, unseen.boxes, unseen.classes, strict=True):
        pixels = np.rint(boxes * SIDE).astype(int)
        inside = np.zeros((len(demo.SCENES_LABELS), SIDE, SIDE), bool)
        for (x1, y1, x2, y2), label in zip(pixels, classes, strict=True):
            inside[label, y1:y2, x1:x2] = True
        for label in set(np.unique(mask)) - {0}:
            assert inside[label][mask == label].all()
        assert set(np.unique(mask)) - {0} == set(classes)
        if (classes == classes[-1]).sum() == 1:
            assert extent(mask == classes[-1]) == pixels[-1].tolist()
            exact += 1
    assert exact > 30


def test_squares_are_drawn_where_they_are_said_to_be() -> None:
    """The picture shows a square's color at its mask; half of every square at least is visible."""
    count = 6
    colors = np.arange(1, count + 1, dtype=np.uint8) * 40
    pixels = np.full((count, 64, 64, 4), 255, np.uint8)
    pixels[..., :3] = colors[:, None, None, None]
    sprites = Sprites(
        pixels=pixels,
        labels=np.arange(1, count + 1),
        styles=("s",) * count,
        variants=("v",) * count,
    )
    scenery = np.full((1, SIDE, SIDE, 3), 7, np.uint8)
    rng = np.random.default_rng(0)
    drawn = scenes.draw(rng, sprites, itertools.cycle(range(count)), scenery, STILL, SIDE, 40)
    shades = np.array([7, *colors])[drawn.masks]
    same = (drawn.pixels == shades[..., None]).all(-1)
    assert same.mean() > 0.97  # all but the antialiased borders
    shares = []
    for mask, boxes, classes in zip(drawn.masks, drawn.boxes, drawn.classes, strict=True):
        corners = np.rint(boxes * SIDE).astype(int)
        widths, heights = (corners[:, 2:] - corners[:, :2]).T
        visible = np.array([np.count_nonzero(mask == label) for label in classes])
        shares.append(visible / (widths * heights))
        whole = (corners > 0).all(1) & (corners < SIDE).all(1)
        assert np.abs(widths - heights)[whole].max(initial=0) <= 1
    assert scenes.MIN_VISIBLE <= np.concatenate(shares).min() < 0.7
    assert all(share[-1] == 1 for share in shares)


def test_training_and_calibration_never_see_what_is_tested(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They open the training styles and paint the training families; the test split the others."""
    opened: set[str] = set()
    painted: set[backgrounds.Family] = set()
    read_sheet, paint = compose.read_sheet, backgrounds.paint

    def spy_read(style: str, count: int, tile: int, columns: int) -> np.ndarray:
        opened.add(style)
        return read_sheet(style, count, tile, columns)

    def spy_paint(
        rng: np.random.Generator, chosen: tuple[backgrounds.Family, ...], count: int, side: int
    ) -> np.ndarray:
        painted.update(chosen)
        return paint(rng, chosen, count, side)

    monkeypatch.setattr(compose, "read_sheet", spy_read)
    monkeypatch.setattr(backgrounds, "paint", spy_paint)
    scenes.calibration_scenes(SIDE, 2)
    next(scenes.training_scenes(SIDE, 2, 2, seed=0))
    assert opened == set(demo.TRAIN_STYLES)
    assert painted == set(backgrounds.TRAIN_SCENERY)
    opened.clear()
    painted.clear()
    scenes.unseen_scenes(SIDE, 2)
    assert opened == {demo.TEST_STYLE}
    assert painted == set(backgrounds.TEST_FAMILIES)
    assert not painted & set(backgrounds.TRAIN_SCENERY)


def test_calibration_scenes_follow_from_the_seed() -> None:
    """As many uint8 pictures as asked for, the same ones every time."""
    drawn = scenes.calibration_scenes(SIDE, 5, seed=3)
    assert drawn.dtype == np.uint8
    assert drawn.shape == (5, SIDE, SIDE, 3)
    assert (drawn == scenes.calibration_scenes(SIDE, 5, seed=3)).all()
    assert (drawn != scenes.calibration_scenes(SIDE, 5, seed=4)).any()


def test_training_scenes_show_every_class_equally_often() -> None:
    """What is drawn one after the other takes turns through the classes; few find no place."""
    drawn = next(scenes.training_scenes(SIDE, 96, 7, seed=0))
    counts = np.bincount(np.concatenate(drawn.classes), minlength=len(demo.SCENES_LABELS))[1:]
    assert counts.min() > 0.7 * counts.max()
