"""Non-maximum suppression in tensor operations is the greedy loop, detection for detection."""

import dataclasses

import numpy as np
import pytest
import torch

from exporter.detection.anchors import make_anchors
from exporter.detection.boxes import corners_of
from exporter.detection.greedy import greedy_nms
from exporter.detection.nms import NOTHING, Detections, exact_nms, suppress
from exporter.tasks import DetectionSpec

SPEC = DetectionSpec(score_threshold=0.05)
ANCHORS, CLASSES = 60, 4


def crowd(seed: int, *, levels: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (anchors, 4) around a few objects and scores (anchors, classes).

    With `levels`, scores take so few values, and boxes so few places, that most of them tie.
    """
    random = np.random.default_rng(seed)
    objects = random.uniform(0.1, 0.9, (6, 2))
    center = objects[random.integers(0, 6, ANCHORS)] + random.normal(0, 0.04, (ANCHORS, 2))
    size = random.uniform(0.1, 0.3, (ANCHORS, 2))
    boxes = np.concatenate([center - size / 2, center + size / 2], 1)
    scores = random.uniform(0, 1, (ANCHORS, CLASSES))
    if levels is not None:
        boxes, scores = np.round(boxes * 8) / 8, np.round(scores * levels) / levels
    return boxes.astype(np.float32), scores.astype(np.float32)


def same(found: Detections, expected: list[tuple[float, int, int]], boxes: np.ndarray) -> bool:
    """Scores, classes and boxes, in order and bit for bit, and nothing after them."""
    count = len(expected)
    return (
        found.scores[:count].tolist() == [score for score, _, _ in expected]
        and found.classes[:count].tolist() == [category for _, _, category in expected]
        and np.array_equal(found.boxes[:count], boxes[[anchor for _, anchor, _ in expected]])
        and bool((found.scores[count:] == NOTHING).all() and (found.boxes[count:] == 0).all())
    )


def run(
    boxes: np.ndarray, scores: np.ndarray, spec: DetectionSpec, rounds: int | None = None
) -> Detections:
    return exact_nms(torch.from_numpy(boxes), torch.from_numpy(scores), spec, rounds)


@pytest.mark.parametrize("levels", [None, 16, 4])
@pytest.mark.parametrize("threshold", [0.3, 0.6])
def test_it_is_the_greedy_loop(levels: int | None, threshold: float) -> None:
    """100 crowded scenes each: real scores, and scores of which most are equal to others."""
    spec = dataclasses.replace(SPEC, iou_threshold=threshold)
    total = 0
    for seed in range(100):
        boxes, scores = crowd(seed, levels=levels)
        expected = greedy_nms(boxes, scores, spec)
        assert same(run(boxes, scores, spec), expected, boxes), seed
        total += len(expected)
    assert total > 1000


def test_a_fixed_number_of_rounds_is_enough_for_crowds() -> None:
    """Eight, which is what a graph unrolls: chains of suppressors are short."""
    for seed in range(100):
        boxes, scores = crowd(seed)
        assert same(run(boxes, scores, SPEC, rounds=8), greedy_nms(boxes, scores, SPEC), boxes)


def test_a_long_chain_needs_as_many_rounds_as_it_has_links() -> None:
    """Each box overlaps the next: of n, every other one stays, however long the chain is."""
    count, step = 40, 0.02
    left = np.arange(count) * step
    boxes = np.stack([left, left * 0, left + 0.07, left * 0 + 1], 1).astype(np.float32)
    scores = np.zeros((count, 2), np.float32)
    scores[:, 1] = np.linspace(0.9, 0.5, count)
    spec = dataclasses.replace(SPEC, iou_threshold=0.5)  # neighbors 5/9, next but one 3/11
    expected = greedy_nms(boxes, scores, spec)
    assert [anchor for _, anchor, _ in expected] == list(range(0, count, 2))
    assert same(run(boxes, scores, spec), expected, boxes)
    assert same(run(boxes, scores, spec, rounds=count), expected, boxes)
    assert not same(run(boxes, scores, spec, rounds=8), expected, boxes)


@pytest.mark.parametrize(("per_class", "total"), [(2, 100), (100, 3), (3, 5)])
def test_limits_per_class_and_in_total(per_class: int, total: int) -> None:
    spec = dataclasses.replace(SPEC, max_per_class=per_class, max_detections=total)
    for seed in range(30):
        boxes, scores = crowd(seed, levels=10)
        expected = greedy_nms(boxes, scores, spec)
        assert len(expected) == min(total, len(expected))
        assert same(run(boxes, scores, spec), expected, boxes)


@pytest.mark.parametrize("levels", [None, 16, 4])
def test_fewer_candidates_give_the_first_detections(levels: int | None) -> None:
    """The worst are left out, those that tie with the first of them too; the rest is the same."""
    few = dataclasses.replace(SPEC, candidates=40)
    shortened = 0
    for seed in range(50):
        boxes, scores = crowd(seed, levels=levels)
        expected, every = greedy_nms(boxes, scores, few), greedy_nms(boxes, scores, SPEC)
        assert same(run(boxes, scores, few), expected, boxes), seed
        assert expected == every[: len(expected)]
        shortened += len(expected) < len(every)
    assert shortened > 40


def test_the_published_size() -> None:
    """2034 anchors, 81 classes, more candidates than compete."""
    spec = DetectionSpec()
    boxes = corners_of(torch.from_numpy(make_anchors(spec, 320))).numpy()
    scores = np.random.default_rng(0).uniform(0, 1, (2034, 81)).astype(np.float32) ** 40
    assert (scores[:, 1:] > spec.score_threshold).sum() > spec.candidates
    expected = greedy_nms(boxes, scores, spec)
    assert len(expected) == spec.max_detections
    assert same(run(boxes, scores, spec), expected, boxes)


def test_the_order_of_equal_candidates_does_not_matter() -> None:
    """Runtimes hand over equal scores in any order."""
    boxes, scores = crowd(7, levels=3)
    expected = greedy_nms(boxes, scores, SPEC)
    topk = torch.topk

    def shuffled(x: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        order = torch.randperm(k, generator=torch.Generator().manual_seed(1))
        best, index = topk(x, k)
        return best[order].sort(descending=True)[0], index[order][best[order].argsort().flip(0)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "topk", shuffled)
        assert same(run(boxes, scores, SPEC), expected, boxes)


def test_nothing_above_the_threshold_is_no_detection() -> None:
    boxes, scores = crowd(0)
    found = run(boxes, scores * np.float32(0.04), SPEC)
    assert (found.scores == NOTHING).all()
    assert (found.boxes == 0).all()


def test_the_background_is_never_found_and_classes_do_not_compete() -> None:
    boxes = np.tile(np.array([[0.1, 0.1, 0.5, 0.5]], np.float32), (3, 1))
    scores = np.array([[0.99, 0.8, 0.7], [0.99, 0.6, 0.9], [0.99, 0.1, 0.2]], np.float32)
    found = run(boxes, scores, SPEC)
    assert found.classes[:3].tolist() == [2, 1, 0]
    assert found.scores[:2].tolist() == scores[[1, 0], [2, 1]].tolist()


def test_boxes_without_area_suppress_nothing() -> None:
    boxes = np.array([[0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5], [0.6, 0.6, 0.4, 0.4]], np.float32)
    scores = np.array([[0, 0.9], [0, 0.8], [0, 0.7]], np.float32)
    assert same(run(boxes, scores, SPEC), greedy_nms(boxes, scores, SPEC), boxes)
    assert (run(boxes, scores, SPEC).scores > 0).sum() == 3


def test_a_trace_of_it_is_plain_tensor_operations() -> None:
    """What a target has to know to hold it; none of them depends on the data's values."""

    class Suppression(torch.nn.Module):
        def forward(self, boxes: torch.Tensor, scores: torch.Tensor) -> Detections:
            return exact_nms(boxes, scores, dataclasses.replace(SPEC, candidates=20), rounds=4)

    boxes, scores = (torch.from_numpy(v) for v in crowd(3))
    program = torch.export.export(Suppression(), (boxes, scores))
    names = {
        node.target.__name__.split(".")[0]
        for node in program.graph.nodes
        if node.op == "call_function"
    }
    assert not names & {"sort", "argsort", "nonzero", "while_loop", "scatter", "index_put", "item"}
    for actual, expected in zip(
        program.module()(boxes, scores), Suppression()(boxes, scores), strict=True
    ):
        assert torch.equal(actual, expected)


def test_the_fixed_point_is_reached_in_as_many_rounds_as_there_are_boxes() -> None:
    """On random suppression relations, which no boxes could have."""
    random = np.random.default_rng(0)
    for _ in range(50):
        rivals = np.triu(random.random((30, 30)) < 0.15, 1)
        keep: list[bool] = []
        for j in range(30):
            keep.append(not any(rivals[i, j] and keep[i] for i in range(j)))
        valid = torch.ones(30, dtype=torch.bool)
        assert suppress(valid, torch.from_numpy(rivals)).tolist() == keep
        assert suppress(valid, torch.from_numpy(rivals), 30).tolist() == keep
