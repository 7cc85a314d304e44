"""The app's core running real models on the JVM, against Python and the golden vectors."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from driver import WORK, App, Driver
from PIL import Image

from exporter.files import sha256
from exporter.known_targets import all_targets
from exporter.predict import Wishes, predict
from exporter.predictions import Classification, Detection, Segmentation
from exporter.preprocess import normalize
from exporter.spec import Preprocess

INT8 = [
    "classification-int8",
    "detection-int8",
    "detection_nms-int8",
    "segmentation-int8",
    "segmentation_labels-int8",
]
FP32 = ["classification-fp32", "detection-fp32", "segmentation-fp32"]
LIMIT_DB = 100.0
CPP_APPS = WORK.parent / "cpp/apps"
Tampering = Callable[[App], None]


def ask(driver: Driver, command: str, app: App, folder: Path, **more: object) -> dict[str, Any]:
    """With the digest that the app has compiled in."""
    return driver.ask(command, model=app.model, pin=app.pin, unpacked=folder / "unpacked", **more)


def self_test(driver: Driver, app: App, folder: Path) -> dict[str, Any]:
    """What the self-test screen shows."""
    return ask(driver, "self_test", app, folder, dump=folder / "dump")


def in_python(app: App) -> dict[str, np.ndarray]:
    """The outputs for all golden images by ExecuTorch's own Python binding."""
    contract = Preprocess.from_json(app.manifest["spec"]["preprocess"])
    images = sorted((app.model / "golden").glob("*.png"))
    pixels = np.stack([np.asarray(Image.open(image).convert("RGB")) for image in images])
    runner = all_targets()["android"].backend.load(app.artifact)
    return dict(runner.results(normalize(pixels, contract)))


@pytest.mark.parametrize("name", INT8 + FP32)
def test_self_test_passes(driver: Driver, apps: dict[str, App], tmp_path: Path, name: str) -> None:
    """Every output as the manifest asks for it: int8 to the last bit, but for powers of e."""
    report = self_test(driver, apps[name], tmp_path)
    tests = apps[name].manifest["artifacts"][0]["self_test"]["outputs"]
    assert report["passed"]
    assert report["images"] == 20
    assert [output["name"] for output in report["outputs"]] == [test["name"] for test in tests]
    for output, test in zip(report["outputs"], tests, strict=True):
        if test["exact"]:
            assert output["equal"] == output["of"] == 20
            assert output["difference"] is None
        else:
            assert output["db"] == "equal" or output["db"] >= test["min_sqnr_db"] >= LIMIT_DB


@pytest.mark.parametrize("name", INT8 + FP32)
def test_gives_every_bit_that_python_gives(
    driver: Driver, apps: dict[str, App], tmp_path: Path, name: str
) -> None:
    """The same runtime through Java's classes and through Python's, and the same input."""
    self_test(driver, apps[name], tmp_path)
    for output, results in in_python(apps[name]).items():
        assert len(results) == 20
        for image, result in enumerate(results):
            dumped = tmp_path / "dump" / f"{image}-{output}"
            assert dumped.read_bytes() == result.tobytes(), (image, output)


@pytest.mark.parametrize("name", INT8 + FP32)
def test_gives_every_bit_that_cpp_gives(
    driver: Driver, apps: dict[str, App], tmp_path: Path, name: str
) -> None:
    """The C++ sample's program, where its own checks have built it in the same folder."""
    app = apps[name]
    program = CPP_APPS / name.removesuffix("-int8") / "build/mnv2_runner"
    if not program.is_file():
        pytest.skip("the C++ sample's checks have not run")
    self_test(driver, app, tmp_path)
    command = [program, "--model", app.model, "--artifact", app.artifact.name, "--self-test"]
    command += ["--dump-results", tmp_path / "cpp"]
    subprocess.run(command, check=True, capture_output=True)
    for output in app.manifest["artifacts"][0]["self_test"]["outputs"]:
        files = sorted((tmp_path / "cpp").glob(f"*.{output['name']}.*"))
        assert len(files) == 20
        for image, file in enumerate(files):
            dumped = tmp_path / "dump" / f"{image}-{output['name']}"
            assert dumped.read_bytes() == file.read_bytes(), file


