"""From a photo through the real preprocessing to the network's input, and back."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image

from exporter.framing import Framing
from exporter.preprocess import to_pixels
from exporter.spec import Preprocess, ResizeRule, keras_preprocess, torchvision_preprocess

SIDE = 96
CONTRACTS = {
    "stretch": keras_preprocess(SIDE),
    "center crop": torchvision_preprocess(SIDE),
    "crop of little": Preprocess(resize_size=SIDE + 1, crop_size=SIDE),
}
SIZES = [(640, 427), (427, 640), (97, 96), (300, 40), (40, 300), (1, 5), (5, 1), (33, 33)]
LARGE = [(5000, 3001), (12000, 90)]
CASES = [(name, size) for name in CONTRACTS for size in SIZES + LARGE] + [("stretch", (1, 700))]


def middle(framing: Framing) -> tuple[int, int, int, int]:
    """A box that is seen whole, off the center by a little, as long and as high as it can be."""
    width, height = framing.width, framing.height
    if framing.contract.resize_rule is ResizeRule.STRETCH:
        reach_x, reach_y = width // 4, height // 4
    else:
        reach_x = reach_y = min(width, height) // 4
    x, y = width // 2 + reach_x // 4, height // 2 - reach_y // 4
    return x - reach_x, y - reach_y, x + reach_x + 1, y + reach_y + 1


def drawn(framing: Framing) -> Image.Image:
    """A white box on black."""
    photo = Image.new("RGB", (framing.width, framing.height))
    photo.paste((255, 255, 255), middle(framing))
    return photo


def pixel_of_input(framing: Framing) -> tuple[float, float]:
    """Width and height of a pixel of the input, in the photo's pixels."""
    left, top, right, bottom = framing.edges
    return (right - left) / SIDE, (bottom - top) / SIDE


def framing_of(size: tuple[int, int], contract: Preprocess) -> Framing:
    return Framing(width=size[0], height=size[1], contract=contract)


@pytest.mark.parametrize(("name", "size"), CASES)
def test_a_box_comes_back_to_where_it_was_drawn(name: str, size: tuple[int, int]) -> None:
    """Within a pixel of the network's input, or of the photo where that is larger."""
    framing = framing_of(size, CONTRACTS[name])
    shown = to_pixels(drawn(framing), framing.contract)[..., 0] > 127
    rows, columns = np.flatnonzero(shown.any(1)), np.flatnonzero(shown.any(0))
    corners = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    (box,) = framing.boxes_to_photo(np.array([corners], np.float32) / SIDE)
    allowed = np.maximum(np.array(pixel_of_input(framing) * 2), 0.5)
    assert (np.abs(box - middle(framing)) <= allowed + 1e-3).all(), (box, middle(framing))


@pytest.mark.parametrize(("name", "size"), CASES)
def test_labels_come_back_to_where_they_were_seen(name: str, size: tuple[int, int]) -> None:
    """Only pixels beside the drawn edges may differ."""
    framing = framing_of(size, CONTRACTS[name])
    labels = (to_pixels(drawn(framing), framing.contract)[..., 0] > 127).astype(np.uint8)
    found = framing.labels_to_photo(labels)
    assert found.shape == (size[1], size[0])
    left, top, right, bottom = middle(framing)
    x, y = (math.ceil(max(v, 0.5)) for v in pixel_of_input(framing))
    inside = found[top + y : bottom - y, left + x : right - x]
    assert (inside == 1).all()
    around = found.copy()
    around[max(0, top - y) : bottom + y, max(0, left - x) : right + x] = 0
    assert not around.any()


def test_what_was_cropped_away_has_no_label() -> None:
    """224 of 256 pixels of the shorter side, centered; nothing in the rest."""
    framing = framing_of((1000, 512), torchvision_preprocess(224))
    assert framing.edges == (276, 32, 724, 480)
    found = framing.labels_to_photo(np.full((224, 224), 7, np.uint8))
    assert (found[32:480, 276:724] == 7).all()
    assert found.sum() == 7 * 448 * 448
    assert framing.share == pytest.approx(448 * 448 / 512_000)


def test_a_stretched_photo_is_seen_whole() -> None:
    framing = framing_of((1000, 3), keras_preprocess(224))
    assert framing.edges == (0, 0, 1000, 3)
    assert framing.share == 1.0
    assert (framing.labels_to_photo(np.full((224, 224), 9, np.uint8)) == 9).all()


def test_boxes_are_cut_off_where_the_network_saw_nothing() -> None:
    framing = framing_of((1000, 512), torchvision_preprocess(224))
    boxes = np.array([[-0.5, 0.25, 2.0, 0.5], [-np.inf, 0.0, np.inf, 1.0], [2.0, 0.0, 3.0, 1.0]])
    found = framing.boxes_to_photo(boxes)
    assert found[0].tolist() == [276, 144, 724, 256]
    assert found[1].tolist() == [276, 32, 724, 480]
    assert found[2, 0] == found[2, 2]  # no area is left


def test_labels_keep_their_places_in_a_photo_of_the_same_size() -> None:
    labels = np.arange(224 * 224).reshape(224, 224).astype(np.uint8)
    framing = framing_of((224, 224), keras_preprocess(224))
    assert np.array_equal(framing.labels_to_photo(labels), labels)
