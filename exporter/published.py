"""The paper's three networks as specs: what `describe` counts and training starts from."""

from __future__ import annotations

from exporter.spec import (
    HeadLayer,
    ModelSpec,
    PaddingStyle,
    keras_preprocess,
    torchvision_preprocess,
)
from exporter.tasks import DEFAULTS, DetectionSpec, SegmentationSpec, Task, check_resolution


def default_spec(
    task: Task,
    *,
    width: float = 1.0,
    resolution: int | None = None,
    classes: int | None = None,
    padding: PaddingStyle = PaddingStyle.TORCH,
    segmentation: SegmentationSpec | None = None,
) -> ModelSpec:
    """The paper's network for a task; photos are prepared as its reference implementation does."""
    defaults = DEFAULTS[task]
    side = defaults.resolution if resolution is None else resolution
    check_resolution(task, side)
    if segmentation is None and task is Task.SEGMENTATION:
        segmentation = SegmentationSpec()
    contract = torchvision_preprocess if task is Task.CLASSIFICATION else keras_preprocess
    return ModelSpec(
        task=task,
        width=width,
        resolution=side,
        head=(HeadLayer(units=defaults.classes if classes is None else classes),),
        padding=padding,
        bn_eps=defaults.bn_eps,
        dropout=defaults.dropout,
        preprocess=contract(side),
        detection=DetectionSpec() if task is Task.DETECTION else None,
        segmentation=segmentation,
    )
