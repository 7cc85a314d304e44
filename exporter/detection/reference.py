"""Greedy non-maximum suppression as everyone writes it, in a loop: what `nms` is tested against."""

from __future__ import annotations

import numpy as np

from exporter.tasks import DetectionSpec

Detection = tuple[float, int, int]  # score, anchor, class


def greedy_nms(boxes: np.ndarray, scores: np.ndarray, spec: DetectionSpec) -> list[Detection]:
    """Best first, at most `spec.max_detections`; of equal scores the lower anchor, then class.

    `boxes` are corners, float32 (anchors, 4); `scores` (anchors, classes) with the background
    first. Every pair above the score threshold competes.
    """
    found: list[Detection] = []
    for category in range(1, scores.shape[1]):
        column = scores[:, category]
        order = [int(i) for i in np.argsort(-column, kind="stable")]
        kept: list[int] = []
        for i in order:
            if column[i] <= spec.score_threshold or len(kept) == spec.max_per_class:
                break
            if not any(_overlap(boxes[i], boxes[j], spec.iou_threshold) for j in kept):
                kept.append(i)
        found += [(float(column[i]), i, category) for i in kept]
    found.sort(key=lambda detection: (-detection[0], detection[1], detection[2]))
    return found[: spec.max_detections]


def _overlap(a: np.ndarray, b: np.ndarray, threshold: float) -> bool:
    """Whether two boxes share more than `threshold` of their union, in float32."""
    zero = np.float32(0.0)
    width = max(min(a[2], b[2]) - max(a[0], b[0]), zero)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), zero)
    inner = width * height
    union = _area(a) + _area(b) - inner
    return bool(inner > union * np.float32(threshold))


def _area(box: np.ndarray) -> np.float32:
    zero = np.float32(0.0)
    return np.float32(max(box[2] - box[0], zero) * max(box[3] - box[1], zero))
