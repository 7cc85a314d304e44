"""Greedy non-maximum suppression as everyone writes it, in a loop: what `nms` is tested against."""

from __future__ import annotations

from collections import Counter

import numpy as np

from exporter.tasks import DetectionSpec

Detection = tuple[float, int, int]  # score, anchor, class


def greedy_nms(boxes: np.ndarray, scores: np.ndarray, spec: DetectionSpec) -> list[Detection]:
    """Best first, at most `spec.max_detections`; of equal scores the lower anchor, then class.

    `boxes` are corners, float32 (anchors, 4); `scores` (anchors, classes) with the background
    first.
    """
    kept: list[Detection] = []
    counts: Counter[int] = Counter()
    for score, anchor, category in competitors(scores, spec):
        rivals = [other for _, other, of_class in kept if of_class == category]
        if counts[category] == spec.max_per_class:
            continue
        if not any(overlap(boxes[anchor], boxes[i], spec.iou_threshold) for i in rivals):
            kept.append((score, anchor, category))
            counts[category] += 1
    return kept[: spec.max_detections]


def competitors(scores: np.ndarray, spec: DetectionSpec) -> list[Detection]:
    """The best pairs above the score threshold, in order.

    When there are more pairs than `spec.candidates`, those that tie with the first of the others
    are left out as well.
    """
    pairs = [
        (float(scores[anchor, category]), anchor, category)
        for anchor in range(scores.shape[0])
        for category in range(1, scores.shape[1])
    ]
    pairs.sort(key=lambda pair: -pair[0])  # stable: equal scores stay in their order
    floor = pairs[spec.candidates][0] if len(pairs) > spec.candidates else -np.inf
    limit = max(floor, float(np.float32(spec.score_threshold)))
    return [pair for pair in pairs if pair[0] > limit]


def overlap(a: np.ndarray, b: np.ndarray, threshold: float) -> bool:
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
