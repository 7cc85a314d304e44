from __future__ import annotations

import json

import numpy as np

from exporter.manifest import read_manifest
from exporter.self_test import exact_test, limited_test, near_test
from exporter.vectors import read_vectors
from exporter.verdicts import FP16

RESULTS = {
    "scores": np.zeros((2, 420, 13), np.float32),
    "boxes": np.zeros((2, 420, 4), np.float32),
    "detections": np.zeros((2, 100, 6), np.float32),
    "labels": np.zeros((2, 161, 161), np.uint8),
}


def limits(test) -> dict[str, tuple[bool, float | None, float | None]]:
    return {o.name: (o.exact, o.min_sqnr_db, o.min_agreement) for o in test.outputs}


def test_integers_are_asked_for_every_bit_but_powers_of_e() -> None:
    test = exact_test("int8-xnnpack", RESULTS)
    assert limits(test) == {
        "scores": (True, None, None),
        "boxes": (False, 100.0, None),
        "detections": (False, 100.0, None),
        "labels": (True, None, None),
    }
    assert [o.name for o in test.outputs] == list(RESULTS)
    assert [(o.shape, o.dtype) for o in test.outputs][-1] == ((161, 161), "uint8")


def test_floats_are_asked_for_a_ratio_and_what_has_none_for_a_share() -> None:
    assert limits(near_test("fp32", RESULTS, FP16)) == {
        "scores": (False, 45.0, None),
        "boxes": (False, 45.0, None),
        "detections": (False, None, 0.95),
        "labels": (False, None, 0.95),
    }


def test_a_target_may_say_how_far_its_devices_are() -> None:
    said = {"scores": 30.0, "boxes": 25.0, "detections": 0.7, "labels": 0.9}
    found = limits(limited_test("fp32", RESULTS, said))
    assert found["scores"] == (False, 30.0, None)
    assert found["labels"] == (False, None, 0.9)


def test_every_artifact_says_what_an_app_asks_of_it(demo_build) -> None:
    """Int8 every bit, but on Core ML, whose compute units round each in its own way."""
    manifest = read_manifest(demo_build.folder)
    _, stored = read_vectors(demo_build.folder / "golden")
    for record in manifest.artifacts:
        (output,) = record.self_test.outputs
        assert (output.name, output.shape) == ("logits", (manifest.spec.classes,))
        assert record.self_test.reference in stored
        if record.precision == "int8" and record.target != "ios":
            assert output.exact
            assert record.self_test.reference.startswith("int8-")
        elif record.precision == "int8":
            assert record.self_test.reference == "fp32"
            assert 10 < output.min_sqnr_db < 45
        else:
            assert output.min_sqnr_db == {"fp32": 100.0, "fp16": 45.0}[record.precision]


def test_the_manifest_is_json_for_every_reader(demo_build) -> None:
    """JavaScript and Swift know neither NaN nor Infinity."""

    def forbidden(name: str) -> None:
        raise AssertionError(name)

    for file in (demo_build.folder / "manifest.json", demo_build.folder / "golden/expected.json"):
        json.loads(file.read_text(), parse_constant=forbidden)
