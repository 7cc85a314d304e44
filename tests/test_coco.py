"""COCO's JSON, wherever its images lie and whatever is wrong with it."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from object_data import HEIGHT, WIDTH, annotation, coco, coco_folder, save_picture, save_turned
from PIL import Image

from exporter.errors import DataError, MissingDependencyError
from exporter.preprocess import read_image
from exporter.segmentation import IGNORED
from exporter.training.objects import MaskSource, ObjectSource, open_mask_splits, open_object_splits

LABELS = ("background", "dog", "toothbrush")
SQUARE = [[10, 5, 20, 5, 20, 15, 10, 15]]


def one(tmp_path: Path, shapes: list[Any], /, **changes: Any) -> ObjectSource:
    """The source of a JSON of one picture, validated on another one."""
    save_picture(tmp_path / "a.png")
    save_picture(tmp_path / "v.png")
    val = coco(tmp_path / "v.json", ["v.png"], [annotation(1, 0, (0, 0, 9, 9))])
    return open_object_splits(
        coco(tmp_path / "a.json", ["a.png"], shapes, **changes), val=val
    ).train


def refused(tmp_path: Path, shapes: list[Any], /, **changes: Any) -> str:
    with pytest.raises(DataError) as caught:
        one(tmp_path, shapes, **changes)
    assert "\n" not in caught.value.message
    assert str(tmp_path / "a.json") in caught.value.message
    assert caught.value.hint
    return caught.value.message


def test_cocos_own_layout_is_found(tmp_path: Path) -> None:
    """Sparse ids become classes in the ids' order, and boxes fractions of the picture."""
    coco_folder(tmp_path, "train2017", 4)
    coco_folder(tmp_path, "val2017", 2, seed=9)
    (tmp_path / "annotations" / "captions_train2017.json").write_text("{}")
    splits = open_object_splits(tmp_path)
    assert splits.train.labels == splits.val.labels == LABELS
    assert (len(splits.train), len(splits.val)) == (4, 2)
    assert [splits.train.objects(i).classes.tolist() for i in range(4)] == [[2], [1], [2], [1]]
    box = splits.train.objects(1).boxes
    assert box.dtype == np.float32
    np.testing.assert_array_equal(box, np.float32([[4 / 40, 3 / 30, 24 / 40, 18 / 30]]))
    assert splits.val.name(0) == str(tmp_path / "val2017" / "v0.png")
    assert splits.val.image(0).size == (WIDTH, HEIGHT)
    assert splits.notes == ()
    by_file = open_object_splits(tmp_path / "annotations" / "instances_train2017.json")
    assert (len(by_file.train), len(by_file.val)) == (4, 2)


def test_a_json_beside_the_images_of_each_part_is_found(tmp_path: Path) -> None:
    """As Roboflow exports: its first category stands for all the others and is no class."""
    categories = [
        {"id": 0, "name": "animals", "supercategory": "none"},
        {"id": 1, "name": "dog", "supercategory": "animals"},
    ]
    for part, name in (("train", "t.png"), ("valid", "v.png")):
        save_picture(tmp_path / part / "deep" / name, len(part))
        boxes = [annotation(0, 0, (1, 1, 5, 5), 1)]
        file = tmp_path / part / "_annotations.coco.json"
        coco(file, [f"deep/{name}"], boxes, categories=categories)
    splits = open_object_splits(tmp_path)
    assert splits.train.labels == ("background", "dog")
    assert splits.val.name(0).endswith("valid/deep/v.png")
    assert len(splits.notes) == 2
    assert "animals" in splits.notes[0]


