"""What the apps say of photos is what Python says of them with the same artifact."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SANITIZED, app, manifest_of, model_of, run
from made_images import picture
from PIL import Image

from exporter.detection.records import found_in
from exporter.framing import Framing
from exporter.known_targets import all_targets
from exporter.manifest import read_manifest
from exporter.metrics import sqnr_db
from exporter.palette import class_color
from exporter.predictions import classes_of, objects_of, regions_of
from exporter.preprocess import normalize, read_image, to_pixels
from exporter.segmentation.results import label_map
from exporter.spec import ModelSpec
from exporter.tasks import Task
from exporter.verdicts import EXACT_BOXES, FP32

INT8 = ["classification", "detection", "detection_nms", "segmentation", "segmentation_labels"]
FP32_APPS = ["classification-fp32", "detection-fp32", "segmentation-fp32"]
INEXACT = {"boxes", "detections"}  # hold powers of e
TINT = 112  # of 255, in pictures of regions
LOW = 0.05  # threshold that leaves many detections


@pytest.fixture(scope="module")
def images(photos: list[Path], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Real photos, a golden one, a tall and a wide one."""
    folder = tmp_path_factory.mktemp("images")
    golden = sorted((model_of("detection") / "golden").glob("*-image0*.png"))[:3]
    for name, size in {"tall": (120, 333), "wide": (400, 90)}.items():
        picture(*size).save(folder / f"{name}.png")
    return [*photos, *golden, folder / "tall.png", folder / "wide.png"]


def arrays_in(folder: Path, name: str, count: int) -> dict[str, np.ndarray]:
    """What `--dump-results` wrote for so many images."""
    found = {}
    for output in manifest_of(name)["artifacts"][0]["self_test"]["outputs"]:
        suffix, kind = (".u8", "u1") if output["dtype"] == "uint8" else (".f32", "<f4")
        files = sorted(folder.glob(f"*.{output['name']}{suffix}"))
        assert len(files) == count
        rows = [np.fromfile(file, kind).reshape(output["shape"]) for file in files]
        found[output["name"]] = np.stack(rows)
    return found


def inputs_of(images: list[Path], spec: ModelSpec) -> np.ndarray:
    """The network's input for each."""
    pixels = [to_pixels(read_image(path), spec.preprocess) for path in images]
    return normalize(np.stack(pixels), spec.preprocess)


@pytest.mark.parametrize("name", [*INT8, *FP32_APPS])
def test_outputs(name: str, images: list[Path], tmp_path: Path) -> None:
    """Int8: every bit of what Python's ExecuTorch gives; fp32: within FP32."""
    done = run(app(name), "--dump-results", tmp_path, *images)
    assert done.code == 0, done.error
    ours = arrays_in(tmp_path, name, len(images))
    spec = read_manifest(model_of(name)).spec
    (artifact,) = model_of(name).glob("*.pte")
    theirs = all_targets()["android"].backend.load(artifact).results(inputs_of(images, spec))
    for output, expected in theirs.items():
        if name in INT8 and output not in INEXACT:
            assert ours[output].tobytes() == expected.tobytes(), output
        else:
            limit = EXACT_BOXES if name in INT8 else FP32
            assert sqnr_db(expected, ours[output]) >= limit.min_sqnr_db, output


def expected_json(spec: ModelSpec, path: Path, results: dict[str, np.ndarray]) -> dict[str, Any]:
    """What Python makes of an image's results."""
    image = read_image(path)
    framing = Framing(width=image.width, height=image.height, contract=spec.preprocess)
    if spec.task is Task.CLASSIFICATION:
        return {"classes": classes_of(results["logits"][0], spec, 5)}
    if spec.task is Task.DETECTION:
        (found,) = found_in(results, spec)
        objects = objects_of(found, spec, framing, LOW)
        return {"objects": [(o.index, o.label, o.score, list(o.box)) for o in objects]}
    regions = regions_of(label_map(results, spec)[0], spec)
    shown = [(r.index, r.label, r.share) for r in regions]
    return {"regions": shown, "seen": framing.share}


def said(document: dict[str, Any]) -> dict[str, Any]:
    """The same of the app's JSON document."""
    if "classes" in document:
        return {"classes": tuple((label, p) for label, p in document["classes"])}
    if "objects" in document:
        keys = ("index", "label", "score", "box")
        return {"objects": [tuple(o[key] for key in keys) for o in document["objects"]]}
    regions = [(r["index"], r["label"], r["share"]) for r in document["regions"]]
    return {"regions": regions, "seen": document["seen"]}


def compare(name: str, program: Path, model: Path, images: list[Path], folder: Path) -> int:
    """Python's results of the app's own outputs are the app's results; how many there are."""
    done = run(
        program, "--model", model, "--json", "--threshold", LOW, "--dump-results", folder, *images
    )
    assert done.code == 0, done.error
    outputs = arrays_in(folder, name, len(images))
    spec = read_manifest(model).spec
    count = 0
    for index, (path, document) in enumerate(zip(images, done.json, strict=True)):
        results = {key: value[index : index + 1] for key, value in outputs.items()}
        expected, actual = expected_json(spec, path, results), said(document)
        assert document["image"] == str(path)
        if "classes" in expected:
            assert [label for label, _ in actual["classes"]] == [c[0] for c in expected["classes"]]
            wanted = [c[1] for c in expected["classes"]]
            assert np.allclose([p for _, p in actual["classes"]], wanted, rtol=1e-12, atol=0)
        else:
            assert actual == expected
        count += len(next(iter(expected.values())))
    return count


