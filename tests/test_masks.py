"""Folders of pictures and masks, and what is wrong with masks."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from object_data import HEIGHT, WIDTH, save_mask, save_picture, save_turned
from PIL import Image

from exporter.errors import DataError
from exporter.segmentation import IGNORED
from exporter.training.objects import MaskSplits, open_mask_splits, open_object_splits

SHAPE = (HEIGHT, WIDTH)


def values_of(number: int) -> np.ndarray:
    values = np.zeros(SHAPE, np.uint8)
    values[2:9, 3:20] = 1 + number % 2
    values[20:, 30:] = IGNORED
    return values


def folder(root: Path, count: int = 10, part: str = "", *, palette: bool = True) -> Path:
    for number in range(count):
        name = f"{part}{number}"
        save_picture(root / "images" / f"{name}.jpg", number)
        save_mask(root / "masks" / f"{name}.png", values_of(number), palette)
    return root


def names(splits: MaskSplits) -> tuple[list[str], list[str]]:
    train, val = (
        [Path(source.name(i)).name for i in range(len(source))]
        for source in (splits.train, splits.val)
    )
    return train, val


@pytest.mark.parametrize("palette", [True, False])
def test_masks_are_found_by_their_pictures_names(tmp_path: Path, palette: bool) -> None:
    """Values are classes, whatever color a palette gives them; the names are made up."""
    splits = open_mask_splits(folder(tmp_path, palette=palette))
    assert splits.train.labels == ("background", "class 1", "class 2")
    assert (len(splits.train), len(splits.val)) == (9, 1)
    for source in (splits.train, pickle.loads(pickle.dumps(splits.val))):
        number = int(Path(source.name(0)).stem)
        np.testing.assert_array_equal(source.mask(0), values_of(number))
        assert source.image(0).size == (WIDTH, HEIGHT)


def test_a_share_is_held_out_by_name(tmp_path: Path) -> None:
    one = open_mask_splits(folder(tmp_path / "here", 20))
    assert names(one) == names(open_mask_splits(folder(tmp_path / "there", 20)))
    train, val = names(one)
    assert len(val) == 2
    assert not set(train) & set(val)
    assert names(open_mask_splits(tmp_path / "here", split_seed=3)) != names(one)


@pytest.mark.parametrize("inside", [True, False])
def test_parts_may_lie_inside_or_outside(tmp_path: Path, inside: bool) -> None:
    for part, count in (("train", 4), ("val", 2)):
        folder(tmp_path / ("" if inside else part), count, f"{part}/" if inside else part)
    splits = open_mask_splits(tmp_path)
    assert (len(splits.train), len(splits.val)) == (4, 2)
    assert "val" in splits.val.name(0)


def test_names_come_from_a_file(tmp_path: Path) -> None:
    folder(tmp_path)
    (tmp_path / "labels.txt").write_text("_background_\nroad\nsky\n")
    splits = open_mask_splits(tmp_path)
    assert splits.train.labels == ("background", "road", "sky")
    turned = open_mask_splits(tmp_path, labels=("background", "sky", "tree", "road")).train
    number = int(Path(turned.name(0)).stem)
    expected = np.array([0, 3, 1])[values_of(number) % IGNORED]
    expected[values_of(number) == IGNORED] = IGNORED
    np.testing.assert_array_equal(turned.mask(0), expected)
    with pytest.raises(DataError, match="'sky' is none of the 1 to train: road"):
        open_mask_splits(tmp_path, labels=("background", "road"))


@pytest.mark.parametrize("text", ["road\nsky\n", "", "background\n", "background\na\na\n"])
def test_names_that_cannot_be_used_are_refused(tmp_path: Path, text: str) -> None:
    folder(tmp_path, 2)
    (tmp_path / "labels.txt").write_text(text)
    with pytest.raises(DataError, match=r"labels\.txt"):
        open_mask_splits(tmp_path)


def test_a_mask_of_stored_pixels_follows_its_picture(tmp_path: Path) -> None:
    folder(tmp_path, 3)
    for number in range(3):
        save_turned(tmp_path / "images" / f"{number}.jpg")
    values = np.zeros(SHAPE, np.uint8)
    values[: HEIGHT // 2, : WIDTH // 2] = 1
    save_mask(tmp_path / "masks" / "0.png", values)
    save_mask(tmp_path / "masks" / "1.png", np.rot90(values, -1))
    save_mask(tmp_path / "masks" / "2.png", values)
    splits = open_mask_splits(tmp_path)
    for source in (splits.train, splits.val):
        for index in range(len(source)):
            red = np.asarray(source.image(index))[..., 0] > 128
            np.testing.assert_array_equal(source.mask(index) == 1, red)


def test_pictures_without_masks_are_left_out(tmp_path: Path) -> None:
    folder(tmp_path, 5)
    (tmp_path / "masks" / "3.png").unlink()
    splits = open_mask_splits(tmp_path)
    assert len(splits.train) + len(splits.val) == 4
    assert any("left out 1 pictures without a mask" in note for note in splits.notes)
    for mask in (tmp_path / "masks").iterdir():
        mask.rename(mask.with_stem(f"{mask.stem}_mask"))
    with pytest.raises(DataError, match=r"0\.jpg needs .*masks.0\.png"):
        open_mask_splits(tmp_path)


def test_damaged_masks_and_pictures_are_skipped_up_to_the_limit(tmp_path: Path) -> None:
    folder(tmp_path)
    (tmp_path / "masks" / "3.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "images" / "4.jpg").write_bytes(b"x")
    splits = open_mask_splits(tmp_path)
    assert len(splits.train) + len(splits.val) == 8
    assert sum("3.png" in note or "4.jpg" in note for note in splits.notes) == 2
    with pytest.raises(DataError, match="2 of 10 images cannot be read"):
        open_mask_splits(tmp_path, corrupt_limit=1)


def broken(tmp_path: Path, values: np.ndarray) -> str:
    folder(tmp_path, 4)
    Image.fromarray(values).save(tmp_path / "masks" / "2.png")
    with pytest.raises(DataError) as caught:
        open_mask_splits(tmp_path, labels=("background", "road", "sky"))
    assert str(tmp_path / "masks" / "2.png") in caught.value.message
    assert caught.value.hint
    return caught.value.message + " " + caught.value.hint


def test_a_mask_of_colors_is_refused(tmp_path: Path) -> None:
    told = broken(tmp_path, np.zeros((*SHAPE, 3), np.uint8))
    assert "mode RGB" in told
    assert "palette or gray" in told


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    told = broken(tmp_path, np.zeros((HEIGHT, WIDTH - 1), np.uint8))
    assert "39 x 30 pixels, the picture has 40 x 30" in told


def test_a_value_beyond_the_classes_is_refused(tmp_path: Path) -> None:
    assert "value 7 is no class, there are 0 to 2" in broken(tmp_path, np.full(SHAPE, 7, np.uint8))


@pytest.mark.parametrize("value", [0, IGNORED])
def test_masks_of_nothing_teach_nothing(tmp_path: Path, value: int) -> None:
    """255 is white in a black and white mask, and ignored here."""
    folder(tmp_path, 4)
    for number in range(4):
        save_mask(tmp_path / "masks" / f"{number}.png", np.full(SHAPE, value))
    with pytest.raises(DataError, match="no mask to train on shows anything"):
        open_mask_splits(tmp_path)


def test_more_classes_than_values_are_refused(tmp_path: Path) -> None:
    labels = ("background", *map(str, range(255)))
    with pytest.raises(DataError, match="256 classes do not fit"):
        open_mask_splits(folder(tmp_path, 4), labels=labels)


def test_masks_are_no_boxes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="masks, but no boxes"):
        open_object_splits(folder(tmp_path, 2))
