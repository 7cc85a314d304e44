"""What `train` is given: images of every kind as they look, and one clear line for the rest."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import invoke
from odd_images import BLUE, RED, write_odd_images, write_turned
from training_data import SMALL, colors

from exporter import demo
from exporter.spec import keras_preprocess
from exporter.training.augment import Augment
from exporter.training.loading import Batch, train_batches, val_batches
from exporter.training.sources import ImageSource, open_source
from exporter.training.views import ClassView

CONTRACT = keras_preprocess(32)
AS_IT_IS = Augment(scale=None, flip=0.0)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders by what is wrong with them."""
    root = tmp_path_factory.mktemp("inputs")
    colors(root / "good")
    (root / "empty").mkdir()
    for name in ("a", "b"):
        (root / "hollow" / name).mkdir(parents=True)
        (root / "damaged" / name).mkdir(parents=True)
        (root / "damaged" / name / "x.png").write_bytes(b"no image")
    (root / "loose").mkdir()
    shutil.copy(root / "good" / "red" / "00.png", root / "loose")
    colors(root / "single", each=1)
    colors(root / "one" / "deep", each=3)
    shutil.copytree(root / "good" / "red", root / "foreign" / "rot")
    for part in ("train", "val"):
        shutil.copytree(root / "good" / "red", root / "halves" / part / f"{part} red")
        shutil.copytree(root / "good" / "blue", root / "halves" / part / "blue")
    return root


REFUSED = {
    "an empty folder": (["{0}/empty"], 4, "an empty folder"),
    "folders without images": (["{0}/hollow"], 4, "no images in its 2 folders"),
    "images in no folder": (["{0}/loose"], 4, "1 images lie in the folder itself"),
    "an image": (["{0}/loose/00.png"], 4, "not a data set"),
    "one class": (["{0}/one"], 4, "only one class, 'deep'"),
    "an image per class": (["{0}/single"], 4, "no images left to validate on"),
    "nothing readable": (["{0}/damaged"], 4, "2 of 2 images cannot be read"),
    "a class that is only validated": (["{0}/halves"], 4, "class 'val red' (val red/00.png)"),
    "validation of other classes": (["{0}/good", "--val", "{0}/foreign"], 4, "class 'rot'"),
    "validation of nothing": (["{0}/good", "--val", "{0}/empty"], 4, "an empty folder"),
    "missing validation": (["{0}/good", "--val", "{0}/none"], 4, "none: no such file or folder"),
    "too small": (["{0}/good", "--resolution", "16"], 5, "resolution 16 px is outside 32..2048"),
    "just too small": (["{0}/good", "--resolution", "31"], 5, "31 px"),
    "negative": (["{0}/good", "--resolution", "-32"], 5, "-32 px"),
    "too large": (["{0}/good", "--resolution", "4096"], 5, "4096 px"),
    "no size": (["{0}/good", "--init", "{1}", "--resolution", "0"], 5, "0 px"),
    "too small from a checkpoint": (
        ["{0}/good", "--init", "{1}", "--resolution", "16"],
        5,
        "16 px",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_trained_on_gets_one_clear_error(
    case: str, inputs: Path, tmp_path: Path
) -> None:
    """One error line and one of what to do, the documented exit code, and no run folder."""
    arguments, code, message = REFUSED[case]
    filled = [argument.format(inputs, demo.CHECKPOINT) for argument in arguments]
    refused = invoke("train", *filled, "--out", tmp_path / "runs")
    assert refused.exit_code == code, refused.output
    error, hint = refused.stderr.splitlines()
    assert error.startswith("error: ")
    assert message in error
    assert hint.startswith("  -> ")
    assert refused.stdout == ""
    assert not (tmp_path / "runs").exists()


def odd_source(root: Path) -> tuple[ImageSource, dict[str, tuple[int, int, int]]]:
    expected = write_odd_images(root / "odd")
    write_turned(root / "turned")
    return open_source(root, None), expected


def by_name(source: ImageSource, batches: list[Batch]) -> dict[str, np.ndarray]:
    return {
        Path(source.name(int(index))).name: image.numpy()
        for batch in batches
        for image, index in zip(batch.images, batch.indices, strict=True)
    }


@pytest.mark.parametrize("part", ["train", "val"])
def test_odd_images_are_seen_in_their_colors_and_upright(tmp_path: Path, part: str) -> None:
    """1 x 1, CMYK, 16 bits, palettes with and without transparency, and a turned camera."""
    source, expected = odd_source(tmp_path)
    assert source.notes == ()
    if part == "train":
        batches = train_batches(ClassView(source, CONTRACT, AS_IT_IS), 1, epoch=0, seed=0)
    else:
        batches = val_batches(ClassView(source, CONTRACT), 4)
    seen = by_name(source, list(batches))
    for name, color in expected.items():
        assert seen[name].shape == (3, 32, 32)
        assert (seen[name] == np.array(color)[:, None, None]).all(), name
    assert np.array_equal(seen["turned.png"], seen["upright.png"])
    assert tuple(seen["turned.png"][:, 2, 16]) == BLUE  # above
    assert tuple(seen["turned.png"][:, -2, 16]) == RED


def test_a_data_set_with_odd_images_is_trained_on(tmp_path: Path) -> None:
    data = colors(tmp_path / "data", each=6)
    write_odd_images(data / "red")
    write_turned(data / "blue")
    options = [*SMALL, "--epochs", "1", "--out", tmp_path / "runs", "--json"]
    done = invoke("train", data, *options)
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert not [note for note in document["notes"] if "skipped" in note]
    assert (Path(document["run"]["folder"]) / "best.safetensors").is_file()