def test_without_parts_a_share_is_held_out_by_name(tmp_path: Path) -> None:
    """Of the pictures with objects and of those without, wherever the data lies."""
    sources = []
    for place in ("here", "there"):
        names = [f"{i}.png" for i in range(30)]
        for number, name in enumerate(names):
            save_picture(tmp_path / place / "images" / name, number)
        boxes = [annotation(i, i, (0, 0, 9, 9)) for i in range(20)]
        sources.append(open_object_splits(coco(tmp_path / place / "all.json", names, boxes)))
    one, two = sources
    held = [Path(one.val.name(i)).name for i in range(len(one.val))]
    assert held == [Path(two.val.name(i)).name for i in range(len(two.val))]
    assert [len(one.val.objects(i).boxes) for i in range(3)].count(0) == 1
    trained = {Path(one.train.name(i)).name for i in range(len(one.train))}
    assert len(trained) == 27
    assert not trained & set(held)
    assert any("toothbrush" in note for note in one.notes), "no object of it is there"


def test_boxes_are_clipped_and_those_without_area_left_out(tmp_path: Path) -> None:
    boxes = [(-10, -10, 20, 20), (5, 5, 0, 9), (50, 5, 9, 9), (5, 5, -3, 4), (30, 20, 99, 99)]
    source = one(tmp_path, [annotation(i, 0, box) for i, box in enumerate(boxes)])
    expected = np.float32([[0, 0, 10 / 40, 10 / 30], [30 / 40, 20 / 30, 1, 1]])
    np.testing.assert_array_equal(source.objects(0).boxes, expected)
    val = tmp_path / "v.json"
    notes = open_object_splits(tmp_path / "a.json", val=val).notes
    assert any("left out 3 boxes" in note for note in notes)


def test_boxes_stay_with_their_picture_when_others_are_left_out(tmp_path: Path) -> None:
    save_picture(tmp_path / "b.png")
    images = [{"id": 0, "file_name": "a.png"}, {"id": 1, "file_name": "b.png"}]
    boxes = [(0, 0, 0, 0), (0, 0, 20, 15), (0, 0, 40, 30)]
    places = [0, 0, 1]
    shapes = [annotation(i, at, box) for i, (at, box) in enumerate(zip(places, boxes, strict=True))]
    source = one(tmp_path, shapes, images=images)
    np.testing.assert_array_equal(source.objects(0).boxes, [[0, 0, 0.5, 0.5]])
    np.testing.assert_array_equal(source.objects(1).boxes, [[0, 0, 1, 1]])


def test_crowds_are_ignored_and_pictures_without_objects_kept(tmp_path: Path) -> None:
    save_picture(tmp_path / "b.png")
    images = [{"id": "x", "file_name": "a.png"}, {"id": "y", "file_name": "b.png"}]
    boxes = [annotation(1, 0, (0, 0, 9, 9)), annotation(2, 0, (9, 9, 9, 9), iscrowd=1)]
    source = one(tmp_path, [b | {"image_id": "x"} for b in boxes], images=images)
    assert source.objects(0).ignored.tolist() == [False, True]
    empty = source.objects(1)
    assert (empty.boxes.shape, empty.classes.shape, empty.ignored.shape) == ((0, 4), (0,), (0,))


def test_missing_images_are_skipped_up_to_the_limit(tmp_path: Path) -> None:
    names = [f"{i}.png" for i in range(12)]
    for number, name in enumerate(names[:-2]):
        save_picture(tmp_path / name, number)
    file = coco(tmp_path / "all.json", names, [annotation(i, i, (0, 0, 9, 9)) for i in range(12)])
    splits = open_object_splits(file)
    assert len(splits.train) + len(splits.val) == 10
    assert sum("10.png" in note or "11.png" in note for note in splits.notes) == 2
    with pytest.raises(DataError, match=r"2 of 12 images cannot be read.*1[01]\.png"):
        open_object_splits(file, corrupt_limit=1)


def test_a_picture_of_another_size_than_its_json_says_is_skipped(tmp_path: Path) -> None:
    save_picture(tmp_path / "odd.png", size=(20, 20))
    images = [
        {"id": 0, "file_name": "a.png", "width": WIDTH, "height": HEIGHT},
        {"id": 1, "file_name": "odd.png", "width": WIDTH, "height": HEIGHT},
    ]
    source = one(tmp_path, [annotation(i, i, (0, 0, 9, 9)) for i in (0, 1)], images=images)
    assert len(source) == 1
    notes = open_object_splits(tmp_path / "a.json", val=tmp_path / "v.json").notes
    assert any("odd.png: annotated at 40 x 30 pixels, the picture has 20 x 20" in n for n in notes)