@pytest.mark.parametrize("name", INT8)
def test_says_of_photos_what_predict_says(
    driver: Driver, apps: dict[str, App], tmp_path: Path, name: str
) -> None:
    """Wide, tall and of the golden images, which have things on them."""
    app = apps[name]
    tiles = [np.asarray(Image.open(file)) for file in sorted(app.model.glob("golden/*image*.png"))]
    photos = [tiles[0], np.hstack(tiles[:2]), np.vstack(tiles[2:4])[7:], np.hstack(tiles[4:7])]
    target = all_targets()
    for index, pixels in enumerate(photos):
        photo = tmp_path / f"{index}.png"
        Image.fromarray(pixels).save(photo)
        (tmp_path / "rgb").write_bytes(np.ascontiguousarray(pixels).tobytes())
        found = ask(
            driver,
            "predict",
            app,
            tmp_path,
            rgb=tmp_path / "rgb",
            width=pixels.shape[1],
            height=pixels.shape[0],
        )
        [expected] = predict(app.artifact, [photo], target, Wishes())
        rows = plain(expected)
        assert [row[0] for row in found["rows"]] == [row[0] for row in rows]
        numbers = [row[1:] for row in found["rows"]]
        np.testing.assert_allclose(numbers, [row[1:] for row in rows], rtol=1e-6, atol=1e-6)


def plain(found: Classification | Detection | Segmentation) -> list[list[Any]]:
    """As the driver lists it."""
    if isinstance(found, Classification):
        return [[label, probability] for label, probability in found.classes]
    if isinstance(found, Detection):
        return [[thing.label, thing.score, *thing.box] for thing in found.objects]
    return [[region.label, region.share] for region in found.regions]


@pytest.fixture
def copied(apps: dict[str, App], tmp_path: Path) -> Callable[[str], App]:
    """A copy of an app, to be damaged."""

    def copy(name: str) -> App:
        return App(Path(shutil.copytree(apps[name].root, tmp_path / "app")))

    return copy


def change_manifest(app: App, change: Callable[[dict[str, Any]], None]) -> None:
    """Rewrites the manifest, and what is compiled in with it: a model that really is another."""
    manifest = app.manifest
    change(manifest)
    old = app.pin
    text = json.dumps(manifest).encode()
    (app.model / "manifest.json").write_bytes(text)
    source = app.root / "app/src/main/java/io/github/mnv2/app/ModelContract.kt"
    source.write_text(source.read_text().replace(old, hashlib.sha256(text).hexdigest()))


def flip_byte(file: Path) -> None:
    """One bit in the middle."""
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def grow_manifest(app: App) -> None:
    """A blank more."""
    file = app.model / "manifest.json"
    file.write_text(file.read_text() + " ")


def damage_expected(app: App) -> None:
    """Half of it."""
    file = app.model / "golden/expected.json"
    file.write_text(file.read_text()[:1000])


def grow_expected(app: App) -> None:
    """A blank more."""
    file = app.model / "golden/expected.json"
    file.write_text(file.read_text() + " ")


def changed(section: str, key: str, value: object) -> Tampering:
    """A manifest that says something else."""
    return lambda app: change_manifest(app, lambda manifest: manifest[section].update({key: value}))


def restated(key: str, value: object) -> Tampering:
    """A manifest that says something else of the artifact's first output."""

    def change(manifest: dict[str, Any]) -> None:
        manifest["artifacts"][0]["self_test"]["outputs"][0][key] = value

    return lambda app: change_manifest(app, change)


@dataclasses.dataclass(frozen=True)
class Damage:
    """What is done to an app, and words of the message that it must show."""

    do: Tampering
    said: str
    build: str = "classification-int8"


