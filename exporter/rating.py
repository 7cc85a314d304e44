"""How right a model is on labeled images, by its task: top-1 and top-5, mean AP, or mean IoU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from exporter.detection.records import Found, Objects, found_in
from exporter.metrics import accuracy
from exporter.results import Results
from exporter.segmentation import Confusion
from exporter.segmentation.results import label_map
from exporter.spec import ModelSpec
from exporter.tasks import Task
from exporter.verdicts import MeanIoU, Score

BATCH = 16  # images; a segmenter's logits of all of them at once would not fit

Truth = np.ndarray | Sequence[Objects]
Run = Callable[[np.ndarray], Results]


@dataclass(frozen=True, kw_only=True, eq=False)
class Labeled:
    """Images with what is on them.

    `images` are float32 (n, 3, r, r), normalized; `truth` int64 (n,) classes, uint8 (n, r, r)
    label maps, or the objects of every image.
    """

    images: np.ndarray
    truth: Truth


def rated(run: Run, labeled: Labeled, spec: ModelSpec) -> Score:
    """A model's score, images in batches; raises MissingDependencyError without COCO's tools."""
    batches = [labeled.images[i : i + BATCH] for i in range(0, len(labeled.images), BATCH)]
    if spec.task is Task.DETECTION:
        found: list[Found] = []
        for images in batches:
            found += found_in(run(images), spec)
        return _mean_ap(found, labeled, spec)
    if spec.task is Task.SEGMENTATION:
        return _mean_iou(run, batches, labeled, spec)
    logits = np.concatenate([run(images)["logits"] for images in batches])
    assert isinstance(labeled.truth, np.ndarray)
    return accuracy(logits, labeled.truth)


def _mean_ap(found: Sequence[Found], labeled: Labeled, spec: ModelSpec) -> Score:
    from exporter.detection.average_precision import mean_ap

    assert not isinstance(labeled.truth, np.ndarray)
    return mean_ap(found, labeled.truth, spec.classes)


def _mean_iou(run: Run, batches: list[np.ndarray], labeled: Labeled, spec: ModelSpec) -> MeanIoU:
    assert isinstance(labeled.truth, np.ndarray)
    confusion, seen = Confusion(spec.classes), 0
    for images in batches:
        confusion.add(label_map(run(images), spec), labeled.truth[seen : seen + len(images)])
        seen += len(images)
    return MeanIoU(images=seen, miou=confusion.mean_iou(), pixels=confusion.pixel_accuracy())