@pytest.mark.parametrize("stored", [True, False])
def test_boxes_follow_a_picture_that_is_turned_upright(tmp_path: Path, stored: bool) -> None:
    """Its size in the JSON says whether they were drawn on the stored pixels."""
    save_turned(tmp_path / "turned.jpg")
    width, height = (WIDTH, HEIGHT) if stored else (HEIGHT, WIDTH)
    # The red quarter: at the stored top left, which is the upright top right.
    box = (0, 0, 20, 15) if stored else (15, 0, 15, 20)
    images = [{"id": 0, "file_name": "turned.jpg", "width": width, "height": height}]
    source = one(tmp_path, [annotation(0, 0, box)], images=images)
    np.testing.assert_allclose(source.objects(0).boxes, [[0.5, 0, 1, 0.5]], atol=1e-6)
    red = np.asarray(source.image(0))[..., 0] > 128
    assert np.array_equal(red[:20, 15:], np.ones((20, 15), bool))
    assert red.sum() == 300


def test_val_is_what_is_passed_and_nothing_of_it_is_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the paths are written."""
    names = [f"{i}.png" for i in range(6)]
    for number, name in enumerate(names):
        save_picture(tmp_path / name, number)
    boxes = [annotation(i, i, (0, 0, 9, 9)) for i in range(6)]
    everything = coco(tmp_path / "all.json", names, boxes)
    some = coco(tmp_path / "some.json", names[:2], boxes[:2])
    monkeypatch.chdir(tmp_path)
    splits = open_object_splits(everything, val=Path(some.name))
    assert (len(splits.train), len(splits.val)) == (4, 2)
    assert any("2 images are validated on" in note for note in splits.notes)


def test_labels_of_a_model_are_found_by_name(tmp_path: Path) -> None:
    coco_folder(tmp_path, "train2017", 4)
    labels = ("background", "toothbrush", "cat", "dog")
    source = open_object_splits(tmp_path, labels=labels).train
    assert source.labels == labels
    assert {int(source.objects(i).classes[0]) for i in range(len(source))} == {1, 3}
    with pytest.raises(DataError, match="class 'dog' is none of the 2 to train") as caught:
        open_object_splits(tmp_path, labels=("background", "toothbrush", "dogs"))
    assert "'dogs'" in caught.value.hint
    with pytest.raises(DataError, match="'toothbrush'"):
        open_object_splits(tmp_path, labels=("toothbrush", "dog"))


def test_a_source_goes_to_a_worker_process(tmp_path: Path) -> None:
    coco_folder(tmp_path, "train2017", 4)
    source = open_object_splits(tmp_path).train
    copy = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(copy.objects(1).boxes, source.objects(1).boxes)
    assert copy.name(1) == source.name(1)


def test_the_folder_with_the_most_images_is_theirs(tmp_path: Path) -> None:
    """One of the same name elsewhere does not mislead."""
    coco_folder(tmp_path, "train2017", 4)
    save_picture(tmp_path / "annotations" / "t1.png", 99)
    source = open_object_splits(tmp_path).train
    assert all("train2017" in source.name(i) for i in range(len(source)))


GOOD = annotation(7, 0, (1, 1, 5, 5))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"bbox": [1, 2, 3]}, r"annotation 7: bbox \[1, 2, 3\]"),
        ({"bbox": [1, 2, 3, float("nan")]}, "annotation 7: bbox"),
        ({"bbox": [1, 2, 3, 10**400]}, "annotation 7: bbox"),
        ({"bbox": [1, 2, True, 3]}, "annotation 7: bbox"),
        ({"bbox": "1 2 3 4"}, "annotation 7: bbox"),
        ({"category_id": 19}, "annotation 7: category_id 19 is no category's"),
        ({"category_id": [18]}, "annotation 7: category_id"),
        ({"image_id": 12}, "annotation 7: image_id 12 is no image's"),
        ({"iscrowd": 2}, "annotation 7: iscrowd is 2"),
    ],
)
def test_a_malformed_annotation_is_named(tmp_path: Path, change: Any, told: str) -> None:
    assert re.search(told, refused(tmp_path, [GOOD | change]))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"images": None}, "no list 'images'"),
        ({"annotations": {}}, "no list 'annotations'"),
        ({"categories": [{"id": 18}]}, "categories[0] has no id or no name"),
        ({"categories": []}, "no categories"),
        ({"categories": [{"id": 18, "name": "a"}, {"id": 19, "name": "a"}]}, "category 'a'"),
        ({"categories": [{"id": 18, "name": "background"}]}, "category 'background'"),
        ({"categories": [{"id": 18, "name": "\ud800"}]}, "not UTF-8"),
        ({"images": []}, "no images"),
        ({"images": ["a.png"]}, "images[0] is no object"),
        ({"images": [{"id": 0}]}, "images[0] has no id or no file_name"),
        ({"images": [{"id": 0, "file_name": "a.png"}] * 2}, "images[1] (a.png)"),
        ({"images": [{"id": 0, "file_name": "no.png"}]}, "'no.png', are not found in"),
        ({"images": [{"id": 0, "file_name": "\0"}]}, "images[0] has no id or no file_name"),
        ({"images": [{"id": 0, "file_name": "x" * 999}]}, "are not found in"),
        ({"images": [{"id": 0, "file_name": "a.png", "width": "x", "height": 3}]}, "its size is"),
    ],
)
def test_a_malformed_document_is_named(tmp_path: Path, changes: Any, told: str) -> None:
    assert told in refused(tmp_path, [GOOD], **changes)


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, '"x"'])
def test_what_is_not_coco_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "a.json"
    file.write_text(text)
    with pytest.raises(DataError, match=r"not JSON|not COCO"):
        open_object_splits(file)


def test_without_an_object_there_is_nothing_to_train_on(tmp_path: Path) -> None:
    assert "no labeled object to train on" in refused(tmp_path, [])
    assert "no labeled object to train on" in refused(tmp_path, [GOOD | {"iscrowd": 1}])


def test_several_files_that_could_be_meant_are_named(tmp_path: Path) -> None:
    for part in ("train2014", "train2017"):
        coco_folder(tmp_path, part, 2)
    with pytest.raises(DataError, match=r"instances_train2014\.json, instances_train2017\.json"):
        open_object_splits(tmp_path)


def test_other_data_sets_are_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        open_object_splits(tmp_path / "gone")
    with pytest.raises(DataError, match="not a data set of labeled pictures"):
        open_object_splits(tmp_path)
    (tmp_path / "data.yaml").write_text("names: [a]")
    with pytest.raises(DataError, match="YOLO") as caught:
        open_object_splits(tmp_path)
    assert "COCO" in caught.value.hint


# --- segmentations as masks


def masks(tmp_path: Path, shapes: list[Any]) -> MaskSource:
    save_picture(tmp_path / "a.png")
    save_picture(tmp_path / "v.png")
    shown = annotation(1, 0, (0, 0, 9, 9), segmentation=SQUARE)
    val = coco(tmp_path / "v.json", ["v.png"], [shown])
    return open_mask_splits(coco(tmp_path / "a.json", ["a.png"], shapes), val=val).train


def test_polygons_become_masks_with_small_ones_in_front(tmp_path: Path) -> None:
    large = [[0, 0, 30, 0, 30, 30, 0, 30]]
    shapes = [
        annotation(1, 0, (10, 5, 10, 10), 18, segmentation=SQUARE),
        annotation(2, 0, (0, 0, 30, 30), 90, segmentation=large),
    ]
    source = masks(tmp_path, shapes)
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[:, :30] = 2
    expected[5:15, 10:20] = 1
    assert source.labels == LABELS
    mask = pickle.loads(pickle.dumps(source)).mask(0)
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, expected)


def test_run_lengths_become_masks_and_crowds_are_ignored(tmp_path: Path) -> None:
    """COCO's run lengths go down the columns."""
    crowd = {"size": [HEIGHT, WIDTH], "counts": [0, HEIGHT * 10, HEIGHT * (WIDTH - 10)]}
    shapes = [
        annotation(1, 0, (0, 0, 10, 30), segmentation=crowd, iscrowd=1),
        annotation(2, 0, (10, 5, 10, 10), segmentation=SQUARE),
    ]
    mask = masks(tmp_path, shapes).mask(0)
    assert (mask[:, :10] == IGNORED).all()
    assert (mask[:, 10:] == IGNORED).sum() == 0
    assert (mask == 1).sum() == 100


