"""Suppression in ExecuTorch's kernels is the greedy loop, detection for detection."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from test_nms import ANCHORS, CLASSES, SPEC, crowd

from exporter.detection.anchors import make_anchors
from exporter.detection.boxes import corners_of
from exporter.detection.greedy import competitors, greedy_nms
from exporter.tasks import DetectionSpec
from targets.executorch_sdk import quiet
from targets.pte import kernel_calls, program_of, serialize

with quiet():
    from executorch.exir.schema import ExecutionPlan
    from executorch.runtime import Runtime

    from targets.pte_nms import suppress
    from targets.pte_plan import Plan


def plan_of(spec: DetectionSpec, anchors: int = ANCHORS, classes: int = CLASSES) -> ExecutionPlan:
    """The method of suppression alone."""
    plan = Plan()
    boxes, scores = plan.tensor((1, anchors, 4)), plan.tensor((1, anchors * (classes - 1)))
    return plan.finish([boxes, scores], [suppress(plan, spec, boxes, scores)])


class Compiled:
    """A program of suppression alone."""

    def __init__(
        self, spec: DetectionSpec, path: Path, anchors: int = ANCHORS, classes: int = CLASSES
    ) -> None:
        path.write_bytes(serialize(program_of(plan_of(spec, anchors, classes), ["rows"])))
        self.program = Runtime.get().load_program(path)
        self.method = self.program.load_method("forward")

    def __call__(self, boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Boxes (anchors, 4) and scores (anchors, classes) -> rows."""
        real = np.ascontiguousarray(scores[:, 1:]).reshape(1, -1)
        (found,) = self.method.execute([torch.from_numpy(boxes[None]), torch.from_numpy(real)])
        return np.asarray(found[0].clone().numpy())


def check(run: Compiled, spec: DetectionSpec, boxes: np.ndarray, scores: np.ndarray) -> int:
    """The greedy loop's detections, bit for bit; how many pairs went."""
    expected = np.zeros((spec.max_detections, 6), np.float32)
    expected[:, 4] = -1.0
    kept = greedy_nms(boxes, scores, spec)
    for row, (score, anchor, category) in zip(expected, kept, strict=False):
        row[:] = (*boxes[anchor], score, category)
    np.testing.assert_array_equal(run(boxes, scores), expected)
    return len(competitors(scores, spec)) - len(kept)


@pytest.mark.parametrize("threshold", [0.3, 0.6])
def test_it_is_the_greedy_loop(tmp_path: Path, threshold: float) -> None:
    """Crowded scenes with real scores, and with scores of which most are equal to others."""
    spec = dataclasses.replace(SPEC, iou_threshold=threshold)
    run = Compiled(spec, tmp_path / "nms.pte")
    gone = 0
    for levels in (None, 16, 4):
        for seed in range(20):
            gone += check(run, spec, *crowd(seed, levels=levels))
    assert gone > 1000


def test_a_chain_of_suppressors_may_be_of_any_length(tmp_path: Path) -> None:
    """Each box overlaps the next: the loop goes on until every other one stays."""
    count, step = 120, 0.02
    left = np.arange(count) * step
    boxes = np.stack([left, left * 0, left + 0.07, left * 0 + 1], 1).astype(np.float32)
    scores = np.zeros((count, 2), np.float32)
    scores[:, 1] = np.linspace(0.9, 0.5, count)
    spec = dataclasses.replace(SPEC, iou_threshold=0.5)
    run = Compiled(spec, tmp_path / "nms.pte", count, 2)
    assert check(run, spec, boxes, scores) == count // 2


@pytest.mark.parametrize(
    "limits",
    [
        {"max_per_class": 2},
        {"max_detections": 3},
        {"max_per_class": 3, "max_detections": 5},
        {"candidates": 40},
        {"candidates": 179},
        {"candidates": 180},
        {"score_threshold": 0.97},
    ],
)
def test_limits(tmp_path: Path, limits: dict[str, float]) -> None:
    """Per class, in total, of candidates (180 pairs are there) and of scores."""
    spec = dataclasses.replace(SPEC, **limits)
    run = Compiled(spec, tmp_path / "nms.pte")
    for seed in range(10):
        check(run, spec, *crowd(seed, levels=10))
        check(run, spec, *crowd(seed))


def test_nothing_above_the_threshold_is_no_detection(tmp_path: Path) -> None:
    run = Compiled(SPEC, tmp_path / "nms.pte")
    boxes, scores = crowd(0)
    assert check(run, SPEC, boxes, scores * 0) == 0
    check(run, SPEC, boxes, scores)


def test_the_published_size(tmp_path: Path) -> None:
    """2034 anchors, 81 classes, more candidates than compete."""
    spec = DetectionSpec()
    boxes = corners_of(torch.from_numpy(make_anchors(spec, 320))).numpy()
    scores = np.random.default_rng(0).uniform(0, 1, (2034, 81)).astype(np.float32) ** 40
    run = Compiled(spec, tmp_path / "nms.pte", 2034, 81)
    check(run, spec, boxes, scores)


def test_every_build_of_the_runtime_has_the_kernels() -> None:
    """An app's prebuilt runtime has the portable ones, which executorch lists."""
    import executorch.kernels.portable as portable

    listed = (Path(portable.__path__[0]) / "functions.yaml").read_text()
    names = {
        name if "::" in name else f"aten::{name}"
        for name in re.findall(r"^- (?:op|func): ([\w:.]+)", listed, re.MULTILINE)
    }
    used = set(kernel_calls(plan_of(SPEC)))
    assert len(used) > 20
    assert used <= names
