"""Calibration images: found, split without sharing, filled up."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_preprocess import picture

from exporter.data import find_images, load_image_set
from exporter.errors import DataError
from exporter.spec import keras_preprocess

CONTRACT = keras_preprocess(48)


def test_two_photos_are_enough_and_share_no_pixel(tmp_path: Path) -> None:
    """The left part is dark, the right part bright: no image mixes the two."""
    for index in range(2):
        pixels = np.full((100, 200, 3), 10, np.uint8)
        pixels[:, 100:] = 240
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
    images = load_image_set([tmp_path], CONTRACT, count=8)
    assert images.calibration.shape == (8, 48, 48, 3)
    assert images.calibration.max() == 10
    assert images.holdout.min() == 240


def test_many_photos_are_split_whole(tmp_path: Path) -> None:
    for index in range(20):
        Image.new("RGB", (60, 60), (index, index, index)).save(tmp_path / f"{index:02d}.png")
    images = load_image_set([tmp_path], CONTRACT, count=16)
    used, held = set(np.unique(images.calibration)), set(np.unique(images.holdout))
    assert held == {4, 9, 14, 19}
    assert not used & held


def test_the_same_photos_give_the_same_images(tmp_path: Path) -> None:
    picture(120, 90).save(tmp_path / "a.png")
    one, two = (load_image_set([tmp_path], CONTRACT, count=8) for _ in range(2))
    assert one.sha256 == two.sha256
    assert np.array_equal(one.holdout, two.holdout)


def test_one_bad_file_among_many_is_skipped_and_named(tmp_path: Path) -> None:
    for index in range(12):
        picture(60, 60).save(tmp_path / f"{index}.png")
    (tmp_path / "bad.jpg").write_bytes(b"not a jpeg")
    images = load_image_set([tmp_path], CONTRACT, count=8)
    assert len(images.notes) == 1
    assert "bad.jpg" in images.notes[0]


@pytest.mark.parametrize("bad", [1, 3])
def test_mostly_bad_files_are_refused(tmp_path: Path, bad: int) -> None:
    for index in range(bad):
        (tmp_path / f"bad{index}.jpg").write_bytes(b"not a jpeg")
    with pytest.raises(DataError, match=f"{bad} of {bad} images cannot be read"):
        load_image_set([tmp_path], CONTRACT)


def test_an_empty_folder_and_a_missing_one_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no images found"):
        find_images([tmp_path])
    with pytest.raises(DataError, match="no such file"):
        find_images([tmp_path / "nowhere"])


def test_files_and_folders_are_found_once_each(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    photo = tmp_path / "deep" / "er" / "a.JPG"
    picture(20, 20).save(photo)
    (tmp_path / "notes.txt").write_text("no image")
    assert find_images([tmp_path, photo]) == [photo]


def test_a_photo_without_pixels_is_refused(tmp_path: Path) -> None:
    picture(1, 1).save(tmp_path / "dot.png")
    with pytest.raises(DataError, match="1 x 1 pixels"):
        load_image_set([tmp_path], CONTRACT, count=4)


def test_what_a_build_left_there_is_no_photo(tmp_path: Path) -> None:
    golden = tmp_path / "build" / "golden"
    golden.mkdir(parents=True)
    (golden / "expected.json").write_text("{}")
    picture(30, 30).save(golden / "00-black.png")
    picture(30, 30).save(tmp_path / "mine.png")
    picture(30, 30).save(tmp_path / "._mine.png")
    assert find_images([tmp_path]) == [tmp_path / "mine.png"]


def test_big_photos_are_kept_small(tmp_path: Path) -> None:
    """Crops come from at most three times the network's input, whole photos from the original."""
    from exporter.data import _read_all

    picture(600, 900).save(tmp_path / "big.png")
    (photo,), _ = _read_all([tmp_path / "big.png"], CONTRACT)
    assert photo.reduced.size == (144, 216)
    assert photo.pixels.shape == (48, 48, 3)
