"""Average precision of resampled pictures: detections are matched once, pictures counted often.

COCO matches detections picture by picture, so what became of a detection does not depend on which
other pictures there are; only the ranking over all of them does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from exporter.detection.average_precision import MOST, matched
from exporter.detection.records import Found, Objects

RECALLS = np.linspace(0.0, 1.0, 101)  # at which COCO asks for precision
THRESHOLDS = 10  # of IoU, 0.5 to 0.95
MOST_CELLS = 1 << 22  # of resamples by detections that are computed at once


@dataclass(frozen=True, kw_only=True, eq=False)
class ClassMatches:
    """What became of the detections of one class, best first over all pictures."""

    pictures: np.ndarray  # int64 (d,): which one each detection is on
    hits: np.ndarray  # bool (10, d), by IoU threshold
    ignored: np.ndarray  # bool (10, d): in a crowd, neither hit nor miss
    objects: np.ndarray  # int64 (n,): on every picture


def class_matches(
    found: Sequence[Found], truth: Sequence[Objects], classes: int
) -> list[ClassMatches]:
    """Of every class from 1 on; raises MissingDependencyError without COCO's tools."""
    matches, pictures = matched(found, truth, classes).evalImgs, len(truth)
    by_class = [matches[i * pictures : (i + 1) * pictures] for i in range(classes - 1)]
    return [_ranked(rows) for rows in by_class]


def _ranked(rows: list[dict[str, Any] | None]) -> ClassMatches:
    """From COCO's records of one class, None for a picture without anything of it."""
    present = [(picture, row) for picture, row in enumerate(rows) if row is not None]
    objects = np.zeros(len(rows), np.int64)
    for picture, row in present:
        objects[picture] = np.count_nonzero(np.asarray(row["gtIgnore"]) == 0)
    pictures = np.repeat([p for p, _ in present], [len(row["dtScores"]) for _, row in present])
    scores = np.concatenate([np.zeros(0), *(row["dtScores"][:MOST] for _, row in present)])
    nothing = np.zeros((THRESHOLDS, 0), np.bool_)
    taken = np.concatenate([nothing, *(row["dtMatches"] != 0 for _, row in present)], 1)
    ignored = np.concatenate([nothing, *(row["dtIgnore"] != 0 for _, row in present)], 1)
    order = np.argsort(-scores, kind="stable")
    return ClassMatches(
        pictures=pictures.astype(np.int64)[order],
        hits=(taken & ~ignored)[:, order],
        ignored=ignored[:, order],
        objects=objects,
    )


def average_precision(matches: ClassMatches, counts: np.ndarray) -> np.ndarray:
    """AP of each resample, float64 (resamples, 10); NaN for one without an object of the class.

    `counts`, int (resamples, n), says how often each picture is in a resample.
    """
    objects = (counts @ matches.objects).astype(np.float64)
    values = np.full((len(counts), THRESHOLDS), np.nan)
    step = max(1, MOST_CELLS // max(1, len(matches.pictures)))
    for start in range(0, len(counts), step):
        rows = slice(start, start + step)
        weights = counts[rows][:, matches.pictures]
        seen = weights.cumsum(1)
        for threshold in range(THRESHOLDS):
            ignored = matches.ignored[threshold]
            counted = (weights * ~ignored).cumsum(1) if ignored.any() else seen
            places = np.flatnonzero(matches.hits[threshold])
            right = weights[:, places].cumsum(1)
            values[rows, threshold] = _area(right, counted[:, places], objects[rows])
    return np.where(objects[:, None] > 0, values, np.nan)


def _area(right: np.ndarray, seen: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """Mean precision at COCO's recalls, (resamples,), from counts up to every hit.

    The precision at a recall is the best one at that recall or a higher one, so between two hits
    nothing has to be known.
    """
    precision = right / np.maximum(seen, 1)
    best = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
    recall = right / np.maximum(objects, 1.0)[:, None]
    reached = np.searchsorted(RECALLS, recall, side="right")
    area: np.ndarray = (best * np.diff(reached, prepend=0, axis=1)).sum(1) / len(RECALLS)
    return area