def test_a_mask_follows_a_picture_that_is_turned_upright(tmp_path: Path) -> None:
    save_turned(tmp_path / "turned.jpg")
    quarter = annotation(1, 0, (0, 0, 20, 15), segmentation=[[0, 0, 20, 0, 20, 15, 0, 15]])
    file = coco(tmp_path / "t.json", ["turned.jpg"], [quarter])
    save_picture(tmp_path / "v.png")
    shown = annotation(1, 0, (0, 0, 9, 9), segmentation=SQUARE)
    val = coco(tmp_path / "v.json", ["v.png"], [shown])
    source = open_mask_splits(file, val=val).train
    red = np.asarray(read_image(tmp_path / "turned.jpg"))[..., 0] > 128
    np.testing.assert_array_equal(source.mask(0) == 1, red)


@pytest.mark.parametrize(
    "segmentation",
    [
        "x",
        5,
        [[1, 2, 3]],
        [["a", 1, 2, 3, 4, 5]],
        [[0, 0, 1e300, 0, 5, 5]],
        [[0, 0, 1, 0, 5, float("nan")]],
        [1, 2, 3, 4, 5, 6],
        {"size": [30, 40]},
        {"size": [30], "counts": [30]},
        {"size": [30, 40], "counts": [5, 5]},
        {"size": [30, 40], "counts": [-5, 1205]},
    ],
)
def test_a_malformed_segmentation_is_named(tmp_path: Path, segmentation: Any) -> None:
    with pytest.raises(DataError, match="annotation 3: its segmentation"):
        masks(tmp_path, [annotation(3, 0, (0, 0, 9, 9), segmentation=segmentation)])


