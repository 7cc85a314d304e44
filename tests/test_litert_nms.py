"""Suppression in a `.tflite` file alone is the greedy loop's, detection for detection."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from exporter.detection.greedy import greedy_nms
from exporter.graph import Nms
from exporter.tasks import DetectionSpec
from targets.litert_flatbuffer import write
from targets.litert_nms import add_nms
from targets.litert_records import FlatModel

Suppress = Callable[[np.ndarray, np.ndarray], np.ndarray]
ANCHORS, CLASSES = 80, 4
SPEC = DetectionSpec(score_threshold=0.05, candidates=150, max_detections=60)
SCENES = 8
NOTHING = (0, 0, 0, 0, -1, 0)


def compiled(anchors: int, classes: int, spec: DetectionSpec) -> Suppress:
    """Boxes (anchors, 4) and scores (anchors, classes) -> rows (max_detections, 6)."""
    from ai_edge_litert.interpreter import Interpreter

    model = FlatModel()
    boxes = model.tensor("boxes", (1, anchors, 4), np.float32)
    scores = model.tensor("scores", (1, anchors, classes), np.float32)
    op = Nms(boxes="boxes", scores="scores", output="nms", spec=spec)
    model.inputs = {"boxes": boxes, "scores": scores}
    model.outputs = {"detections": add_nms(model, op, boxes, scores)}
    interpreter = Interpreter(model_content=write(model), num_threads=1)
    run = interpreter.get_signature_runner("serving_default")
    return lambda boxes, scores: run(boxes=boxes[None], scores=scores[None])["detections"][0]


def expected_rows(boxes: np.ndarray, scores: np.ndarray, spec: DetectionSpec) -> np.ndarray:
    rows = [
        (*boxes[anchor], score, category)
        for score, anchor, category in greedy_nms(boxes, scores, spec)
    ]
    rows += [NOTHING] * (spec.max_detections - len(rows))
    return np.array(rows, np.float32)


def crowd(seed: int, levels: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Boxes around a few objects; with `levels`, most scores and many boxes are equal to others."""
    random = np.random.default_rng(seed)
    objects = random.uniform(0.1, 0.9, (6, 2))
    center = objects[random.integers(0, 6, ANCHORS)] + random.normal(0, 0.04, (ANCHORS, 2))
    size = random.uniform(0.1, 0.3, (ANCHORS, 2))
    boxes = np.concatenate([center - size / 2, center + size / 2], 1)
    scores = random.uniform(0, 1, (ANCHORS, CLASSES))
    if levels is not None:
        boxes, scores = np.round(boxes * 8) / 8, np.round(scores * levels) / levels
    return boxes.astype(np.float32), scores.astype(np.float32)


@pytest.mark.parametrize("levels", [None, 256, 16, 4])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"iou_threshold": 0.3},
        {"candidates": 1000},
        {"max_detections": 400},
        {"max_per_class": 3},
        {"max_per_class": 20, "max_detections": 50, "iou_threshold": 0.5},
        {"max_detections": 1, "candidates": 1},
    ],
    ids=str,
)
def test_it_is_the_greedy_loop(changes: dict, levels: int | None) -> None:
    """Crowded scenes, with more candidates than pairs and more places than candidates too."""
    spec = dataclasses.replace(SPEC, **changes)
    run = compiled(ANCHORS, CLASSES, spec)
    suppressed = 0
    for seed in range(SCENES):
        boxes, scores = crowd(seed, levels)
        expected = expected_rows(boxes, scores, spec)
        np.testing.assert_array_equal(run(boxes, scores), expected, err_msg=str(seed))
        apart = dataclasses.replace(spec, iou_threshold=1 - 1e-6)
        suppressed += not np.array_equal(expected, expected_rows(boxes, scores, apart))
    assert suppressed > 0 or spec.max_detections == 1


@pytest.mark.parametrize("count", [2, 40, 150])
def test_a_chain_of_suppressors_of_any_length(count: int) -> None:
    """Each box overlaps the next: every other one stays."""
    left = np.arange(count) * 0.02
    boxes = np.stack([left, left * 0, left + 0.07, left * 0 + 1], 1).astype(np.float32)
    scores = np.zeros((count, 2), np.float32)
    scores[:, 1] = np.linspace(0.9, 0.5, count)
    spec = dataclasses.replace(SPEC, iou_threshold=0.5, max_detections=count)
    rows = compiled(count, 2, spec)(boxes, scores)
    np.testing.assert_array_equal(rows, expected_rows(boxes, scores, spec))
    assert (rows[:, 4] >= 0).sum() == (count + 1) // 2


def test_nothing_above_the_threshold() -> None:
    """An empty scene, then a crowded one, then the empty one again: no state stays."""
    run = compiled(ANCHORS, CLASSES, SPEC)
    boxes, scores = crowd(0)
    nothing = np.tile(np.array(NOTHING, np.float32), (SPEC.max_detections, 1))
    np.testing.assert_array_equal(run(boxes, scores * 0), nothing)
    np.testing.assert_array_equal(run(boxes, scores), expected_rows(boxes, scores, SPEC))
    np.testing.assert_array_equal(run(boxes, scores * 0), nothing)


def test_the_background_is_never_detected() -> None:
    boxes, scores = crowd(1)
    scores[:, 0] = 1.0
    rows = compiled(ANCHORS, CLASSES, SPEC)(boxes, scores)
    assert set(rows[rows[:, 4] >= 0][:, 5]) == {1.0, 2.0, 3.0}


def test_boxes_whose_corners_are_swapped_overlap_nothing() -> None:
    boxes, scores = crowd(2)
    boxes = boxes[:, [2, 3, 0, 1]]
    rows = compiled(ANCHORS, CLASSES, SPEC)(boxes, scores)
    np.testing.assert_array_equal(rows, expected_rows(boxes, scores, SPEC))


def test_the_published_size() -> None:
    """2034 anchors, 81 classes and more pairs than compete."""
    spec = DetectionSpec()
    random = np.random.default_rng(0)
    low = random.uniform(0, 0.7, (2034, 2))
    boxes = np.concatenate([low, low + random.uniform(0.05, 0.3, (2034, 2))], 1).astype(np.float32)
    scores = random.uniform(0, 1, (2034, 81)).astype(np.float32) ** 40
    rows = compiled(2034, 81, spec)(boxes, scores)
    np.testing.assert_array_equal(rows, expected_rows(boxes, scores, spec))
    assert (rows[:, 4] >= 0).all()
