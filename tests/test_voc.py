"""Pascal VOC: pixels counted from 1, lists, and XML as tools write it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from object_data import save_mask, save_picture, save_turned, voc_list, voc_object, voc_xml

from exporter.errors import DataError
from exporter.segmentation import IGNORED
from exporter.training.objects import ObjectSource, open_mask_splits, open_object_splits
from exporter.training.voc import CLASSES

DIFFICULT = "<difficult>1</difficult>"


def add(root: Path, name: str, xml: str, seed: int = 0) -> None:
    save_picture(root / "JPEGImages" / f"{name}.jpg", seed)
    file = root / "Annotations" / f"{name}.xml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(xml)


def dogs(root: Path, count: int = 6) -> Path:
    for number in range(count):
        add(root, f"{number:04}", voc_xml(voc_object("dog", (11, 6, 20, 15))), number)
    return root


def one(root: Path, xml: str) -> ObjectSource:
    """The source of one annotation, validated on another."""
    add(root, "a", xml)
    add(root, "b", voc_xml(voc_object("dog", (1, 1, 5, 5))), 1)
    voc_list(root, "Main", "train", ["a"])
    voc_list(root, "Main", "val", ["b"])
    return open_object_splits(root).train


@pytest.mark.parametrize("place", [".", "VOC2012", "VOCdevkit/VOC2012"])
def test_lists_say_the_parts(tmp_path: Path, place: str) -> None:
    root = dogs(tmp_path / place)
    voc_list(root, "Main", "train", ["0000", "0002  1", "", "0003"])
    voc_list(root, "Main", "val", ["0001"])
    splits = open_object_splits(tmp_path)
    assert splits.train.labels == ("background", *CLASSES)
    names = [Path(splits.train.name(i)).name for i in range(len(splits.train))]
    assert names == ["0000.jpg", "0002.jpg", "0003.jpg"]
    assert Path(splits.val.name(0)) == root / "JPEGImages" / "0001.jpg"
    assert splits.train.objects(0).classes.tolist() == [1 + CLASSES.index("dog")]


def test_a_box_of_pixels_1_to_40_is_the_whole_width(tmp_path: Path) -> None:
    boxes = voc_object("dog", (1, 1, 40, 30)) + voc_object("cat", (11, 6.0, 20, 15))
    source = one(tmp_path, voc_xml(boxes))
    expected = np.float32([[0, 0, 1, 1], [10 / 40, 5 / 30, 20 / 40, 15 / 30]])
    np.testing.assert_array_equal(source.objects(0).boxes, expected)


def test_difficult_objects_are_ignored(tmp_path: Path) -> None:
    boxes = (
        voc_object("dog", (1, 1, 9, 9), DIFFICULT)
        + voc_object("dog", (1, 1, 9, 9), "<difficult>0</difficult>")
        + voc_object("dog", (1, 1, 9, 9))
    )
    assert one(tmp_path, voc_xml(boxes)).objects(0).ignored.tolist() == [True, False, False]


@pytest.mark.parametrize("size", ["", "<size/>", "<size><width>0</width><height>0</height></size>"])
def test_a_size_that_is_not_said_is_the_pictures(tmp_path: Path, size: str) -> None:
    source = one(tmp_path, voc_xml(voc_object("dog", (1, 1, 20, 15)), size))
    np.testing.assert_array_equal(source.objects(0).boxes, [[0, 0, 0.5, 0.5]])


def test_boxes_follow_a_picture_that_is_turned_upright(tmp_path: Path) -> None:
    add(tmp_path, "a", "")
    save_turned(tmp_path / "JPEGImages" / "a.jpg")
    xml = voc_xml(voc_object("dog", (1, 1, 20, 15)))
    (tmp_path / "Annotations" / "a.xml").write_text(xml)
    add(tmp_path, "b", xml)
    train = voc_list(tmp_path, "Main", "train", ["a"])
    voc_list(tmp_path, "Main", "val", ["b"])
    source = open_object_splits(train, val=tmp_path).train
    np.testing.assert_allclose(source.objects(0).boxes, [[0.5, 0, 1, 0.5]])


def test_other_classes_are_sorted(tmp_path: Path) -> None:
    source = one(
        tmp_path, voc_xml(voc_object("zebra", (1, 1, 9, 9)) + voc_object("dog", (1, 1, 9, 9)))
    )
    assert source.labels == ("background", "dog", "zebra")


def test_pictures_without_objects_are_kept(tmp_path: Path) -> None:
    for number in range(10):
        box = voc_object("dog", (1, 1, 9, 9)) if number % 2 else ""
        add(tmp_path, f"{number}", voc_xml(box), number)
    splits = open_object_splits(tmp_path)
    assert (len(splits.train), len(splits.val)) == (8, 2)
    assert {len(splits.val.objects(i).boxes) for i in range(2)} == {0, 1}


def test_without_lists_a_share_is_held_out_by_name(tmp_path: Path) -> None:
    first = open_object_splits(dogs(tmp_path / "here", 20))
    moved = open_object_splits(dogs(tmp_path / "there", 20))
    other = open_object_splits(tmp_path / "here", split_seed=1, val_share=0.2)
    held = [Path(first.val.name(i)).name for i in range(len(first.val))]
    assert held == [Path(moved.val.name(i)).name for i in range(len(moved.val))]
    assert len(first.val) == 2
    assert len(other.val) == 4


def test_trainval_is_divided_where_no_list_says_how(tmp_path: Path) -> None:
    dogs(tmp_path, 12)
    voc_list(tmp_path, "Main", "trainval", [f"{i:04}" for i in range(10)])
    splits = open_object_splits(tmp_path)
    assert (len(splits.train), len(splits.val)) == (9, 1)


def test_several_years_are_named(tmp_path: Path) -> None:
    for year in ("VOC2007", "VOC2012"):
        dogs(tmp_path / year, 1)
    with pytest.raises(DataError, match="holds VOC2007, VOC2012"):
        open_object_splits(tmp_path)


def test_a_missing_picture_is_skipped_and_named(tmp_path: Path) -> None:
    dogs(tmp_path)
    (tmp_path / "JPEGImages" / "0003.jpg").unlink()
    splits = open_object_splits(tmp_path)
    assert len(splits.train) + len(splits.val) == 5
    assert any("0003.jpg" in note for note in splits.notes)


BOMB = (
    '<!DOCTYPE a [<!ENTITY x "xxxxxxxxxx"><!ENTITY y "&x;&x;&x;&x;&x;&x;&x;&x;">]>'
    "<annotation><filename>&y;</filename></annotation>"
)


@pytest.mark.parametrize(
    ("xml", "told"),
    [
        ("", "not XML of an annotation"),
        ("<annotation>", "not XML of an annotation"),
        ('<?xml version="1.0" encoding="nonsense"?><annotation/>', "not XML of an annotation"),
        (BOMB, "document type"),
        ("<html/>", "<html> instead of <annotation>"),
        (voc_xml("<object><name>dog</name></object>"), "object 1: bndbox: None is not a number"),
        (voc_xml(voc_object("dog", (1, 1, 5, "nan"))), "object 1: bndbox: 'nan' is not a number"),
        (voc_xml(voc_object("dog", (1, 1, 5, 5)) + voc_object("", (1, 1, 5, 5))), "object 2: "),
        (voc_xml("", "<size><width>x</width><height>3</height></size>"), "size: 'x'"),
    ],
)
def test_a_malformed_annotation_is_named(tmp_path: Path, xml: str, told: str) -> None:
    with pytest.raises(DataError) as caught:
        one(tmp_path, xml)
    assert str(tmp_path / "Annotations" / "a.xml") in caught.value.message
    assert told in caught.value.message
    assert "\n" not in caught.value.message


def test_a_document_type_is_refused_in_every_encoding(tmp_path: Path) -> None:
    dogs(tmp_path, 2)
    text = '<?xml version="1.0" encoding="utf-16"?>' + BOMB
    (tmp_path / "Annotations" / "0000.xml").write_bytes(text.encode("utf-16"))
    with pytest.raises(DataError, match="document type"):
        open_object_splits(tmp_path)


def test_what_a_list_names_must_have_an_annotation(tmp_path: Path) -> None:
    dogs(tmp_path, 2)
    voc_list(tmp_path, "Main", "train", ["0000", "gone"])
    with pytest.raises(DataError, match=r"gone\.xml: cannot be read"):
        open_object_splits(tmp_path)


# --- SegmentationClass


def segmented(root: Path) -> Path:
    """Six pictures: a dog's square with an outline that is ignored."""
    values = np.zeros((30, 40), np.uint8)
    values[4:16, 9:21] = IGNORED
    values[5:15, 10:20] = 1 + CLASSES.index("dog")
    for number in range(6):
        save_picture(root / "JPEGImages" / f"{number}.jpg", number)
        save_mask(root / "SegmentationClass" / f"{number}.png", values)
    voc_list(root, "Segmentation", "train", ["0", "1", "2"])
    voc_list(root, "Segmentation", "val", ["3"])
    return root


def test_masks_hold_the_palettes_indices(tmp_path: Path) -> None:
    splits = open_mask_splits(segmented(tmp_path))
    assert splits.train.labels == ("background", *CLASSES)
    assert (len(splits.train), len(splits.val)) == (3, 1)
    mask = splits.train.mask(0)
    assert mask.dtype == np.uint8
    assert mask.shape == (30, 40)
    assert (mask[5:15, 10:20] == 12).all()
    assert (mask == IGNORED).sum() == 144 - 100


def test_a_listed_picture_needs_its_mask(tmp_path: Path) -> None:
    segmented(tmp_path)
    (tmp_path / "SegmentationClass" / "1.png").unlink()
    with pytest.raises(DataError, match=r"train\.txt: 1 has no mask .*1\.png"):
        open_mask_splits(tmp_path)
