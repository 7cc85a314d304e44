"""Specs of the three tasks: their settings, sizes and files."""

import dataclasses

import pytest

from exporter.errors import UnsupportedError
from exporter.published import default_spec
from exporter.spec import HeadLayer, ModelSpec
from exporter.tasks import DetectionSpec, SegmentationSpec, Task


@pytest.mark.parametrize("task", list(Task))
def test_every_tasks_spec_survives_json(task: Task) -> None:
    spec = default_spec(task, width=0.35, classes=7)
    assert ModelSpec.from_json(spec.to_json()) == spec


def test_changed_settings_survive_json() -> None:
    """Also a third, which no decimal number is."""
    detection = DetectionSpec(ratios=(1.0, 1 / 7), max_scale=0.9, max_detections=10)
    spec = dataclasses.replace(default_spec(Task.DETECTION), detection=detection)
    assert ModelSpec.from_json(spec.to_json()) == spec
    segmentation = SegmentationSpec(output_stride=8, full_aspp=True)
    spec = dataclasses.replace(default_spec(Task.SEGMENTATION), segmentation=segmentation)
    assert ModelSpec.from_json(spec.to_json()) == spec


def test_a_classifiers_json_has_no_other_tasks_settings() -> None:
    """So files from before there were any read the same, and are written the same."""
    assert set(ModelSpec().to_json()) == {
        "task", "width", "resolution", "labels", "head", "padding", "bn_eps", "dropout",
        "preprocess", "classes",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("task", "resolution", "message"),
    [
        (Task.DETECTION, 300, "300 px is not a multiple of 32, which detection needs"),
        (Task.DETECTION, 0, "outside 32"),
        (Task.SEGMENTATION, 512, "512 px is not a multiple of 32 plus 1"),
        (Task.SEGMENTATION, 32, "outside 33"),
        (Task.CLASSIFICATION, 31, "outside 32"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(task: Task, resolution: int, message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        default_spec(task, resolution=resolution)


def test_the_nearest_sizes_are_named() -> None:
    for task, side, nearest in (
        (Task.DETECTION, 300, "288 and 320 px"),
        (Task.SEGMENTATION, 500, "481 and 513 px"),
        (Task.SEGMENTATION, 2048, "2017 px"),
    ):
        with pytest.raises(UnsupportedError) as caught:
            default_spec(task, resolution=side)
        assert caught.value.hint == f"the nearest are {nearest}"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"detection": None}, "detection came with no settings"),
        ({"segmentation": SegmentationSpec()}, "came with detection and segmentation settings"),
        ({"task": Task.CLASSIFICATION}, "classification came with detection settings"),
        ({"head": (HeadLayer(units=1),)}, "the background and at least one class"),
        ({"head": (HeadLayer(units=8), HeadLayer(units=4))}, "one layer of logits"),
    ],
)
def test_settings_of_another_task_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        dataclasses.replace(default_spec(Task.DETECTION), **fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"min_scale": 0.9, "max_scale": 0.2}, "scales"),
        ({"smallest_scale": 0.0}, "scales"),
        ({"max_scale": 1.1}, "scales"),
        ({"ratios": ()}, "ratios"),
        ({"ratios": (1.0, -2.0)}, "ratios"),
        ({"size_variance": float("nan")}, "variances"),
        ({"iou_threshold": 1.0}, "threshold"),
        ({"score_threshold": -0.1}, "threshold"),
        ({"max_per_class": 0}, "at least one detection"),
    ],
)
def test_impossible_detectors_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        DetectionSpec(**fields)  # type: ignore[arg-type]


def test_an_output_stride_that_dilation_does_not_reach_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="output stride 4"):
        SegmentationSpec(output_stride=4)
