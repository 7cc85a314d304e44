"""Non-maximum suppression of made-up boxes, against the exporter's plain greedy loop."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import WORK, manifest_of, model_of

from exporter.detection.greedy import greedy_nms
from exporter.tasks import DetectionSpec

CLASSES = 13
CASES = range(12)


def made_up(case: int) -> tuple[np.ndarray, np.ndarray, dict[str, object]]:
    """Scores with many ties, boxes on top of each other and without area, and limits that bite."""
    random = np.random.Generator(np.random.PCG64(case))
    anchors = int(random.choice([1, 7, 60, 300]))
    steps = int(random.choice([4, 16, 256]))  # few: many ties
    scores = (random.integers(0, steps, (anchors, CLASSES)) / steps).astype(np.float32)
    corners = random.random((anchors, 2)) * 0.5
    sizes = random.random((anchors, 2)) * 0.6 - 0.05  # some are turned inside out
    boxes = np.concatenate([corners, corners + sizes], 1).astype(np.float32)
    boxes[random.random(anchors) < 0.3] = boxes[0]
    limits = {
        "candidates": int(random.choice([1, 50, 400])),
        "max_detections": int(random.choice([1, 10, 100])),
        "max_per_class": int(random.choice([1, 5, 100])),
        "iou_threshold": float(random.choice([0.3, 0.6])),
        "score_threshold": float(random.choice([0.01, 0.5])),
    }
    return scores, boxes, limits


@pytest.mark.parametrize("case", CASES)
def test_suppression_is_the_greedy_loop(tmp_path: Path, case: int) -> None:
    """The same boxes in the same order, to the last bit."""
    scores, boxes, limits = made_up(case)
    manifest = manifest_of("detection")
    manifest["spec"]["detection"] |= limits
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    scores.tofile(tmp_path / "scores")
    boxes.tofile(tmp_path / "boxes")
    found = subprocess.run(
        [WORK / "checks" / "suppress", tmp_path, tmp_path / "scores", tmp_path / "boxes"],
        capture_output=True,
        text=True,
        check=True,
    )
    actual = [
        (float.fromhex(score), int(index), *(float.fromhex(c) for c in corners))
        for score, index, *corners in (line.split() for line in found.stdout.splitlines())
    ]
    expected = [
        (score, category, *(float(c) for c in boxes[anchor]))
        for score, anchor, category in greedy_nms(boxes, scores, spec_of(limits))
    ]
    assert actual == expected


def spec_of(limits: dict[str, object]) -> DetectionSpec:
    """The demo detector's with other limits."""
    from exporter.manifest import read_manifest

    detection = read_manifest(model_of("detection")).spec.detection
    assert detection is not None
    import dataclasses

    return dataclasses.replace(detection, **limits)