DAMAGES = {
    "artifact": Damage(lambda app: flip_byte(app.artifact), "model-int8.pte was changed after"),
    "manifest": Damage(grow_manifest, "manifest.json was changed after `mnv2-export sample`"),
    "no artifact": Damage(lambda app: app.artifact.unlink(), "cannot be unpacked"),
    "no manifest": Damage(lambda app: (app.model / "manifest.json").unlink(), "is missing"),
    "no golden": Damage(lambda app: shutil.rmtree(app.model / "golden"), "is missing"),
    "golden cut off": Damage(damage_expected, "expected.json is damaged"),
    "schema": Damage(
        lambda app: change_manifest(app, lambda m: m.update(schema_version=2)), "schema version 2"
    ),
    "no spec": Damage(
        lambda app: change_manifest(app, lambda m: m.pop("spec")), "manifest.json is damaged"
    ),
    "task": Damage(changed("spec", "task", "poetry"), "does not know models for poetry"),
    "io": Damage(changed("options", "io", "uint8"), "not 1 of uint8"),
    "batch": Damage(changed("options", "batch", 4), "not 4 of float32"),
    "artifacts": Damage(
        lambda app: change_manifest(app, lambda m: m["artifacts"].append({})), "one artifact"
    ),
    "output": Damage(restated("name", "lowres_logits"), "gives lowres_logits"),
    "golden image": Damage(
        lambda app: flip_byte(app.model / "golden/03-noise.png"), "model/golden was changed after"
    ),
    "golden result": Damage(grow_expected, "model/golden was changed after"),
    "no golden image": Damage(
        lambda app: (app.model / "golden/03-noise.png").unlink(), "03-noise.png is missing"
    ),
    "shape": Damage(restated("shape", [25]), "logits of shape 25, which cannot be"),
    "another shape": Damage(
        restated("shape", [13, 9, 9]), "logits of shape 1 x 13 x 161", "segmentation-int8"
    ),
    "labels": Damage(changed("spec", "labels", ["one"]), "1 labels for 24 classes"),
    "crop": Damage(
        lambda app: change_manifest(app, lambda m: m["spec"]["preprocess"].update(crop_size=10**6)),
        "a crop of 1000000 from",
    ),
    "scale": Damage(changed("normalize", "scale", [1.0]), "a scale of 1 channels"),
    "type": Damage(restated("dtype", "uint8"), "as FLOAT"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_damage_is_named(
    driver: Driver, copied: Callable[[str], App], tmp_path: Path, damage: Damage
) -> None:
    """In words for the person who sees the app."""
    app = copied(damage.build)
    damage.do(app)
    assert damage.said in self_test(driver, app, tmp_path)["error"]


@pytest.mark.parametrize("name", ["detection_nms-int8", "segmentation_labels-int8"])
def test_a_class_that_the_model_does_not_have(
    driver: Driver, copied: Callable[[str], App], tmp_path: Path, name: str
) -> None:
    """Refused before anything looks up its label or color."""
    app = copied(name)
    change_manifest(app, lambda manifest: manifest["spec"].update(classes=1, labels=["nothing"]))
    picture = np.asarray(Image.open(next(app.model.glob("golden/*image03.png"))))
    (tmp_path / "rgb").write_bytes(picture.tobytes())
    height, width = picture.shape[:2]
    found = ask(driver, "predict", app, tmp_path, rgb=tmp_path / "rgb", width=width, height=height)
    assert found["error"] == "The model gave a class that it does not have"


def test_a_program_that_the_runtime_refuses_is_named(
    driver: Driver, copied: Callable[[str], App], tmp_path: Path
) -> None:
    """The digest is right, the program is not."""
    app = copied("classification-int8")
    cut = app.artifact.read_bytes()[:5000]
    app.artifact.write_bytes(cut)
    digest = hashlib.sha256(cut).hexdigest()
    change_manifest(app, lambda manifest: manifest["artifacts"][0].update(sha256=digest))
    assert "ExecuTorch could not load the model" in self_test(driver, app, tmp_path)["error"]


def test_an_unpacked_model_is_checked_again(
    driver: Driver, apps: dict[str, App], tmp_path: Path
) -> None:
    """What lies in the app's storage is replaced where it is not the artifact."""
    app = apps["classification-int8"]
    assert self_test(driver, app, tmp_path)["passed"]
    [unpacked] = (tmp_path / "unpacked").iterdir()
    flip_byte(unpacked)
    (tmp_path / "unpacked" / "earlier.pte").touch()
    assert self_test(driver, app, tmp_path)["passed"]
    assert list((tmp_path / "unpacked").iterdir()) == [unpacked]
    assert unpacked.read_bytes() == app.artifact.read_bytes()


def change_expected(app: App, change: Callable[[dict[str, Any]], None]) -> None:
    """Golden vectors that are wrong on purpose, and a manifest that vouches for them."""
    file = app.model / "golden/expected.json"
    expected = json.loads(file.read_text())
    change(expected)
    file.write_text(json.dumps(expected))
    digest = sha256(app.model / "golden")
    change_manifest(app, lambda manifest: manifest.update(golden_sha256=digest))


def test_a_wrong_logit_fails_and_is_shown(
    driver: Driver, copied: Callable[[str], App], tmp_path: Path
) -> None:
    """The first one that differs, by the last bit, of two."""
    app = copied("classification-int8")
    wrong: list[float] = []

    def change(expected: dict[str, Any]) -> None:
        rows = expected["logits"]["int8-xnnpack"]
        right = rows[5][17]
        rows[5][17] = float(np.nextafter(np.float32(right), np.float32(100)))
        rows[9][3] += 1.0
        wrong.extend([rows[5][17], right])

    change_expected(app, change)
    report = self_test(driver, app, tmp_path)
    assert not report["passed"]
    [output] = report["outputs"]
    assert (output["equal"], output["of"]) == (18, 20)
    assert output["difference"] == {
        "image": "image01",
        "index": 17,
        "expected": wrong[0],
        "actual": wrong[1],
    }


def test_a_wrong_sample_fails_and_is_shown(
    driver: Driver, copied: Callable[[str], App], tmp_path: Path
) -> None:
    """Its index is that in the whole output."""
    app = copied("segmentation-int8")

    def change(expected: dict[str, Any]) -> None:
        logits = expected["outputs"]["int8-xnnpack"]["logits"]
        logits["samples"][2][100] += 0.5
        logits["sha256"][2] = "0" * 64
        logits["sha256"][3] = "0" * 64

    change_expected(app, change)
    report = self_test(driver, app, tmp_path)
    stride = json.loads((app.model / "golden/expected.json").read_text())["outputs"][
        "int8-xnnpack"
    ]["logits"]["stride"]
    [output] = report["outputs"]
    assert not report["passed"]
    assert output["equal"] == 18
    assert output["difference"]["image"] == "checkerboard"
    assert output["difference"]["index"] == 100 * stride


def test_a_difference_outside_the_sample_fails(
    driver: Driver, copied: Callable[[str], App], tmp_path: Path
) -> None:
    """By the digest, which does not say where."""
    app = copied("segmentation_labels-int8")
    change_expected(
        app,
        lambda expected: expected["outputs"]["int8-xnnpack"]["labels"]["sha256"].__setitem__(
            4, "0" * 64
        ),
    )
    report = self_test(driver, app, tmp_path)
    assert not report["passed"]
    assert report["outputs"][0]["difference"] == {"image": "image00", "index": None}


def test_floats_that_are_too_far_fail(
    driver: Driver, copied: Callable[[str], App], tmp_path: Path
) -> None:
    """The ratio over all images, with the largest difference."""
    app = copied("classification-fp32")

    def change(expected: dict[str, Any]) -> None:
        expected["logits"]["fp32"][7][11] += 0.25

    change_expected(app, change)
    report = self_test(driver, app, tmp_path)
    [output] = report["outputs"]
    assert not report["passed"]
    assert output["db"] < output["needed"] == LIMIT_DB
    assert (output["difference"]["image"], output["difference"]["index"]) == ("image03", 11)


@pytest.mark.parametrize(("share", "passes"), [(0.999, True), (0.9999, False)])
def test_labels_and_detections_are_held_to_their_share(
    driver: Driver, copied: Callable[[str], App], tmp_path: Path, share: float, passes: bool
) -> None:
    """As the manifest asks of float artifacts."""
    app = copied("segmentation_labels-int8")

    def change(expected: dict[str, Any]) -> None:
        samples = expected["outputs"]["int8-xnnpack"]["labels"]["samples"]
        assert sum(map(len, samples)) == 20 * 256
        for image in range(3):  # 0.06 % of them
            samples[image][50] = 12 - samples[image][50]

    limits = {"exact": False, "min_agreement": share}
    change_expected(app, change)
    change_manifest(
        app, lambda manifest: manifest["artifacts"][0]["self_test"]["outputs"][0].update(limits)
    )
    report = self_test(driver, app, tmp_path)
    assert report["passed"] is passes
    [output] = report["outputs"]
    assert output["share"] == pytest.approx(1 - 3 / (20 * 256))
    assert output["difference"]["image"] == "black"


@pytest.mark.parametrize(("moved", "shared"), [(0.0001, True), (0.5, False)])
def test_detections_are_matched_by_their_boxes(
    driver: Driver, copied: Callable[[str], App], tmp_path: Path, moved: float, shared: bool
) -> None:
    """One of them moved: a little is the same one, more is another."""
    app = copied("detection_nms-int8")
    total = 0

    def change(expected: dict[str, Any]) -> None:
        nonlocal total
        output = expected["outputs"]["int8-xnnpack"]["detections"]
        rows = np.array(output["samples"]).reshape(20, -1, 6)
        total = int((rows[..., 4] >= 0).sum())
        rows[4, 0, :4] += moved
        output["samples"] = rows.reshape(20, -1).tolist()

    def limit(manifest: dict[str, Any]) -> None:
        [output] = manifest["artifacts"][0]["self_test"]["outputs"]
        output.update(exact=False, min_sqnr_db=None, min_agreement=1.0)

    change_expected(app, change)
    change_manifest(app, limit)
    report = self_test(driver, app, tmp_path)
    assert report["passed"] is shared
    assert report["outputs"][0]["share"] == pytest.approx(1.0 if shared else 1 - 1 / total)
