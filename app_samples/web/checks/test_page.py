"""What the page computed in Chromium (page.json), compared with Python."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from exporter import golden
from exporter.golden import run_outputs
from exporter.graph import QParams
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


@pytest.fixture
def in_browsers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The golden with the one rule in which WebAssembly differs: MLAS's plain kernel for the add.

    It rounds every product, sum and quotient, where the one for AVX2 has fused multiply-adds.
    """

    def add(a: np.ndarray, b: np.ndarray, qa: QParams, qb: QParams, target: QParams) -> np.ndarray:
        f32 = np.float32
        reals = [
            (f32(q.scale) * (codes.astype(f32) - f32(q.zero_point))).astype(f32)
            for codes, q in ((a, qa), (b, qb))
        ]
        steps = ((reals[0] + reals[1]) / f32(target.scale)).astype(f32)
        unsigned = np.rint((steps + f32(target.zero_point + golden.UNSIGNED)).astype(f32))
        codes = np.clip(unsigned - f32(golden.UNSIGNED), golden.QMIN, golden.QMAX)
        return np.asarray(codes.astype(np.int8))

    monkeypatch.setattr(golden, "add_ort", add)


def digest(values: np.ndarray) -> str:
    """Of little-endian row-major values."""
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


def expected_digests(folder: Path, output: str) -> list[str]:
    """Of every golden image by ONNX Runtime's rules on x86."""
    expected = json.loads((folder / "golden" / "expected.json").read_text())
    if "logits" in expected:
        return [digest(np.float32(row)) for row in expected["logits"]["int8-ort"]]
    return list(expected["outputs"]["int8-ort"][output]["sha256"])


def golden_image(folder: Path, index: int) -> np.ndarray:
    """Float32 (1, 3, r, r)."""
    expected = json.loads((folder / "golden" / "expected.json").read_text())
    path = folder / "golden" / expected["inputs"][index]["file"]
    contract = read_manifest(folder).spec.preprocess
    return normalize(np.asarray(Image.open(path))[None], contract)


@pytest.mark.usefixtures("in_browsers")
@pytest.mark.parametrize("name", NAMES)
def test_int8_is_exact(name: str) -> None:
    """Golden images give the reference's bits; where one does not, those of WebAssembly's rule.

    And a photo, from its JPEG file, gives the bits of that rule.
    """
    folder, found = BUILDS / name, PAGE["builds"][name]
    record = next(a for a in read_manifest(folder).artifacts if a.path == "model-int8.onnx")
    assert record.self_test is not None
    graph = load_graph(folder / "model-int8.graph")
    for output in record.self_test.outputs:
        expected = expected_digests(folder, output.name)
        actual = [image["outputs"][output.name]["digest"] for image in found["images"]]
        assert len(actual) == len(expected) > 0
        others = [i for i, (a, b) in enumerate(zip(actual, expected, strict=True)) if a != b]
        if not output.exact:  # holds powers of e, and `test_self_test` its ratio
            continue
        same = len(expected) - len(others)
        print(f"{name} {output.name}: {same} of {len(expected)} as on x86")  # noqa: T201 (check.sh shows it)
        for index in others:
            value = run_outputs(graph, golden_image(folder, index), Rules.ORT)[output.name]
            assert actual[index] == digest(value), f"image {index}"
        photo = normalize(load_pixels(PHOTO, graph.spec.preprocess)[None], graph.spec.preprocess)
        value = run_outputs(graph, photo, Rules.ORT)[output.name]
        assert found["photo"]["outputs"][output.name]["digest"] == digest(value)


@pytest.mark.parametrize("name", sorted(PAGE["builds"]))
def test_self_test(name: str) -> None:
    """The page's own verdict: passed, unless WebAssembly's rule gives other bits than asked for."""
    found = PAGE["builds"][name]
    for output in found["selfTest"]["outputs"]:
        digests = [image["outputs"][output["name"]]["digest"] for image in found["images"]]
        exact = output["rule"] == "every bit"
        manifest = json.loads(
            (WORK / "apps" / name / "public" / "model" / "manifest.json").read_text()
        )
        reference = manifest["artifacts"][0]["self_test"]["reference"]
        if exact and reference == "int8-ort":
            assert output["passed"] == (digests == expected_digests(BUILDS / name, output["name"]))
        else:
            assert output["passed"], output["detail"]


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
    (logits,) = run_outputs(graph, normalize(seen[None], contract), Rules.ORT)["logits"]
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
