"""What the page computed in Chromium (page.json), compared with Python."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest

from exporter.golden import run_outputs
from exporter.graph_file import load_graph
from exporter.manifest import read_manifest
from exporter.predictions import classes_of
from exporter.preprocess import load_pixels, normalize, read_image
from exporter.spec import Rules

WORK = Path(os.environ["MNV2_WEB_WORK"])
BUILDS = Path(os.environ["MNV2_WEB_BUILDS"])
PAGE = json.loads((WORK / "page.json").read_text())
NAMES = ("classification", "detection", "segmentation", "detection_nms", "segmentation_labels")
PHOTO = WORK / "photos" / "photo.jpg"
PHOTOS = sorted(PAGE["photos"])
INEXACT_PHOTO = "transparent.webp"  # a canvas multiplies by alpha; only PNG escapes it


def digest(values: np.ndarray) -> str:
    """Of little-endian row-major values."""
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


def expected_digests(folder: Path, output: str) -> list[str]:
    """Of every golden image by ONNX Runtime's rules in WebAssembly."""
    expected = json.loads((folder / "golden" / "expected.json").read_text())
    if "logits" in expected:
        return [digest(np.float32(row)) for row in expected["logits"]["int8-ort-wasm"]]
    return list(expected["outputs"]["int8-ort-wasm"][output]["sha256"])


@pytest.mark.parametrize("name", NAMES)
def test_int8_is_exact(name: str) -> None:
    """Golden images, and a photo from its JPEG file, give the golden's bits: 0 LSB."""
    folder, found = BUILDS / name, PAGE["builds"][name]
    record = next(a for a in read_manifest(folder).artifacts if a.path == "model-int8.onnx")
    assert record.self_test is not None
    graph = load_graph(folder / "model-int8.graph")
    photo = normalize(load_pixels(PHOTO, graph.spec.preprocess)[None], graph.spec.preprocess)
    results = run_outputs(graph, photo, Rules.ORT_WASM)
    for output in record.self_test.outputs:
        if not output.exact:  # holds powers of e, and `test_self_test` its ratio
            continue
        actual = [image["outputs"][output.name]["digest"] for image in found["images"]]
        assert actual == expected_digests(folder, output.name)
        assert found["photo"]["outputs"][output.name]["digest"] == digest(results[output.name])
        print(f"{name} {output.name}: 0 LSB on {len(actual)} images and a photo")  # noqa: T201


@pytest.mark.parametrize("name", sorted(PAGE["builds"]))
def test_self_test(name: str) -> None:
    """The page's own verdict on every output of every build, fp32 ones too."""
    outputs = PAGE["builds"][name]["selfTest"]["outputs"]
    assert outputs
    assert not [output["detail"] for output in outputs if not output["passed"]]


@pytest.mark.parametrize("file", PHOTOS)
def test_photo(file: str) -> None:
    """A photo gives the same pixels and the same logits, to the last bit, as in Python."""
    found = PAGE["photos"][file]
    folder = BUILDS / "classification"
    contract = read_manifest(folder).spec.preprocess
    decoded = read_image(WORK / "photos" / file)
    assert tuple(found["size"]) == decoded.size
    seen = np.array(found["seen"], np.uint8).reshape(contract.crop_size, contract.crop_size, 3)
    ours = load_pixels(WORK / "photos" / file, contract)
    different = int((seen != ours).sum())
    print(f"{file}: {different} of {seen.size} bytes differ")  # noqa: T201 (check.sh shows it)
    if file != INEXACT_PHOTO:
        assert found["decoded"] == digest(np.asarray(decoded))
        assert np.array_equal(seen, ours)
    graph = load_graph(folder / "model-int8.graph")
    (logits,) = run_outputs(graph, normalize(seen[None], contract), Rules.ORT_WASM)["logits"]
    assert np.array_equal(np.float32(found["outputs"]["logits"]), logits)


def test_what_is_shown() -> None:
    """The list on the page names the classes that `predict` names, with its probabilities."""
    folder = BUILDS / "classification"
    manifest = read_manifest(folder)
    logits = np.float32(PAGE["photos"]["photo.png"]["outputs"]["logits"])
    shown = [line.split("\n") for line in PAGE["shown"]]
    best = classes_of(logits, manifest.spec, 5)
    assert [(row[-2], row[-1]) for row in shown] == [
        (name, f"{p:.1%}"[:-1] + " %") for name, p in best
    ]
