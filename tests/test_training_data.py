"""Labeled images: found, split, checked, and served the same to any number of processes."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_preprocess import picture

from exporter.errors import DataError, UnsupportedError
from exporter.preprocess import load_pixels, normalize, to_pixels
from exporter.spec import ChannelOrder, keras_preprocess, torchvision_preprocess
from exporter.training.augment import NOTHING, Augment, augmented, generator
from exporter.training.entries import Entry
from exporter.training.loading import (
    Batch,
    Throughput,
    default_workers,
    to_input,
    train_batches,
    val_batches,
)
from exporter.training.packed import PackedEntries
from exporter.training.shards import expand
from exporter.training.sources import Source, Splits, open_source, open_splits
from exporter.training.views import ClassView, source_pixels

CONTRACT = keras_preprocess(32)
COLORFUL = Augment(brightness=0.4, contrast=0.4, saturation=0.4)
CLASSES = ("cat", "dog", "eel")


def folders(root: Path, each: int = 10, classes: tuple[str, ...] = CLASSES) -> Path:
    """PNG files of random pictures, all different, in a folder per class."""
    for number, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for index in range(each):
            picture(40 + index, 30 + number).save(root / name / f"{index:02d}.png")
    return root


def names(source: Source, root: Path) -> list[str]:
    return [Path(source.name(i)).relative_to(root.resolve()).as_posix() for i in range(len(source))]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folders(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def splits(data: Path) -> Splits:
    return open_splits(data)


# --- folders and splits


def test_class_folders_are_split_by_class(data: Path, splits: Splits) -> None:
    assert splits.train.labels == splits.val.labels == CLASSES
    assert (len(splits.train), len(splits.val)) == (27, 3)
    assert [splits.val.target(i) for i in range(3)] == [0, 1, 2]
    assert not set(names(splits.train, data)) & set(names(splits.val, data))
    assert splits.notes == ()


def test_a_split_does_not_depend_on_where_the_data_lies(data: Path, tmp_path: Path) -> None:
    import shutil

    moved = Path(shutil.copytree(data, tmp_path / "elsewhere"))
    one, two = open_splits(data), open_splits(moved)
    assert names(one.val, data) == names(two.val, moved)
    assert names(one.train, data) == names(two.train, moved)
    assert names(open_splits(data, split_seed=1).val, data) != names(one.val, data)


def test_train_and_val_folders_are_taken_as_they_are(tmp_path: Path) -> None:
    folders(tmp_path / "train", 4)
    folders(tmp_path / "val", 2, ("cat", "eel"))
    splits = open_splits(tmp_path)
    assert (len(splits.train), len(splits.val)) == (12, 4)
    assert [splits.val.target(i) for i in range(4)] == [0, 0, 2, 2]
    assert len(open_splits(tmp_path / "train", val=tmp_path / "val").val) == 4
    assert len(open_source(tmp_path, CLASSES)) == 4


def test_val_with_a_class_that_training_lacks_names_both(tmp_path: Path) -> None:
    folders(tmp_path / "train", 2)
    folders(tmp_path / "val", 1, ("cat", "dig"))
    with pytest.raises(DataError, match=r"'dig'.*3 labels: cat, dog, eel") as caught:
        open_splits(tmp_path)
    assert "'dog'" in caught.value.hint


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    folders(tmp_path, 3, ("train", "tree"))
    assert open_splits(tmp_path).train.labels == ("train", "tree")


@pytest.mark.parametrize("other", ["valid", "test"])
def test_parts_of_a_data_set_are_not_its_classes(tmp_path: Path, other: str) -> None:
    folders(tmp_path / "train", 2)
    assert open_splits(tmp_path).train.labels == CLASSES
    folders(tmp_path / other, 2)
    with pytest.raises(DataError, match="parts and not classes") as caught:
        open_splits(tmp_path)
    assert f"--val {tmp_path / other}" in caught.value.hint
    splits = open_splits(tmp_path, val=tmp_path / other)
    assert (len(splits.train), len(splits.val)) == (6, 6)
    assert splits.train.labels == CLASSES


def test_a_number_is_no_index_where_labels_are_numbers(tmp_path: Path) -> None:
    folders(tmp_path / "train", 2, ("1", "2", "3"))
    folders(tmp_path / "val", 2, ("0", "1"))
    with pytest.raises(DataError, match="class '0'"):
        open_splits(tmp_path)
    with pytest.raises(DataError, match="class '0'"):
        open_source(tmp_path / "val", ("1", "2", "3"))


def test_a_number_is_no_index_in_training(tmp_path: Path) -> None:
    folders(tmp_path / "train", 2)
    folders(tmp_path / "val", 2, ("0", "1"))
    with pytest.raises(DataError, match="class '0'"):
        open_splits(tmp_path)


def test_a_class_name_that_no_checkpoint_could_carry_is_refused(tmp_path: Path) -> None:
    folders(tmp_path, 2, ("cat", os.fsdecode(b"d\xffg")))
    with pytest.raises(DataError, match=r"'d\\udcffg' is not UTF-8"):
        open_splits(tmp_path)


def test_pipes_are_not_waited_for(tmp_path: Path) -> None:
    """Reading one would never end; a link to nothing is an image that is damaged."""
    root = folders(tmp_path, 2)
    os.mkfifo(root / "cat" / "pipe.png")
    (root / "cat" / "to a pipe.png").symlink_to(root / "cat" / "pipe.png")
    (root / "cat" / "itself.png").symlink_to(root / "cat" / "itself.png")
    (root / "dog" / "nothing.png").symlink_to(root / "nothing")
    source = open_source(root, None)
    assert len(source) == 6
    assert len(source.notes) == 2


def test_packed_entries_are_the_entries(tmp_path: Path) -> None:
    names = ["a/é.png", "", os.fsdecode(b"b/\xff.png"), "s.tar/c.png"]
    entries = [Entry(n, f"l{i % 2}", f"/d/{n}", i - 1, i) for i, n in enumerate(names)]
    packed = pickle.loads(pickle.dumps(PackedEntries.of(entries)))
    assert list(packed) == entries
    assert packed[-1] == entries[-1]
    assert packed[1:] == tuple(entries[1:])
    assert len(PackedEntries.of([])) == 0
    with pytest.raises(IndexError):
        packed[4]


def test_hidden_files_other_files_and_loops_are_passed_over(tmp_path: Path) -> None:
    root = folders(tmp_path / "data", 3)
    (root / ".git").mkdir()
    picture(9, 9).save(root / ".git" / "x.png")
    (root / "cat" / "._00.png").write_bytes(b"not an image")
    (root / "cat" / "notes.txt").write_text("no image")
    (root / "dog" / "deep").mkdir()
    picture(9, 9).save(root / "dog" / "deep" / "x.JPG", "JPEG")
    (root / "dog" / "deep" / "loop").symlink_to(root / "dog", target_is_directory=True)
    (root / "empty").mkdir()
    picture(9, 9).save(root / "loose.png")
    source = open_source(root, None)
    assert source.labels == CLASSES
    assert sorted(source.targets) == [0, 0, 0, 1, 1, 1, 1, 2, 2, 2]
    assert any("empty" in note for note in source.notes)
    assert any("1 images that lie in no class folder" in note for note in source.notes)


def test_classes_of_numbers_are_in_their_order(tmp_path: Path) -> None:
    root = folders(tmp_path, 2, ("0", "2", "10"))
    assert open_source(root, None).labels == ("0", "2", "10")


def test_a_class_may_be_named_by_its_index(tmp_path: Path) -> None:
    root = folders(tmp_path, 1, ("0", "2"))
    source = open_source(root, CLASSES)
    assert source.targets == (0, 2)
    with pytest.raises(DataError, match=r"class '2' .* 2 labels"):
        open_source(root, CLASSES[:2])


def test_a_class_of_one_image_is_trained_on_and_named(tmp_path: Path) -> None:
    folders(tmp_path, 4, ("cat", "dog"))
    folders(tmp_path, 1, ("eel",))
    splits = open_splits(tmp_path)
    assert (len(splits.train), len(splits.val)) == (7, 2)
    assert splits.notes == ("classes of one image are not validated: eel",)


@pytest.mark.parametrize("case", ["missing", "empty", "no images", "loose", "one class", "a file"])
def test_what_is_no_data_set_gets_a_clear_error(tmp_path: Path, case: str) -> None:
    path = tmp_path / "data"
    expected = {"missing": "no such file or folder", "empty": "an empty folder"}.get(case, case)
    if case != "missing":
        path.mkdir()
    if case == "no images":
        (path / "cat").mkdir()
    elif case == "loose":
        picture(9, 9).save(path / "a.png")
        expected = "1 images lie in the folder itself"
    elif case == "one class":
        folders(path, 3, ("cat",))
        expected = "only one class, 'cat'"
    elif case == "a file":
        path = tmp_path / "data.h5"
        path.write_bytes(b"")
        expected = "not a data set"
    with pytest.raises(DataError, match=expected):
        open_splits(path)


# --- images


def odd_images(root: Path) -> dict[str, Path]:
    """One file per kind of image that a phone or a design program may leave."""
    folder = root / "cat"
    folder.mkdir(parents=True)
    rgb = picture(40, 24)
    alpha = rgb.copy()
    alpha.putalpha(Image.linear_gradient("L").resize(rgb.size))
    turned = Image.Exif()
    turned[0x0112] = 6  # shown a quarter turn clockwise
    wide = np.asarray(rgb.convert("L")).astype(np.uint16) * 257
    names = "cmyk.jpg gray16.png palette.png alpha.png turned.jpg dot.png gray.bmp web.webp"
    files = {name: folder / name for name in names.split()}
    rgb.convert("CMYK").save(files["cmyk.jpg"], quality=95)
    Image.fromarray(wide).save(files["gray16.png"])
    palette = rgb.quantize(16)
    palette.save(files["palette.png"], transparency=bytes(range(16)))
    alpha.save(files["alpha.png"])
    rgb.save(files["turned.jpg"], exif=turned, quality=95)
    picture(1, 1).save(files["dot.png"])
    rgb.convert("L").save(files["gray.bmp"])
    rgb.save(files["web.webp"], lossless=True)
    return files


def test_odd_images_are_read_as_the_contract_reads_them(tmp_path: Path) -> None:
    files = odd_images(tmp_path)
    source = open_source(tmp_path, CLASSES)
    assert source.notes == ()
    assert len(source) == len(files)
    seen = [
        image for batch in val_batches(ClassView(source, CONTRACT), 3) for image in batch.images
    ]
    for index, planes in enumerate(seen):
        expected = load_pixels(Path(source.name(index)), CONTRACT)
        assert np.array_equal(planes.numpy().transpose(1, 2, 0), expected), source.name(index)
    turned = next(i for i in range(len(source)) if "turned" in source.name(i))
    assert source.image(turned).size == (24, 40)
    for batch in train_batches(ClassView(source, CONTRACT, COLORFUL), 8, epoch=0, seed=0):
        assert batch.images.shape == (8, 3, 32, 32)


def damage(root: Path) -> list[str]:
    """Files that are no images any more, each in its own way."""
    picture(64, 64).save(root / "cut.jpg", quality=90)
    picture(64, 64).save(root / "flip.png")
    picture(64, 64).save(root / "cut.webp")
    for name in ("cut.jpg", "cut.webp"):
        data = (root / name).read_bytes()
        (root / name).write_bytes(data[: len(data) * 2 // 3])
    data = bytearray((root / "flip.png").read_bytes())
    data[len(data) // 2] ^= 0xFF
    (root / "flip.png").write_bytes(data)
    (root / "empty.jpg").write_bytes(b"")
    (root / "text.png").write_text("404 not found")
    Image.fromarray(np.ones((9, 9), np.float32)).save(root / "float.tif")
    (root / "gone.png").symlink_to(root / "nowhere.png")
    return ["cut.jpg", "cut.webp", "empty.jpg", "flip.png", "float.tif", "gone.png", "text.png"]


def test_damaged_images_are_named_and_skipped_up_to_the_limit(tmp_path: Path) -> None:
    root = folders(tmp_path / "data")
    bad = damage(root / "cat")
    splits = open_splits(root, corrupt_limit=7)
    assert len(splits.train) + len(splits.val) == 30
    notes = " ".join(splits.notes)
    assert len(splits.notes) == 7
    assert all(f"cat/{name}" in notes for name in bad)
    for batch in val_batches(ClassView(splits.train, CONTRACT), 16):
        assert batch.images.dtype == torch.uint8
    with pytest.raises(DataError, match=r"7 of 37 images cannot be read \(6 would be skipped\)"):
        open_splits(root, corrupt_limit=6)


def test_a_whole_jpeg_is_not_decoded_to_be_checked(tmp_path: Path, monkeypatch) -> None:
    """Nor one with much in front of its pixels or a little behind its end."""
    from exporter.training import entries

    (tmp_path / "cat").mkdir()
    picture(64, 64).save(tmp_path / "cat" / "a.jpg")
    with (tmp_path / "cat" / "a.jpg").open("ab") as file:
        file.write(b"a few bytes of a camera")
    monkeypatch.setattr(entries, "read_image", None)
    assert len(open_source(tmp_path, CLASSES)) == 1


def test_an_image_damaged_after_the_check_is_named(tmp_path: Path) -> None:
    root = folders(tmp_path / "data", 3)
    source = open_source(root, None)
    (root / "dog" / "01.png").write_bytes(b"overwritten")
    with pytest.raises(DataError, match=r"dog/01\.png: cannot be decoded"):
        list(val_batches(ClassView(source, CONTRACT), 4))


def test_a_photo_that_cannot_be_resized_is_named(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    Image.new("RGB", (60_000, 1)).save(tmp_path / "cat" / "row.png")
    source = open_source(tmp_path, CLASSES)
    with pytest.raises(DataError, match=r"row\.png: a photo of 60000 x 1"):
        source_pixels(source, 0, torchvision_preprocess(224))


# --- list files


def listed(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    for index in range(4):
        picture(20, 20 + index).save(folder / f"a {index}.png")
    (folder / name).write_text(text)
    return folder / name


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("l.txt", "# comment\na 0.png cat\n\na 1.png cat\r\na 2.png dog\na 3.png dog\n"),
        ("l.txt", "a 0.png\tcat\na 1.png\tcat\na 2.png\tdog\na 3.png\tdog"),
        ("l.csv", '\ufeffpath,label\n"a 0.png",cat\na 1.png, cat\na 2.png,dog\na 3.png,dog\n'),
        ("l.tsv", "a 0.png\tcat\na 1.png\tcat\na 2.png\tdog\na 3.png\tdog\na 3.png\tdog\n"),
    ],
)
def test_a_list_names_images_and_labels(tmp_path: Path, name: str, text: str) -> None:
    splits = open_splits(listed(tmp_path / "l", name, text), val_share=0.5)
    assert splits.train.labels == ("cat", "dog")
    assert [splits.train.target(i) for i in range(2)] == [0, 1]
    assert len(splits.val) == 2
    assert len(splits.notes) == (name == "l.tsv")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a 0.png,cat\na 1.png\n", "line 2: expected a path and a label, got 'a 1.png'"),
        ("a 0.png,cat\na 1.png,\n", "line 2: expected a path and a label"),
        ("a 0.png,cat\na 9.png,dog\n", "line 2: no such file: .*a 9.png"),
        ("a 0.png,cat\n\na 0.png,dog\n", "line 3: a 0.png is 'dog' here and 'cat' in line 1"),
        ("a 0.png,cat,dog\n", "line 1: expected a path and a label"),
        ("\n", "no images in it"),
        ("a 0.png,cat\na 1.png,cat\n", "only one class"),
        ("a 0.png,cat\n./a 0.png,dog\n", "line 2: a 0.png is 'dog' here and 'cat' in line 1"),
        (f"a 0.png,{'x' * 200_000}\n", "line 1: field larger than"),
        (f"{'a' * 300}.png,cat\n", "line 1: no such file"),
    ],
)
def test_a_bad_list_is_refused_by_line(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        open_splits(listed(tmp_path, "l.csv", text))


def test_separators_that_are_no_line_ends_stay_in_a_name(tmp_path: Path) -> None:
    text = "a 0.png\ta\u2028b\na 1.png\tc\x0bd\n"
    assert open_source(listed(tmp_path, "l.txt", text), None).labels == ("a\u2028b", "c\x0bd")
    text = '"a 0.png","a\nb"\na 1.png,c\n'
    assert open_source(listed(tmp_path, "l.csv", text), None).labels == ("a\nb", "c")


def test_a_list_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(DataError, match="not a text file"):
        open_splits(tmp_path / "l.txt")


# --- shards


def shard(path: Path, parts: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in parts.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def encoded(seed: int, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    picture(30 + seed, 30).save(buffer, kind)
    return buffer.getvalue()


def two_shards(folder: Path) -> None:
    folder.mkdir()
    for number in range(2):
        parts: dict[str, bytes] = {}
        for index in range(4):
            label = CLASSES[index % 2]
            key = f"x/{number}{index}"
            parts[f"{key}.jpg"] = encoded(10 * number + index, "JPEG")
            as_json = json.dumps({"cls": label, "caption": "?"}).encode()
            parts |= {f"{key}.cls": label.encode()} if index < 2 else {f"{key}.json": as_json}
        shard(folder / f"s-{number:03d}.tar", parts)


def test_shards_give_their_samples_in_any_order(tmp_path: Path) -> None:
    two_shards(tmp_path / "shards")
    (whole, pattern) = (tmp_path / "shards", tmp_path / "shards" / "s-{000..001}.tar")
    source = open_source(whole, ("cat", "dog"))
    assert source.targets == (0, 1) * 4
    assert list(source.entries) == list(open_source(pattern, ("cat", "dog")).entries)
    for index in (7, 0, 3):
        original = Image.open(io.BytesIO(encoded(10 * (index // 4) + index % 4, "JPEG")))
        assert np.array_equal(np.asarray(source.image(index)), np.asarray(original))
    assert "s-001.tar: s-001.tar/x/13.jpg" in source.name(7)
    splits = open_splits(whole, val=whole / "s-001.tar")
    assert (len(splits.train), len(splits.val)) == (4, 4)
    assert "4 images are validated on" in splits.notes[0]


def test_a_shard_that_ends_early_is_refused(tmp_path: Path) -> None:
    """Where tarfile itself takes a damaged header, or the end of the file, for the last member."""
    parts = {"a.png": encoded(1), "a.cls": b"0", "b.png": encoded(2), "b.cls": b"1"}
    path = shard(tmp_path / "s.tar", parts)
    whole = path.read_bytes()
    with tarfile.open(path) as tar:
        third = tar.getmembers()[2].offset
    cut, damaged = whole[:third], bytearray(whole)
    damaged[third] ^= 1
    for content, what in ((cut, "cut off"), (bytes(damaged), "damaged")):
        path.write_bytes(content)
        with pytest.raises(DataError, match=f"{what} after 2 members"):
            open_source(path, None)


@pytest.mark.parametrize("value", ["true", "3.5", '["cat"]'])
def test_a_label_is_a_text_or_a_whole_number(tmp_path: Path, value: str) -> None:
    parts = {"a.png": encoded(1), "a.json": f'{{"cls": {value}}}'.encode()}
    with pytest.raises(DataError, match=r"s\.tar: a\.json: not a label"):
        open_source(shard(tmp_path / "s.tar", parts), None)


def test_a_damaged_sample_is_skipped_and_a_damaged_shard_refused(tmp_path: Path) -> None:
    parts = {"a.png": encoded(1), "a.cls": b"0", "b.png": encoded(2)[:-30], "b.cls": b"1",
             "c.png": encoded(3), "c.cls": b"1"}  # fmt: skip
    source = open_source(shard(tmp_path / "s.tar", parts), None)
    assert len(source) == 2
    assert "s.tar/b.png: cannot be decoded" in source.notes[0]
    (tmp_path / "t.tar").write_bytes(b"not a tar" * 200)
    for path, expected in [
        ("t.tar", "not a readable tar file"),
        ("u-{0..1}.tar", "u-0.tar: no such shard"),
        ("s.tar.gz", "compressed"),
        ("s-{3..1}.tar", "no rising range"),
    ]:
        with pytest.raises(DataError, match=expected):
            open_source(tmp_path / path, None)
    with pytest.raises(DataError, match=r"a\.png: no label"):
        open_source(shard(tmp_path / "v.tar", {"a.png": encoded(1)}), None)
    with pytest.raises(DataError, match="no images in 1 shards"):
        open_source(shard(tmp_path / "w.tar", {"a.cls": b"0"}), None)


def test_braces_are_the_shells() -> None:
    assert expand("s-{08..10}{a,b}.tar") == [
        f"s-{n}{x}.tar" for n in ("08", "09", "10") for x in "ab"
    ]


# --- augmentation


@pytest.mark.parametrize("how", [Augment(), COLORFUL, NOTHING])
def test_a_view_follows_from_seed_epoch_and_index(how: Augment) -> None:
    image = picture(50, 40)
    views = [augmented(image, CONTRACT, how, generator(1, 2, 3)) for _ in range(2)]
    assert np.array_equal(*views)
    assert views[0].shape == (32, 32, 3)
    assert views[0].dtype == np.uint8
    others = [generator(0, 2, 3), generator(1, 0, 3), generator(1, 2, 0)]
    same = [np.array_equal(augmented(image, CONTRACT, how, g), views[0]) for g in others]
    assert all(same) if how is NOTHING else not any(same)


def test_no_augmentation_is_the_contract() -> None:
    image = picture(50, 40)
    assert np.array_equal(
        augmented(image, CONTRACT, NOTHING, generator(0, 0, 0)), to_pixels(image, CONTRACT)
    )


def test_crops_have_the_area_and_shape_asked_for() -> None:
    from exporter.training.augment import _box

    how = Augment(scale=(0.2, 0.5))
    for index in range(200):
        left, top, right, bottom = _box((300, 200), (0.2, 0.5), how.ratio, generator(0, 0, index))
        assert 0 <= left < right <= 300
        assert 0 <= top < bottom <= 200
        assert 0.19 < (right - left) * (bottom - top) / 60_000 < 0.51
        assert 0.73 < (right - left) / (bottom - top) < 1.37
    row = _box((1000, 1), (0.2, 0.5), how.ratio, generator(0, 0, 0))
    assert row == (499, 0, 500, 1) or row[2] - row[0] == 1


def test_flips_are_as_often_as_asked() -> None:
    image = picture(32, 32)
    how = dataclasses.replace(NOTHING, flip=0.3)
    plain = to_pixels(image, CONTRACT)
    views = [augmented(image, CONTRACT, how, generator(0, 0, i)) for i in range(400)]
    flipped = sum(np.array_equal(view, plain[:, ::-1]) for view in views)
    assert flipped + sum(np.array_equal(view, plain) for view in views) == 400
    assert 90 < flipped < 150


def test_colors_change_as_asked_and_in_range() -> None:
    gray = Image.new("RGB", (32, 32), (100, 100, 100))
    how = dataclasses.replace(NOTHING, brightness=0.5)
    levels = {int(augmented(gray, CONTRACT, how, generator(0, 0, i)).max()) for i in range(100)}
    assert min(levels) >= 50
    assert max(levels) <= 150
    assert len(levels) > 30
    only_saturation = dataclasses.replace(NOTHING, saturation=1.0)
    assert int(augmented(gray, CONTRACT, only_saturation, generator(0, 0, 0)).std()) == 0


@pytest.mark.parametrize(
    "wrong", [{"scale": (0.5, 0.1)}, {"ratio": (0.0, 1.0)}, {"flip": 2.0}, {"contrast": -1.0}]
)
def test_an_impossible_augmentation_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UnsupportedError):
        Augment(**wrong)  # type: ignore[arg-type]


# --- batches


def train(splits: Splits, **options: int) -> list[Batch]:
    settings = {"epoch": 0, "seed": 7} | options
    return list(train_batches(ClassView(splits.train, CONTRACT, COLORFUL), 4, **settings))


def indices(batches: list[Batch]) -> list[list[int]]:
    return [batch.indices.tolist() for batch in batches]


def equal(one: list[Batch], two: list[Batch]) -> bool:
    assert len(one) == len(two)
    return all(
        torch.equal(getattr(a, f.name), getattr(b, f.name))
        for a, b in zip(one, two, strict=True)
        for f in dataclasses.fields(Batch)
    )


def test_batches_do_not_depend_on_workers_nor_on_the_random_state(splits: Splits) -> None:
    """Two worker processes, and training and validation with them."""
    before = torch.get_rng_state()
    assert equal(train(splits), train(splits, workers=2))
    one, two = (list(val_batches(ClassView(splits.train, CONTRACT), 4, workers=n)) for n in (0, 1))
    assert equal(one, two)
    assert torch.equal(before, torch.get_rng_state())


def test_an_error_in_a_worker_is_the_error_itself(tmp_path: Path) -> None:
    root = folders(tmp_path / "data", 3)
    source = open_source(root, None)
    (root / "dog" / "01.png").write_bytes(b"overwritten")
    with pytest.raises(DataError, match=r"dog/01\.png: cannot be decoded") as caught:
        list(val_batches(ClassView(source, CONTRACT), 4, workers=1))
    assert "Traceback" not in caught.value.message


def test_an_epoch_that_goes_on_is_the_one_that_was_cut_off(splits: Splits) -> None:
    whole = train(splits)
    assert len(whole) == 6
    assert equal(whole[4:], train(splits, skip=4))
    assert train(splits, skip=6) == []
    assert indices(train(splits, epoch=1)) != indices(whole)
    assert indices(train(splits, seed=8)) != indices(whole)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_ranks_share_an_epoch_in_equal_parts(splits: Splits, world: int) -> None:
    """27 images in batches of 4: what fills no batch of all ranks is left out."""
    ranks = [indices(train(splits, rank=r, world=world)) for r in range(world)]
    assert {len(batches) for batches in ranks} == {27 // (4 * world)}
    used = [index for batches in ranks for batch in batches for index in batch]
    assert len(used) == len(set(used)) == 27 // (4 * world) * 4 * world


@pytest.mark.parametrize("world", [1, 2, 5, 40])
def test_validation_sees_every_image_once(splits: Splits, world: int) -> None:
    ranks = [
        list(val_batches(ClassView(splits.train, CONTRACT), 4, rank=r, world=world))
        for r in range(world)
    ]
    seen = [index for batches in ranks for batch in batches for index in batch.indices.tolist()]
    assert sorted(seen) == list(range(27))
    for batches in ranks:
        for batch in batches:
            expected = [splits.train.target(i) for i in batch.indices.tolist()]
            assert batch.labels.tolist() == expected


def test_less_than_one_batch_is_refused(splits: Splits) -> None:
    with pytest.raises(DataError, match="27 images are fewer than one batch of 4 on each of 8"):
        train(splits, world=8)


@pytest.mark.parametrize("order", list(ChannelOrder))
@pytest.mark.parametrize("make", [keras_preprocess, torchvision_preprocess])
def test_input_is_normalize_to_the_last_bit(splits: Splits, order: ChannelOrder, make) -> None:
    contract = dataclasses.replace(make(32), channel_order=order)
    for batch in val_batches(ClassView(splits.train, contract), 16):
        pixels = [source_pixels(splits.train, i, contract) for i in batch.indices.tolist()]
        expected = normalize(np.stack(pixels), contract)
        assert np.array_equal(to_input(batch.images, contract).numpy(), expected)


def test_every_level_is_normalized_to_the_last_bit() -> None:
    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    for contract in (keras_preprocess(32), torchvision_preprocess(32)):
        planes = torch.from_numpy(levels.transpose(0, 3, 1, 2).copy())
        assert np.array_equal(to_input(planes, contract).numpy(), normalize(levels, contract))


def test_workers_leave_a_core_to_training(monkeypatch) -> None:
    import os

    for cores, processes, expected in [(1, 1, 0), (2, 1, 1), (2, 2, 0), (16, 4, 3), (64, 1, 8)]:
        monkeypatch.setattr(
            os, "sched_getaffinity", lambda _, n=cores: set(range(n)), raising=False
        )
        assert default_workers(processes) == expected


def test_throughput_counts_images_and_waiting(splits: Splits) -> None:
    import time

    meter = Throughput()
    assert meter.images_per_second == 0.0
    for _ in meter.watch(
        train_batches(ClassView(splits.train, CONTRACT, NOTHING), 4, epoch=0, seed=0)
    ):
        time.sleep(0.005)
    assert meter.images == 24
    assert meter.seconds > 0.03
    assert 0.0 < meter.waiting < 1.0
    assert meter.images_per_second == meter.images / meter.seconds
