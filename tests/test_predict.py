"""`predict`: what every kind of output becomes in words and in pictures, and what it refuses."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from conftest import invoke
from fakes import FakeBackend, fake_target
from graphs import random_network, sample_images
from PIL import Image

from exporter.errors import ArtifactError, DataError, UnsupportedError
from exporter.fold import fold
from exporter.golden import run_outputs
from exporter.graph_file import save_graph
from exporter.outputs import Outputs
from exporter.picture_files import plan_pictures
from exporter.predict import Wishes, predict
from exporter.predictions import Classification, Detection, Prediction, Segmentation
from exporter.published import default_spec
from exporter.segmentation.results import label_map
from exporter.spec import ModelSpec, torchvision_preprocess
from exporter.target import Contents, Runner, Target
from exporter.tasks import Task

SIDE = {Task.CLASSIFICATION: 64, Task.DETECTION: 64, Task.SEGMENTATION: 65}
TURNED = 6  # the EXIF orientation of a camera held upright
EXIF_ORIENTATION = 0x0112


@functools.cache
def spec_of(task: Task) -> ModelSpec:
    spec = default_spec(task, width=0.35, resolution=SIDE[task], classes=5)
    return dataclasses.replace(spec, labels=("background", "cat", "dog", "[red] fox", "owl"))


@dataclasses.dataclass(frozen=True)
class Says:
    """A runner that gives the same results for every photo."""

    values: Mapping[str, np.ndarray]

    def results(self, images: np.ndarray) -> Mapping[str, np.ndarray]:
        assert images.dtype == np.float32
        assert images.shape[:2] == (1, 3)
        return self.values

    def __call__(self, images: np.ndarray) -> np.ndarray:
        (value,) = self.results(images).values()
        return value

    def layers(self, images: np.ndarray) -> Mapping[str, np.ndarray]:
        return {}


@dataclasses.dataclass(frozen=True)
class WithSpec(FakeBackend):
    """A target whose artifacts carry their spec, and whose runner may be told what to say."""

    spec: ModelSpec | None = None
    runner: Runner | None = None

    def load(self, path: Path) -> Runner:
        return super().load(path) if self.runner is None else self.runner

    def describe(self, path: Path) -> Contents:
        return dataclasses.replace(super().describe(path), spec=self.spec)


def targets(spec: ModelSpec | None, values: Mapping[str, np.ndarray] | None) -> dict[str, Target]:
    backend = WithSpec(spec=spec, runner=None if values is None else Says(values))
    return {"fake": Target(info=fake_target().info, backend=backend)}


def detections(*rows: tuple[float, float, float, float, float, int]) -> dict[str, np.ndarray]:
    packed = np.zeros((1, 100, 6), np.float32)
    packed[..., 4] = -1
    packed[0, : len(rows)] = rows
    return {"detections": packed}


TWO_OBJECTS = detections((0.25, 0.25, 0.5, 0.75, 0.9, 1), (-0.1, 0.5, 0.5, 1.2, 0.3, 3))


def left_half(value: int) -> dict[str, np.ndarray]:
    labels = np.zeros((1, 65, 65), np.uint8)
    labels[..., :33] = value
    return {"labels": labels}


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    path = tmp_path / "model-int8.fake"
    path.write_bytes(b"")
    return path


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.new("RGB", (200, 100), (90, 120, 90)).save(path)
    return path


def say(
    artifact: Path,
    images: list[Path],
    task: Task,
    values: Mapping[str, np.ndarray],
    wishes: Wishes | None = None,
) -> list[Prediction]:
    return predict(artifact, images, targets(spec_of(task), values), wishes or Wishes())


def test_objects_are_told_in_pixels_of_the_photo(artifact: Path, photo: Path) -> None:
    """The default threshold leaves the worse one out."""
    (found,) = say(artifact, [photo], Task.DETECTION, TWO_OBJECTS)
    assert isinstance(found, Detection)
    (cat,) = found.objects
    assert (cat.index, cat.label, cat.box) == (1, "cat", (50.0, 25.0, 100.0, 75.0))
    assert cat.score == pytest.approx(0.9)
    assert (found.width, found.height, found.picture) == (200, 100, None)


def test_the_threshold_is_the_users(artifact: Path, photo: Path) -> None:
    """A box that reaches beyond the photo ends with it."""
    wishes = Wishes(threshold=0.0)
    (found,) = say(artifact, [photo], Task.DETECTION, TWO_OBJECTS, wishes)
    assert isinstance(found, Detection)
    assert [o.label for o in found.objects] == ["cat", "[red] fox"]
    assert found.objects[1].box == (0.0, 50.0, 100.0, 100.0)


def test_boxes_off_the_photo_and_of_no_number_are_left_out(artifact: Path, photo: Path) -> None:
    values = detections((1.1, 0, 1.3, 1, 0.9, 1), (np.nan, 0, 1, 1, 0.9, 1), (0, 0, 1, 1, 0.8, 2))
    (found,) = say(artifact, [photo], Task.DETECTION, values)
    assert isinstance(found, Detection)
    assert [o.label for o in found.objects] == ["dog"]


def test_a_turned_photo_is_told_and_drawn_upright(artifact: Path, tmp_path: Path) -> None:
    path, out = tmp_path / "turned.jpg", tmp_path / "out.png"
    image = Image.new("RGB", (300, 120))
    exif = image.getexif()
    exif[EXIF_ORIENTATION] = TURNED
    image.save(path, exif=exif)
    (found,) = say(artifact, [path], Task.DETECTION, TWO_OBJECTS, Wishes(out=out))
    assert isinstance(found, Detection)
    assert (found.width, found.height) == (120, 300)
    assert found.objects[0].box == (30.0, 75.0, 60.0, 225.0)
    with Image.open(out) as picture:
        assert picture.size == (120, 300)
        assert picture.getpixel((59, 224)) != (0, 0, 0)


def test_regions_are_told_by_their_share(artifact: Path, photo: Path) -> None:
    (found,) = say(artifact, [photo], Task.SEGMENTATION, left_half(2))
    assert isinstance(found, Segmentation)
    assert [(r.index, r.label) for r in found.regions] == [(0, "background"), (2, "dog")]
    assert found.regions[1].share == pytest.approx(33 / 65)
    assert found.seen == 1.0


def test_regions_are_drawn_where_the_network_looked(artifact: Path, photo: Path) -> None:
    """Of a photo twice as wide as high, a center crop sees the middle half."""
    spec = spec_of(Task.SEGMENTATION)
    contract = dataclasses.replace(torchvision_preprocess(65), resize_size=65)
    spec = dataclasses.replace(spec, preprocess=contract)
    out = photo.with_name("out.png")
    wishes = Wishes(out=out)
    (found,) = predict(artifact, [photo], targets(spec, left_half(2)), wishes)
    assert isinstance(found, Segmentation)
    assert found.seen == pytest.approx(0.5, abs=0.01)
    with Image.open(photo) as before, Image.open(out) as after:
        changed = (np.asarray(before) != np.asarray(after)).any(2)[90]  # below the legend
    assert np.flatnonzero(changed)[[0, -1]].tolist() == [49, 99]
    assert changed[49:100].all()


def test_classes_are_told_as_before(artifact: Path, photo: Path) -> None:
    logits = {"logits": np.array([[0.0, 2.0, 1.0, -1.0, 0.0]], np.float32)}
    (found,) = say(artifact, [photo], Task.CLASSIFICATION, logits, Wishes(top=2))
    assert isinstance(found, Classification)
    assert [label for label, _ in found.classes] == ["cat", "dog"]
    assert found.classes[0][1] == pytest.approx(np.exp(2) / np.exp([0, 2, 1, -1, 0]).sum())


def test_raw_and_decoded_outputs_tell_the_same(tmp_path: Path, photo: Path) -> None:
    """A random network, run; everything above its own threshold."""
    path, spec = tmp_path / "model.fake", spec_of(Task.DETECTION)
    model = random_network(spec)
    told = []
    for outputs in (Outputs.RAW, Outputs.DECODED):
        save_graph(fold(model, outputs), path)
        (found,) = predict(path, [photo], targets(spec, None), Wishes(threshold=0.0))
        assert isinstance(found, Detection)
        told.append(found.objects)
    assert len(told[0]) > 10
    assert [o.index for o in told[0]] == [o.index for o in told[1]]
    for a, b in zip(*told, strict=True):
        assert a.box == pytest.approx(b.box, abs=0.01)


def test_every_output_of_a_segmenter_gives_one_label_map() -> None:
    spec = spec_of(Task.SEGMENTATION)
    model, images = random_network(spec), sample_images(spec, 2, seed=5)
    full = label_map(run_outputs(fold(model), images), spec)
    lowres = label_map(run_outputs(fold(model, Outputs.LOWRES_LOGITS), images), spec)
    assert full.shape == (2, 65, 65)
    assert full.dtype == np.uint8
    assert len(np.unique(full)) > 1
    assert np.array_equal(full, lowres)
    assert np.array_equal(label_map({"labels": full}, spec), full)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"probabilities": np.zeros((1, 5))}, "no label map in the outputs probabilities"),
        (left_half(5), "label 5 of 5 classes"),
    ],
)
def test_other_outputs_are_refused(values: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        label_map(values, spec_of(Task.SEGMENTATION))


def test_a_label_map_of_another_task_is_a_mistake() -> None:
    with pytest.raises(TypeError, match="detection"):
        label_map({}, spec_of(Task.DETECTION))


def test_a_folder_gets_a_picture_per_image(artifact: Path, photo: Path, tmp_path: Path) -> None:
    """Files that were there stay, but those of the same name."""
    other, out = tmp_path / "other.photo.png", tmp_path / "new" / "out"
    Image.new("RGB", (30, 40)).save(other)
    out.mkdir(parents=True)
    (out / "notes.txt").write_text("mine")
    (out / "photo-model-int8.png").write_text("of an earlier run")
    for task, values in ((Task.DETECTION, TWO_OBJECTS), (Task.SEGMENTATION, left_half(1))):
        found = say(artifact, [photo, other], task, values, Wishes(out=out))
        names = ["photo-model-int8.png", "other.photo-model-int8.png"]
        assert [p.picture for p in found if not isinstance(p, Classification)] == [
            str(out / name) for name in names
        ]
        assert sorted(p.name for p in out.iterdir()) == sorted(["notes.txt", *names])
        for path, size in zip(names, [(200, 100), (30, 40)], strict=True):
            with Image.open(out / path) as picture:
                assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", size)


def test_pictures_are_equal_bytes_for_equal_input(artifact: Path, photo: Path) -> None:
    pictures = []
    for name in ("a.png", "b.PNG"):
        wishes = Wishes(out=photo.with_name(name))
        say(artifact, [photo], Task.DETECTION, TWO_OBJECTS, wishes)
        pictures.append(photo.with_name(name).read_bytes())
    assert pictures[0] == pictures[1]


def test_a_bad_image_leaves_no_picture(artifact: Path, photo: Path, tmp_path: Path) -> None:
    bad, out = tmp_path / "bad.jpg", tmp_path / "out"
    bad.write_text("these are notes")
    with pytest.raises(DataError, match=r"bad\.jpg: cannot be decoded"):
        say(artifact, [photo, bad], Task.DETECTION, TWO_OBJECTS, Wishes(out=out))
    assert not out.exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == [bad.name, artifact.name, photo.name]


def test_a_photo_that_cannot_be_resized_is_named(artifact: Path, tmp_path: Path) -> None:
    line = tmp_path / "line.png"
    Image.new("RGB", (1, 60_000)).save(line)
    spec = dataclasses.replace(
        spec_of(Task.DETECTION), preprocess=dataclasses.replace(torchvision_preprocess(64))
    )
    with pytest.raises(DataError, match=r"line\.png: a photo of 1 x 60000 would become"):
        predict(artifact, [line], targets(spec, TWO_OBJECTS), Wishes())


@pytest.mark.parametrize("out", ["photo.png", "same.png"])
def test_the_image_itself_is_never_replaced(artifact: Path, photo: Path, out: str) -> None:
    """Not under another name either."""
    photo.with_name("same.png").hardlink_to(photo)
    before = photo.read_bytes()
    with pytest.raises(DataError, match="would replace the image itself"):
        say(artifact, [photo], Task.DETECTION, TWO_OBJECTS, Wishes(out=photo.with_name(out)))
    assert photo.read_bytes() == before


def test_an_image_with_the_name_of_a_picture_is_never_replaced(tmp_path: Path) -> None:
    images = [tmp_path / "a.jpg", tmp_path / "a-model.png"]
    for image in images:
        image.write_bytes(b"")
    with pytest.raises(DataError, match=r"a-model\.png: the picture would replace"):
        plan_pictures(tmp_path, Path("model.onnx"), images)


@pytest.mark.parametrize(
    ("out", "images", "error", "message"),
    [
        ("a.png", ["1.jpg", "2.jpg"], UnsupportedError, "one picture for 2 images"),
        ("a.jpg", ["1.jpg"], UnsupportedError, "pictures are PNG files"),
        ("out", ["x/1.jpg", "y/1.png"], DataError, r"1\.jpg and y/1\.png would both be drawn as"),
        ("out", ["Cat.jpg", "cat.png"], DataError, "would both be drawn as"),
    ],
)
def test_names_that_cannot_be(
    out: str, images: list[str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        plan_pictures(Path(out), Path("model.onnx"), [Path(image) for image in images])


def test_a_folder_may_be_called_as_it_likes(tmp_path: Path) -> None:
    folder = tmp_path / "pictures.png"
    folder.mkdir()
    files = plan_pictures(folder, Path("m.tflite"), [Path("1.jpg"), Path("2.jpg")])
    assert files.paths() == [folder / "1-m.png", folder / "2-m.png"]


def test_a_file_in_place_of_the_folder_is_left_alone(artifact: Path, photo: Path) -> None:
    out = photo.with_name("notes")
    out.write_text("mine")
    with pytest.raises(ArtifactError, match="exists and is not a directory"):
        say(artifact, [photo], Task.DETECTION, TWO_OBJECTS, Wishes(out=out))
    assert out.read_text() == "mine"


@pytest.mark.parametrize("threshold", [-0.1, 1.5, float("nan")])
def test_a_threshold_is_a_score(artifact: Path, photo: Path, threshold: float) -> None:
    with pytest.raises(UnsupportedError, match=r"outside 0\.\.1"):
        say(artifact, [photo], Task.DETECTION, TWO_OBJECTS, Wishes(threshold=threshold))


@pytest.mark.parametrize(
    ("task", "wishes", "message"),
    [
        (Task.CLASSIFICATION, Wishes(out=Path("out")), "nothing to draw"),
        (Task.CLASSIFICATION, Wishes(threshold=0.5), "no scores of objects"),
        (Task.SEGMENTATION, Wishes(threshold=0.5), "no scores of objects"),
    ],
)
def test_wishes_of_another_task(
    artifact: Path, photo: Path, task: Task, wishes: Wishes, message: str
) -> None:
    with pytest.raises(UnsupportedError, match=message):
        say(artifact, [photo], task, {}, wishes)


def run(monkeypatch: pytest.MonkeyPatch, task: Task, values: dict[str, np.ndarray]) -> None:
    """Let the command line know the fake target alone."""
    monkeypatch.setattr("exporter.run_commands.all_targets", lambda: targets(spec_of(task), values))


def test_the_table_of_objects(artifact: Path, photo: Path, monkeypatch) -> None:
    run(monkeypatch, Task.DETECTION, TWO_OBJECTS)
    result = invoke("predict", artifact, photo, "--threshold", "0.2")
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.stdout.splitlines()]
    assert rows[0][-4:] == ["200", "x", "100", "px"]
    assert rows[1] == ["label", "score", "left", "top", "right", "bottom"]
    assert rows[2] == ["cat", "90.0%", "50", "25", "100", "75"]
    assert rows[3] == ["[red]", "fox", "30.0%", "0", "50", "100", "100"]
    assert rows[4][0] == "--out"
    nothing = invoke("predict", artifact, photo, "--threshold", "0.95")
    assert "nothing scores 95% or more" in nothing.stdout


def test_the_table_of_regions(artifact: Path, photo: Path, monkeypatch) -> None:
    run(monkeypatch, Task.SEGMENTATION, left_half(3))
    out = photo.with_name("shown.png")
    result = invoke("predict", artifact, photo, "--out", out)
    assert result.exit_code == 0, result.output
    assert f"[red] fox   50.8% {'#' * 15}" in result.stdout
    assert "background  49.2%" in result.stdout
    assert f"drawn: {out}" in result.stdout
    assert "--out" not in result.stdout
    assert out.is_file()


def test_the_json_document(artifact: Path, photo: Path, monkeypatch) -> None:
    """The same threshold as for the table, and where the picture is."""
    run(monkeypatch, Task.DETECTION, TWO_OBJECTS)
    out = photo.with_name("pictures")
    document = json.loads(invoke("predict", artifact, photo, "--out", out, "--json").stdout)
    (found,) = document
    (cat,) = found.pop("objects")
    assert found == {
        "image": str(photo),
        "width": 200,
        "height": 100,
        "threshold": 0.4,
        "picture": str(out / "photo-model-int8.png"),
    }
    assert cat == {
        "index": 1,
        "label": "cat",
        "score": pytest.approx(0.9),
        "box": [50.0, 25.0, 100.0, 75.0],
    }


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["missing.jpg"], 4, "missing.jpg: no such image"),
        (["{artifact}"], 4, "cannot be decoded as an image"),
        (["{photo}", "--threshold", "2"], 5, "threshold 2 is outside 0..1"),
        (["{photo}", "{photo}", "--out", "both.png"], 5, "one picture for 2 images"),
        (["{photo}", "--out", "{photo}"], 4, "would replace the image itself"),
        (["{photo}", "--out", "{artifact}"], 9, "exists and is not a directory"),
        (["{photo}", "--threshold", "high"], 2, "--threshold"),
    ],
)
def test_bad_input_gets_one_clear_line(
    artifact: Path, photo: Path, monkeypatch, arguments: list[str], code: int, message: str
) -> None:
    run(monkeypatch, Task.DETECTION, TWO_OBJECTS)
    monkeypatch.chdir(photo.parent)
    before = sorted(p.name for p in photo.parent.iterdir())
    result = invoke(
        "predict", artifact, *(a.format(artifact=artifact, photo=photo) for a in arguments)
    )
    assert result.exit_code == code
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert sorted(p.name for p in photo.parent.iterdir()) == before


def test_an_artifact_without_a_spec_says_what_it_lacks(artifact: Path, photo: Path) -> None:
    with pytest.raises(ArtifactError, match="carries no preprocessing"):
        predict(artifact, [photo], targets(None, TWO_OBJECTS), Wishes())