@pytest.mark.parametrize("name", INT8)
def test_predictions(name: str, images: list[Path], tmp_path: Path) -> None:
    """The likeliest classes, the objects on the photo and the regions, to the last digit."""
    assert compare(name, app(name), model_of(name), images, tmp_path) > 2 * len(images)


@pytest.mark.parametrize("name", ["detection", "detection_nms", "segmentation"])
def test_predictions_of_cropped_photos(name: str, images: list[Path], tmp_path: Path) -> None:
    """Boxes and regions come back to photos of which the network saw the middle."""
    model = Path(shutil.copytree(model_of(name), tmp_path / "model"))
    manifest = manifest_of(name)
    crop = manifest["spec"]["preprocess"]["crop_size"]
    manifest["spec"]["preprocess"] |= {
        "resize_rule": "shortest",
        "resize_filter": "bicubic",
        "resize_size": crop + 27,
    }
    (model / "manifest.json").write_text(json.dumps(manifest))
    assert compare(name, SANITIZED, model, images, tmp_path / "results") > 2 * len(images)


def test_probabilities_are_taken_as_they_are(tmp_path: Path, images: list[Path]) -> None:
    """Of an artifact whose last step is a softmax."""
    model = Path(shutil.copytree(model_of("classification"), tmp_path / "model"))
    manifest = manifest_of("classification")
    manifest["options"]["softmax"] = True
    (model / "manifest.json").write_text(json.dumps(manifest))
    done = run(
        SANITIZED, "--model", model, "--json", "--dump-results", tmp_path / "r", "--top", 99,
        images[0],
    )  # fmt: skip
    (values,) = arrays_in(tmp_path / "r", "classification", 1)["logits"]
    order = np.argsort(-values, kind="stable")
    labels = manifest["spec"]["labels"]
    assert done.json[0]["classes"] == [[labels[i], float(values[i])] for i in order]


def test_labels_may_be_missing(tmp_path: Path, images: list[Path]) -> None:
    """Classes are then called by their numbers, as Python does."""
    model = Path(shutil.copytree(model_of("classification"), tmp_path / "model"))
    manifest = manifest_of("classification")
    manifest["spec"]["labels"] = []
    (model / "manifest.json").write_text(json.dumps(manifest))
    done = run(SANITIZED, "--model", model, "--json", images[0])
    assert all(label.startswith("class ") for label, _ in done.json[0]["classes"])


@pytest.mark.parametrize("suffix", [".png", ".ppm"])
def test_picture_of_regions(images: list[Path], tmp_path: Path, suffix: str) -> None:
    """Each pixel of the photo is tinted by the class that Python puts there."""
    name, out = "segmentation_labels", tmp_path / f"out{suffix}"
    run(app(name), "--dump-results", tmp_path, "--out", out, images[0])
    (labels,) = arrays_in(tmp_path, name, 1)["labels"]
    spec = read_manifest(model_of(name)).spec
    photo = np.asarray(read_image(images[0])).astype(np.int64)
    framing = Framing(width=photo.shape[1], height=photo.shape[0], contract=spec.preprocess)
    on_photo = framing.labels_to_photo(labels)
    colors = np.array([(0, 0, 0), *(class_color(i) for i in range(1, spec.classes))])
    tinted = (photo * (255 - TINT) + colors[on_photo] * TINT + 127) // 255
    expected = np.where(on_photo[..., None] > 0, tinted, photo)
    assert 0 < (on_photo > 0).mean() < 1
    assert np.array_equal(np.asarray(Image.open(out)), expected)


def test_picture_of_objects(images: list[Path], tmp_path: Path) -> None:
    """Lines in the class's color along the box that is stated; nothing else changes."""
    image, out = images[1], tmp_path / "out.png"
    done = run(app("detection"), "--json", "--out", out, image)
    best = done.json[0]["objects"][0]
    before, after = np.asarray(read_image(image)), np.asarray(Image.open(out))
    left, top = (round(value) for value in best["box"][:2])
    assert tuple(after[top, left]) == class_color(best["index"])
    assert best["color"] == "#{:02x}{:02x}{:02x}".format(*class_color(best["index"]))
    changed = (before != after).any(-1)
    assert 0 < changed.mean() < 0.5


def test_text(images: list[Path]) -> None:
    """For people: the labels with what they score."""
    done = run(app("classification"), "--top", 2, images[0])
    lines = done.output.splitlines()
    assert lines[0].startswith(str(images[0]))
    assert len(lines) == 3
    assert "nothing found" in run(app("detection"), "--threshold", "1", images[-1]).output


def test_nothing_but_the_digest_is_compiled_in(tmp_path: Path, images: list[Path]) -> None:
    """An app finds its model beside itself, wherever it is started."""
    shutil.copytree(model_of("detection"), tmp_path / "model")
    elsewhere = run(app("classification"), "--json", images[0], cwd=tmp_path)
    assert elsewhere.code == 0, elsewhere.error
    header = (app("classification").parent.parent / "src" / "model_contract.h").read_text()
    manifest = (model_of("classification") / "manifest.json").read_bytes()
    assert hashlib.sha256(manifest).hexdigest() in header