@pytest.mark.parametrize(
    ("segmentation", "told"),
    [
        ({"size": [30, 40], "counts": "z" * 200}, "run lengths are damaged"),
        ({"size": [2, 2], "counts": [4]}, "2 x 2 pixels, the picture has 40 x 30"),
    ],
)
def test_run_lengths_of_another_picture_are_named(
    tmp_path: Path, segmentation: Any, told: str
) -> None:
    source = masks(tmp_path, [annotation(3, 0, (0, 0, 9, 9), segmentation=segmentation)])
    with pytest.raises(DataError, match=rf"a\.png.*{told}"):
        source.mask(0)


def test_boxes_alone_make_no_masks(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="boxes only") as caught:
        masks(tmp_path, [annotation(1, 0, (0, 0, 9, 9))])
    assert "polygons" in caught.value.hint


def test_masks_of_coco_name_the_package_that_they_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingDependencyError) as caught:
        masks(tmp_path, [])
    assert caught.value.hint == "pip install 'mnv2-export[coco]'"


def test_pictures_are_as_read_image_gives_them(tmp_path: Path) -> None:
    save_turned(tmp_path / "a.png")
    source = one(tmp_path, [annotation(1, 0, (0, 0, 9, 9))])
    image: Image.Image = source.image(0)
    assert image.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(image), np.asarray(read_image(tmp_path / "a.png")))
