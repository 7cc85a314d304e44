"""The self-test passes what is right, and says what differs where it is wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SANITIZED, app, model_of, run, vouch_for_golden
from test_results import FP32_APPS, INT8


@pytest.mark.parametrize("name", [*INT8, *FP32_APPS])
def test_every_app_passes(name: str) -> None:
    """All golden images, every bit of what has to be exact."""
    done = run(app(name), "--self-test", "--json")
    assert done.code == 0, done.error
    found = done.json
    assert found["passed"]
    assert found["pinned"]
    for output in found["outputs"]:
        assert output["images"] == 20
        if output["exact"]:
            assert output["equal_images"] == 20
    assert any(o["exact"] for o in found["outputs"]) == (name in {*INT8} - {"detection_nms"})


def damaged(name: str, folder: Path, edit: Any) -> Path:
    """A model folder whose golden results were edited."""
    model = Path(shutil.copytree(model_of(name), folder / "model"))
    path = model / "golden" / "expected.json"
    expected = json.loads(path.read_text())
    edit(expected)
    path.write_text(json.dumps(expected))
    return vouch_for_golden(model)


def test_a_differing_logit_is_named(tmp_path: Path) -> None:
    """By image and index, with both values; the other images pass."""

    def edit(expected: dict[str, Any]) -> None:
        row = expected["logits"]["int8-xnnpack"][3]
        row[5] = float(np.nextafter(np.float32(row[5]), np.float32(100)))

    model = damaged("classification", tmp_path, edit)
    done = run(SANITIZED, "--model", model, "--self-test", "--json")
    assert done.code == 1
    wrong = [image for image in done.json["images"] if not image["equal"]]
    assert [image["image"] for image in wrong] == ["noise"]
    difference = wrong[0]["difference"]
    assert difference["index"] == 5
    assert difference["expected"] != difference["actual"]
    text = run(SANITIZED, "--model", model, "--self-test").output
    assert "FAIL  noise, logits: first difference at 5" in text
    assert text.splitlines()[-1] == "FAIL  logits: 19 of 20 images equal in every bit"


def test_a_difference_outside_the_sample(tmp_path: Path) -> None:
    """The digest sees it."""

    def edit(expected: dict[str, Any]) -> None:
        expected["outputs"]["int8-xnnpack"]["logits"]["sha256"][0] = "0" * 64

    model = damaged("segmentation", tmp_path, edit)
    done = run(SANITIZED, "--model", model, "--self-test", "--images", 1)
    assert done.code == 1
    assert "differs outside the sample" in done.output


def test_a_sampled_difference_is_named_by_its_place(tmp_path: Path) -> None:
    """In the whole output, not in the sample."""

    def edit(expected: dict[str, Any]) -> None:
        output = expected["outputs"]["int8-xnnpack"]["labels"]
        output["samples"][0][2] += 1
        output["sha256"][0] = "0" * 64

    model = damaged("segmentation_labels", tmp_path, edit)
    done = run(SANITIZED, "--model", model, "--self-test", "--json", "--images", 1)
    stride = json.loads((model / "golden" / "expected.json").read_text())["outputs"][
        "int8-xnnpack"
    ]["labels"]["stride"]
    assert done.code == 1
    assert done.json["images"][0]["difference"]["index"] == 2 * stride


@pytest.mark.parametrize(("factor", "code"), [(1 + 1e-7, 0), (1.001, 1)])
def test_boxes_are_held_to_their_ratio(tmp_path: Path, factor: float, code: int) -> None:
    """A last digit is let off; a thousandth is not."""

    def edit(expected: dict[str, Any]) -> None:
        boxes = expected["outputs"]["int8-xnnpack"]["boxes"]
        boxes["samples"] = [[value * factor for value in row] for row in boxes["samples"]]

    model = damaged("detection", tmp_path, edit)
    assert run(SANITIZED, "--model", model, "--self-test", "--images", 4).code == code


@pytest.mark.parametrize(("shift", "code"), [(0.0, 0), (0.3, 1)])
def test_detections_by_agreement(tmp_path: Path, shift: float, code: int) -> None:
    """Rows that have a counterpart, in whatever order."""

    def edit(expected: dict[str, Any]) -> None:
        rows = expected["outputs"]["int8-xnnpack"]["detections"]
        for index, row in enumerate(rows["samples"]):
            table = np.asarray(row).reshape(-1, 6)
            table[table[:, 4] >= 0, :4] += shift
            rows["samples"][index] = table[::-1].ravel().tolist()

    model = damaged("detection_nms", tmp_path, edit)
    manifest = json.loads((model / "manifest.json").read_text())
    output = manifest["artifacts"][0]["self_test"]["outputs"][0]
    output |= {"min_sqnr_db": None, "min_agreement": 0.99}
    (model / "manifest.json").write_text(json.dumps(manifest))
    done = run(SANITIZED, "--model", model, "--self-test", "--json")
    assert done.code == code, done.error
    assert (done.json["outputs"][0]["agreement"] == 1.0) == (code == 0)
