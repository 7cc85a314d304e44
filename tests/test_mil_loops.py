"""`while_loop` in the reference evaluator, and what is written with it: suppression of boxes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_nms import crowd

from exporter.detection.greedy import greedy_nms
from exporter.detection.nms import NOTHING
from exporter.errors import ArtifactError, UnsupportedError
from exporter.graph import Nms
from exporter.tasks import DetectionSpec
from targets.coreml_sdk import coremltools, quiet

ct = coremltools()

from coremltools.converters.mil import Builder as mb  # noqa: E402, N813
from coremltools.proto import Model_pb2  # noqa: E402

from targets.coreml_suppression import write_suppression  # noqa: E402
from targets.mil import loops  # noqa: E402
from targets.mil.package import read_package  # noqa: E402
from targets.mil.program import Program  # noqa: E402

SPEC = DetectionSpec(score_threshold=0.05, candidates=150)
ANCHORS, CLASSES = 60, 4
MODEL = "Data/com.apple.CoreML/model.mlmodel"


def write(path: Path, program: Callable[..., Any], *shapes: tuple[int, ...]) -> Path:
    """A package of a float32 program."""
    with quiet():
        specs = [mb.TensorSpec(shape) for shape in shapes]
        ct.convert(
            mb.program(input_specs=specs, opset_version=ct.target.iOS15)(program),
            source="milinternal",
            convert_to="mlprogram",
            minimum_deployment_target=ct.target.iOS15,
            pass_pipeline=ct.PassPipeline.EMPTY,
            skip_model_load=True,
            package_dir=str(path),
        )
    return path


def opened(path: Path) -> Program:
    return Program(read_package(path))


# --- loops ---------------------------------------------------------------------------------------


def halving(x: Any) -> Any:
    """Until every number is below one; the bound comes from outside the loop."""
    bound = mb.reduce_min(x=mb.abs(x=mb.add(x=x, y=1.0)), keep_dims=False)
    one = mb.real_div(x=bound, y=bound)
    return mb.while_loop(
        _cond=lambda x: mb.greater(x=mb.reduce_max(x=x, keep_dims=False), y=one),
        _body=lambda x: mb.mul(x=x, y=0.5),
        loop_vars=(x,),
        name="y",
    )


@pytest.mark.parametrize("start", [0.25, 1.5, 1000.0])
def test_a_loop_goes_on_while_its_condition_holds(tmp_path: Path, start: float) -> None:
    """Not at all where it does not hold at first; values from outside are read in every round."""
    program = opened(write(tmp_path / "m.mlpackage", halving, (2,)))
    (found,) = program(x=np.float32([start, start / 2])).values()
    expected = np.float32([start, start / 2])
    while expected.max() > 1:
        expected = expected * np.float32(0.5)
    np.testing.assert_array_equal(found, expected)


def test_a_loop_without_an_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "MOST_ROUNDS", 50)
    path = write(tmp_path / "m.mlpackage", halving, (2,))
    with pytest.raises(UnsupportedError, match=r"m\.mlpackage.*more than 50 rounds"):
        opened(path)(x=np.float32([np.inf, 0]))


def changed(path: Path, change: Callable[[Any], None]) -> Path:
    model = Model_pb2.Model.FromString((path / MODEL).read_bytes())
    (function,) = model.mlProgram.functions.values()
    (block,) = function.block_specializations.values()
    change(next(op for op in block.operations if op.type == "while_loop"))
    (path / MODEL).write_bytes(model.SerializeToString())
    return path


def test_damaged_loops_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "m.mlpackage", halving, (2,))
    changed(path, lambda loop: loop.blocks.pop())
    with pytest.raises(ArtifactError, match="has 1 blocks, not 2"):
        opened(path)


def test_operations_inside_a_loop_need_rules(tmp_path: Path) -> None:
    path = write(tmp_path / "m.mlpackage", halving, (2,))
    changed(path, lambda loop: setattr(loop.blocks[1].operations[-1], "type", "frobnicate"))
    with pytest.raises(UnsupportedError, match="operations without a rule: frobnicate"):
        opened(path)


# --- suppression ---------------------------------------------------------------------------------


def suppression(path: Path, spec: DetectionSpec, anchors: int, classes: int) -> Program:
    op = Nms(boxes="boxes", scores="scores", output="nms", spec=spec)

    def program(boxes: Any, scores: Any) -> Any:
        return write_suppression(op, boxes, scores, "detections")

    return opened(write(path, program, (1, anchors, 4), (1, anchors, classes)))


def check(program: Program, boxes: np.ndarray, scores: np.ndarray, spec: DetectionSpec) -> int:
    """Rows are the greedy loop's, bit for bit; returns how many there are."""
    (rows,) = program(boxes=boxes[None], scores=scores[None])["detections"]
    expected = greedy_nms(boxes, scores, spec)
    count = len(expected)
    kept = [[*boxes[anchor], score, category] for score, anchor, category in expected]
    np.testing.assert_array_equal(rows[:count], np.float32(kept).reshape(count, 6))
    empty = np.float32([0, 0, 0, 0, NOTHING, 0])
    np.testing.assert_array_equal(rows[count:], np.tile(empty, (len(rows) - count, 1)))
    return count


@pytest.mark.parametrize("levels", [None, 16, 4])
@pytest.mark.parametrize("threshold", [0.3, 0.6])
def test_suppression_is_the_greedy_loop(
    tmp_path: Path, levels: int | None, threshold: float
) -> None:
    """Crowded scenes, where most pairs go; also where most scores and overlaps are equal."""
    spec = dataclasses.replace(SPEC, iou_threshold=threshold)
    program = suppression(tmp_path / "m.mlpackage", spec, ANCHORS, CLASSES)
    total = 0
    for seed in range(12):
        boxes, scores = crowd(seed, levels=levels)
        total += check(program, boxes, scores, spec)
    assert 60 < total < 12 * SPEC.candidates


@pytest.mark.parametrize("fields", [{"max_per_class": 2}, {"candidates": 40}, {"candidates": 500}])
def test_limits_are_kept(tmp_path: Path, fields: dict[str, int]) -> None:
    spec = dataclasses.replace(SPEC, **fields)
    program = suppression(tmp_path / "m.mlpackage", spec, ANCHORS, CLASSES)
    for seed in range(6):
        assert check(program, *crowd(seed, levels=10), spec) > 1


def test_long_chains_are_followed_to_their_end(tmp_path: Path) -> None:
    """Each box overlaps the next: of n, every other one stays."""
    count, step = 40, 0.02
    left = np.arange(count) * step
    boxes = np.stack([left, left * 0, left + 0.07, left * 0 + 1], 1).astype(np.float32)
    scores = np.zeros((count, 2), np.float32)
    scores[:, 1] = np.linspace(0.9, 0.5, count)
    spec = dataclasses.replace(SPEC, iou_threshold=0.5)
    program = suppression(tmp_path / "m.mlpackage", spec, count, 2)
    assert check(program, boxes, scores, spec) == count // 2


def test_nothing_above_the_threshold_is_no_detection(tmp_path: Path) -> None:
    boxes, scores = crowd(0)
    program = suppression(tmp_path / "m.mlpackage", SPEC, ANCHORS, CLASSES)
    assert check(program, boxes, scores * np.float32(0.04), SPEC) == 0
