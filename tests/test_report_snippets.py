"""Code in a report: the Python of it runs, the rest has this model's names and numbers."""

from __future__ import annotations

import dataclasses
import json
import os
import warnings
from pathlib import Path

import numpy as np
import pytest

from exporter.manifest import read_manifest
from exporter.report.records import Inside
from exporter.report.snippets import WRITERS, snippets
from exporter.report.snippets_python import PHOTO, python_snippet
from exporter.spec import ChannelOrder, Precision
from exporter.target import TensorInfo
from exporter.vectors import reference_key

IMAGE = 5  # a photo


def inside_of(folder: Path, name: str) -> Inside:
    from exporter.inspection import target_of
    from exporter.known_targets import all_targets

    path = folder / name
    contents = target_of(path, all_targets()).backend.describe(path)
    return Inside(inputs=contents.inputs, outputs=contents.outputs)


@pytest.mark.parametrize("suffix", ["pte", "onnx", "tflite", "pt", "ptl"])
@pytest.mark.parametrize("precision", [Precision.INT8, Precision.FP32])
def test_the_python_gives_the_goldens_results(demo_build, suffix, precision, monkeypatch) -> None:
    folder, name = demo_build.folder, f"model-{precision}.{suffix}"
    manifest = read_manifest(folder)
    record = next(a for a in manifest.artifacts if a.path == name)
    snippet = python_snippet(manifest, record, inside_of(folder, name))
    assert snippet is not None
    expected = json.loads((folder / "golden" / "expected.json").read_text())
    photo = folder / "golden" / expected["inputs"][IMAGE]["file"]
    monkeypatch.chdir(folder)
    names: dict[str, object] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch announces what it deprecates
        exec(snippet.code.replace(json.dumps(PHOTO), repr(os.fspath(photo))), names)
    outputs = names["outputs"]
    assert isinstance(outputs, dict)
    assert record.self_test is not None
    reference = np.asarray(expected["logits"][record.self_test.reference][IMAGE], np.float32)
    if precision is Precision.INT8:
        assert np.array_equal(outputs["logits"][0], reference), reference_key
    else:
        assert np.allclose(outputs["logits"][0], reference, atol=1e-4)


def test_every_target_has_code_with_its_own_names(demo_build) -> None:
    manifest = read_manifest(demo_build.folder)
    for record in manifest.artifacts:
        found = snippets(manifest, record, Inside())
        assert found, record.path
        for snippet in found:
            assert record.path in snippet.code
            assert "logits" in snippet.code
            assert str(manifest.spec.resolution) in snippet.code
            assert max(map(len, snippet.code.splitlines())) <= 110


def test_versions_are_those_that_wrote_the_files(demo_build) -> None:
    manifest = read_manifest(demo_build.folder)
    record = next(a for a in manifest.artifacts if a.path == "model-int8.pte")
    kotlin = snippets(manifest, record, Inside())[0].code
    assert f"executorch-android:{manifest.versions['executorch']}" in kotlin


def test_blue_comes_first_where_the_network_wants_it(demo_build) -> None:
    manifest = read_manifest(demo_build.folder)
    contract = dataclasses.replace(manifest.spec.preprocess, channel_order=ChannelOrder.BGR)
    spec = dataclasses.replace(manifest.spec, preprocess=contract)
    manifest = dataclasses.replace(manifest, spec=spec)
    record = next(a for a in manifest.artifacts if a.path == "model-int8.pte")
    kotlin, _, python = snippets(manifest, record, Inside())
    assert "pixels[3 * i + 2 - c]" in kotlin.code
    assert "[..., ::-1]" in python.code


def test_integer_inputs_are_given_codes(demo_build) -> None:
    manifest = read_manifest(demo_build.folder)
    record = next(a for a in manifest.artifacts if a.path == "model-int8.tflite")
    image = TensorInfo(name="input", shape=(1, 96, 96, 3), dtype="uint8")
    kotlin, python = snippets(manifest, record, Inside(inputs=(image,)))
    assert "writeInt8(codes)" in kotlin.code
    assert "quantization" in python.code


def test_names_are_quoted_and_cannot_end_their_literals(demo_build) -> None:
    manifest = read_manifest(demo_build.folder)
    evil = 'x"); evil("\n'
    for target in {a.target for a in manifest.artifacts}:
        record = next(a for a in manifest.artifacts if a.target == target)
        assert record.self_test is not None
        outputs = tuple(dataclasses.replace(o, name=evil) for o in record.self_test.outputs)
        test = dataclasses.replace(record.self_test, outputs=outputs)
        odd = dataclasses.replace(record, path=f"{evil}{record.path}", self_test=test)
        for snippet in snippets(manifest, odd, Inside()):
            assert 'x"); evil("' not in snippet.code
            assert "evil" in snippet.code


def test_an_artifact_of_an_unknown_target_has_no_code(demo_build) -> None:
    manifest = read_manifest(demo_build.folder)
    record = dataclasses.replace(manifest.artifacts[0], target="future")
    assert "future" not in WRITERS
    assert snippets(manifest, record, Inside()) == ()
