"""Mean average precision by COCO's own evaluation, built in memory."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from exporter.coco_tools import coco_tools
from exporter.detection.records import Found, Objects
from exporter.verdicts import MeanAP

MOST = 100  # detections of a class in one picture that count, COCO's largest setting
ALL_SIZES = [[0.0, 1e10]]  # COCO's range of areas for "all", of a picture whose sides are 1 as well
AT_50 = 0  # of COCO's ten IoU thresholds, 0.5 to 0.95
WHAT = "COCO's mean average precision"


def mean_ap(found: Sequence[Found], truth: Sequence[Objects], classes: int) -> MeanAP:
    """Over the classes, from 1 on, that occur in the truth; NaN where none does.

    As in COCO a crowd is neither hit nor missed, and what lies in it is no false positive. What a
    detector puts outside a picture is clipped, as labeled boxes are. Raises MissingDependencyError.
    """
    precision = _precision(found, truth, classes)
    means = [_mean(precision[:, :, i]) for i in range(classes - 1)]
    at_50 = [_mean(precision[AT_50, :, i]) for i in range(classes - 1)]
    return MeanAP(images=len(truth), map50=_mean_of_known(at_50), map=_mean_of_known(means))


def per_class_ap(found: Sequence[Found], truth: Sequence[Objects], classes: int) -> np.ndarray:
    """AP at an IoU of 0.5, float64 (classes,); NaN for the background and where nothing is true."""
    precision = _precision(found, truth, classes)
    return np.array([np.nan, *(_mean(precision[AT_50, :, i]) for i in range(classes - 1))])


def matched(found: Sequence[Found], truth: Sequence[Objects], classes: int) -> Any:
    """COCOeval with every detection matched, `evalImgs`; nothing is accumulated yet."""
    truths = [
        _annotation(image, category, box) | {"iscrowd": int(crowd)}
        for image, objects in enumerate(truth)
        for box, category, crowd in zip(
            _widths(objects.boxes), objects.classes, objects.ignored, strict=True
        )
    ]
    guesses = [
        _annotation(image, category, box) | {"score": float(score), "iscrowd": 0}
        for image, guess in _paired(found, truth)
        for box, category, score in zip(
            _widths(guess.boxes), guess.classes, guess.scores, strict=True
        )
    ]
    with contextlib.redirect_stdout(io.StringIO()):  # it reports its progress there
        evaluation = coco_tools("cocoeval", WHAT).COCOeval(
            _dataset(truths, len(truth), classes),
            _dataset(guesses, len(truth), classes),
            "bbox",
        )
        evaluation.params.areaRng, evaluation.params.areaRngLbl = ALL_SIZES, ["all"]
        evaluation.params.maxDets = [MOST]
        evaluation.evaluate()
    return evaluation


def _precision(found: Sequence[Found], truth: Sequence[Objects], classes: int) -> np.ndarray:
    """By IoU threshold, recall and class: (10, 101, classes - 1); -1 where nothing is true."""
    evaluation = matched(found, truth, classes)
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.accumulate()
    precision: np.ndarray = evaluation.eval["precision"][:, :, :, 0, 0]
    return precision


def _paired(found: Sequence[Found], truth: Sequence[Objects]) -> Iterator[tuple[int, Found]]:
    for image, (guess, _) in enumerate(zip(found, truth, strict=True)):
        yield image, guess


def _annotation(image: int, category: int, box: list[float]) -> dict[str, Any]:
    return {
        "image_id": image, "category_id": int(category), "bbox": box, "area": box[2] * box[3]
    }  # fmt: skip


def _widths(corners: np.ndarray) -> list[list[float]]:
    """Corners (m, 4) -> x, y, width and height within the picture."""
    inside = corners.astype(np.float64).clip(0.0, 1.0)
    sizes = (inside[:, 2:] - inside[:, :2]).clip(0.0)
    boxes: list[list[float]] = np.concatenate([inside[:, :2], sizes], 1).tolist()
    return boxes


def _dataset(items: list[dict[str, Any]], images: int, classes: int) -> Any:
    """COCO's index of annotations; ids begin at 1, as it takes 0 for none."""
    data = coco_tools("coco", WHAT).COCO()
    data.dataset = {
        "images": [{"id": image} for image in range(images)],
        "categories": [{"id": category} for category in range(1, classes)],
        "annotations": [item | {"id": number} for number, item in enumerate(items, start=1)],
    }
    data.createIndex()
    return data


def _mean(precision: np.ndarray) -> float:
    """COCO's average over what is known; NaN for nothing."""
    known = precision[precision > -1]
    return float(known.mean()) if known.size else float("nan")


def _mean_of_known(values: list[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
