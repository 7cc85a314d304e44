"""Views of pictures with boxes and masks: what is labeled stays where its pixels are."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from exporter.detection.records import Objects
from exporter.preprocess import to_pixels
from exporter.segmentation import IGNORED
from exporter.spec import ChannelOrder, Preprocess, keras_preprocess, torchvision_preprocess
from exporter.training.object_crops import (
    MAX_ASPECT,
    MIN_IOUS,
    cropped,
    overlaps,
    prepare_mask,
    prepare_objects,
    zoomed_out,
)
from exporter.training.windows import show, whole

SIDE = 96
STRETCH, SHORTEST = keras_preprocess(SIDE), torchvision_preprocess(SIDE)
CONTRACTS = pytest.mark.parametrize("contract", [STRETCH, SHORTEST], ids=["stretch", "shortest"])
SIZES = [(1, 1), (1, 300), (300, 1), (7, 5), (160, 120), (500, 333), (3000, 40)]


def objects(*boxes: tuple[float, ...], ignored: tuple[bool, ...] = ()) -> Objects:
    return Objects(
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        classes=np.arange(1, len(boxes) + 1),
        ignored=np.array(ignored or [False] * len(boxes), np.bool_),
    )


def with_box(size: tuple[int, int], box: tuple[int, int, int, int]) -> tuple[Image.Image, Objects]:
    """A light rectangle on a dark picture, and its box."""
    image = Image.new("RGB", size, (0, 0, 0))
    image.paste((250, 250, 250), box)
    width, height = size
    return image, objects((box[0] / width, box[1] / height, box[2] / width, box[3] / height))


def light_box(pixels: np.ndarray) -> np.ndarray:
    """Where the rectangle is seen, in pixels, in whatever light."""
    gray = pixels.mean(-1)
    light = gray >= (gray.min() + gray.max()) / 2
    rows, columns = np.flatnonzero(light.any(1)), np.flatnonzero(light.any(0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


@CONTRACTS
@pytest.mark.parametrize("seed", range(40))
def test_a_box_follows_its_pixels(contract: Preprocess, seed: int) -> None:
    """Wherever a random view has the rectangle, its box is within a pixel."""
    dark = Preprocess(
        resize_rule=contract.resize_rule,
        resize_size=contract.resize_size,
        crop_size=SIDE,
    )  # fills with black, as the picture's ground is
    image, labeled = with_box((200, 150), (60, 40, 140, 110))
    pixels, seen = prepare_objects(image, labeled, dark, np.random.default_rng(seed))
    assert pixels.shape == (SIDE, SIDE, 3)
    assert pixels.dtype == np.uint8
    assert len(seen.boxes) == 1
    np.testing.assert_allclose(seen.boxes[0] * SIDE, light_box(pixels), atol=1.0)


@CONTRACTS
@pytest.mark.parametrize("size", [(200, 150), (120, 260)])
def test_validation_sees_exactly_the_contract(contract: Preprocess, size: tuple[int, int]) -> None:
    image, labeled = with_box(size, (50, 60, 100, 110))
    pixels, seen = prepare_objects(image, labeled, contract, None)
    np.testing.assert_array_equal(pixels, to_pixels(image, contract))
    np.testing.assert_allclose(seen.boxes[0] * SIDE, light_box(pixels), atol=1.0)
    if contract is STRETCH:
        np.testing.assert_array_equal(seen.boxes, labeled.boxes)


def test_what_the_contract_crops_away_is_gone_or_ignored() -> None:
    """Of a wide picture the middle is seen."""
    image = Image.new("RGB", (400, 100))
    labeled = objects((0, 0, 0.1, 1), (0.3, 0, 0.42, 1), (0.4, 0.2, 0.6, 0.8))
    _, seen = prepare_objects(image, labeled, SHORTEST, None)
    assert seen.classes.tolist() == [2, 3]
    assert seen.ignored.tolist() == [True, False]
    assert seen.boxes[0, 0] == 0.0


def test_validation_boxes_are_the_resized_rectangle_for_any_size() -> None:
    rng = np.random.default_rng(3)
    for _ in range(20):
        width, height = (int(v) for v in rng.integers(60, 400, 2))
        left, top = width // 2 - 12, height // 2 - 12
        image, labeled = with_box((width, height), (left, top, left + 24, top + 24))
        pixels, seen = prepare_objects(image, labeled, SHORTEST, None)
        np.testing.assert_allclose(seen.boxes[0] * SIDE, light_box(pixels), atol=1.0)


@CONTRACTS
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("count", [0, 1, 5])
def test_no_view_is_degenerate(contract: Preprocess, size: tuple[int, int], count: int) -> None:
    rng = np.random.default_rng(count)
    image = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), np.uint8))
    low = rng.uniform(0, 0.9, (count, 2))
    boxes = np.concatenate([low, low + rng.uniform(0.01, 0.1, (count, 2))], 1)
    labeled = objects(*map(tuple, boxes), ignored=tuple(rng.random(count) < 0.3))
    for seed in range(12):
        pixels, seen = prepare_objects(image, labeled, contract, np.random.default_rng(seed))
        assert pixels.shape == (SIDE, SIDE, 3)
        assert (seen.boxes[:, 2:] > seen.boxes[:, :2]).all()
        assert ((seen.boxes >= 0) & (seen.boxes <= 1)).all()
        assert len(seen.boxes) == len(seen.classes) == len(seen.ignored)
        assert set(seen.classes) <= set(labeled.classes)
        assert seen.boxes.dtype == np.float32
        if (~labeled.ignored).any():
            assert (~seen.ignored).any(), "a crop keeps an object"


def test_a_crop_overlaps_an_object_by_what_was_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    window = whole((200, 150))
    boxes = np.array([[20.0, 10, 120, 90], [150, 100, 190, 140]])
    found = 0
    for least in (option for option in MIN_IOUS if option):
        monkeypatch.setattr("exporter.training.object_crops.MIN_IOUS", (least,))
        for _ in range(20):
            crop = cropped(window, boxes, rng)
            if crop is window:
                continue
            found += 1
            assert overlaps(crop, boxes).max() >= least
            assert crop.left >= 0
            assert crop.left + crop.width <= 200
            assert crop.top >= 0
            assert crop.top + crop.height <= 150
            assert 1 / MAX_ASPECT <= crop.width / crop.height <= MAX_ASPECT
    assert found > 40


def test_objects_whose_centers_lie_outside_are_gone_and_others_clipped() -> None:
    image = Image.new("RGB", (100, 100))
    labeled = objects((0.0, 0.0, 0.3, 0.3), (0.35, 0.35, 0.8, 0.8))
    sizes = set()
    for seed in range(60):
        _, seen = prepare_objects(image, labeled, STRETCH, np.random.default_rng(seed))
        sizes.add(tuple(seen.classes.tolist()))
    assert sizes == {(1,), (2,), (1, 2)}


def test_ignored_objects_stay_ignored_as_far_as_they_are_seen() -> None:
    image = Image.new("RGB", (100, 100))
    labeled = objects((0.0, 0.0, 0.5, 1.0), (0.6, 0.4, 0.8, 0.6), ignored=(True, False))
    for seed in range(40):
        _, seen = prepare_objects(image, labeled, STRETCH, np.random.default_rng(seed))
        assert (seen.classes[~seen.ignored] == 2).all()
        assert (seen.classes[seen.ignored] == 1).all()


def test_zooming_out_fills_with_what_the_network_takes_for_nothing() -> None:
    rng = np.random.default_rng(1)
    image = Image.new("RGB", (50, 40), (255, 255, 255))
    window = zoomed_out(whole(image.size), rng)
    assert window.left <= 0
    assert window.left + window.width >= 50
    assert 1.0 < window.width / 50 <= 4.1
    contract = torchvision_preprocess(64)
    pixels = np.asarray(show(image, window, contract)).reshape(-1, 3)
    others = pixels[(pixels != 255).all(1)]
    assert {tuple(p) for p in others.tolist()} == {(124, 116, 104)}
    mean = contract.mean
    bgr = Preprocess(crop_size=64, mean=mean[::-1], channel_order=ChannelOrder.BGR)
    np.testing.assert_array_equal(np.asarray(show(image, window, bgr)).reshape(-1, 3), pixels)


@CONTRACTS
def test_the_same_numbers_give_the_same_view(contract: Preprocess) -> None:
    image, labeled = with_box((200, 150), (60, 40, 140, 110))
    mask = np.zeros((150, 200), np.uint8)

    def views(seed: int) -> list[np.ndarray]:
        pixels, seen = prepare_objects(image, labeled, contract, np.random.default_rng(seed))
        both = prepare_mask(image, mask, contract, np.random.default_rng(seed))
        return [pixels, seen.boxes, *both]

    for one, two in zip(views(5), views(5), strict=True):
        np.testing.assert_array_equal(one, two)
    assert not all(map(np.array_equal, views(5), views(6)))


# --- masks


@CONTRACTS
def test_validation_masks_are_the_contracts_nearest_pixels(contract: Preprocess) -> None:
    rng = np.random.default_rng(0)
    for size in ((200, 150), (97, 131), (333, 500)):
        image = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), np.uint8))
        mask = rng.integers(0, 5, (size[1], size[0]), np.uint8)
        pixels, labels = prepare_mask(image, mask, contract, None)
        np.testing.assert_array_equal(pixels, to_pixels(image, contract))
        short = min(size)
        resized = [
            SIDE if contract is STRETCH else max(110, int(110 * side / short)) for side in size
        ]
        offsets = [round((side - SIDE) / 2) for side in resized]
        columns, rows = (
            np.floor((np.arange(SIDE) + offset + 0.5) * full / side).astype(int)
            for offset, full, side in zip(offsets, size, resized, strict=True)
        )
        agreement = (labels == mask[rows][:, columns]).mean()
        assert agreement > 0.97, "but for centers that lie between two pixels"


@CONTRACTS
@pytest.mark.parametrize("seed", range(40))
def test_a_mask_follows_its_pixels(contract: Preprocess, seed: int) -> None:
    """Label and picture agree but for pixels on an edge, and what is filled is ignored."""
    image = Image.new("RGB", (200, 150), (10, 10, 10))
    image.paste((240, 240, 240), (60, 40, 140, 110))
    mask = np.zeros((150, 200), np.uint8)
    mask[40:110, 60:140] = 1
    pixels, labels = prepare_mask(image, mask, contract, np.random.default_rng(seed))
    assert labels.shape == (SIDE, SIDE)
    assert labels.dtype == np.uint8
    assert labels.flags.writeable
    assert set(np.unique(labels)) <= {0, 1, IGNORED}
    gray = pixels.mean(-1)
    if (labels == 1).any() and (labels == 0).any():
        middle = (gray[labels == 1].mean() + gray[labels == 0].mean()) / 2
        wrong = ((gray > middle) != (labels == 1)) & (labels != IGNORED)
        assert not (wrong & inside_regions(labels)).any()


def inside_regions(labels: np.ndarray) -> np.ndarray:
    """Whose neighbors above, below and beside have the same label; not on the border."""
    inside = np.zeros(labels.shape, np.bool_)
    middle = labels[1:-1, 1:-1]
    inside[1:-1, 1:-1] = (
        (labels[:-2, 1:-1] == middle)
        & (labels[2:, 1:-1] == middle)
        & (labels[1:-1, :-2] == middle)
        & (labels[1:-1, 2:] == middle)
    )
    return inside


def test_masks_are_scaled_from_half_to_twice() -> None:
    image = Image.new("RGB", (100, 100))
    mask = np.ones((100, 100), np.uint8)
    shares = [
        (prepare_mask(image, mask, STRETCH, np.random.default_rng(s))[1] == 1).mean()
        for s in range(60)
    ]
    assert min(shares) < 0.4
    assert min(shares) >= 0.24
    assert np.mean(np.array(shares) == 1.0) > 0.4


@CONTRACTS
@pytest.mark.parametrize("size", SIZES)
def test_masks_of_any_size_are_seen(contract: Preprocess, size: tuple[int, int]) -> None:
    image = Image.new("RGB", size)
    mask = np.ones((size[1], size[0]), np.uint8)
    for seed in range(10):
        pixels, labels = prepare_mask(image, mask, contract, np.random.default_rng(seed))
        assert pixels.shape == (SIDE, SIDE, 3)
        assert set(np.unique(labels)) <= {1, IGNORED}
        assert (labels == 1).any()
