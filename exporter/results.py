"""What a model gives for some images: arrays by the names of its graph's outputs.

logits         (n, classes) float32, of a segmenter (n, classes, r, r)
lowres_logits  (n, classes, h, w) float32
labels         (n, r, r) uint8, classes of pixels
class_logits   (n, anchors, classes) float32, beside box_offsets (n, anchors, 4)
scores         (n, anchors, classes) float32 in 0..1, beside boxes (n, anchors, 4)
detections     (n, places, 6) float32: x1, y1, x2, y2, score, class; best first
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

Results = Mapping[str, np.ndarray]
LABELS, BOXES, DETECTIONS = "labels", "boxes", "detections"
INEXACT = (BOXES, DETECTIONS)  # hold powers of e: the last digit is the library's
CLASS_AXES = {"logits": 1, "lowres_logits": 1, "class_logits": 2, "scores": 2}
SCORE, CLASS = 4, 5  # columns of a detection
SAME_BOX_IOU, SAME_SCORE = 0.9, 0.02  # of two detections that are counted as one


def decisions(results: Results) -> np.ndarray | None:
    """The likeliest class of every image, anchor or pixel, (n, ...) int; None of detections."""
    if LABELS in results:
        return results[LABELS]
    for name, axis in CLASS_AXES.items():
        if name in results:
            return np.asarray(results[name].argmax(axis))
    return None


def agreement(a: Results, b: Results) -> float:
    """Share of decisions that two models have in common; of detections, found by both."""
    first, second = decisions(a), decisions(b)
    if first is not None and second is not None:
        return float((first == second).mean())
    return shared_detections(a[DETECTIONS], b[DETECTIONS])


def shared_detections(a: np.ndarray, b: np.ndarray) -> float:
    """Share of the rows of (n, places, 6) arrays that have a counterpart in the other."""
    rows = matched = 0
    for ours, theirs in zip(a, b, strict=True):
        ours, theirs = ours[ours[:, SCORE] >= 0], theirs[theirs[:, SCORE] >= 0]
        rows += len(ours) + len(theirs)
        matched += 2 * _matches(ours, theirs)
    return matched / rows if rows else 1.0


def _matches(a: np.ndarray, b: np.ndarray) -> int:
    """Pairs of one class, about one score and nearly one box; each row once."""
    free = np.ones(len(b), bool)
    for row in a:
        alike = free & (b[:, CLASS] == row[CLASS]) & (np.abs(b[:, SCORE] - row[SCORE]) < SAME_SCORE)
        places = np.flatnonzero(alike)
        overlaps = _iou(row[:4], b[places, :4])
        if len(places) and overlaps.max() >= SAME_BOX_IOU:
            free[places[overlaps.argmax()]] = False
    return int((~free).sum())


def _iou(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Of one box (4,) with others (m, 4); two that are equal overlap, even without area."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    inner = np.maximum(high - low, 0.0).prod(1)
    area = np.maximum(others[:, 2:] - others[:, :2], 0.0).prod(1)
    union = np.maximum(box[2:] - box[:2], 0.0).prod() + area - inner
    same = (others == box).all(1)
    return np.asarray(np.where(same, 1.0, inner / np.maximum(union, np.finfo(np.float32).tiny)))


def joined(parts: Iterable[Results]) -> dict[str, np.ndarray]:
    """Results of several batches as those of one; there is at least one."""
    batches = list(parts)
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def equal_images(a: Results, b: Results) -> np.ndarray:
    """Bool (n,): images for which every bit of every output is equal."""
    parts = [(a[name] == b[name]).reshape(len(a[name]), -1).all(1) for name in a]
    return np.asarray(np.logical_and.reduce(parts))


def same_layout(a: Results, b: Results) -> str:
    """Why two results cannot be compared; empty where they can."""
    if a.keys() != b.keys():
        return f"gives {', '.join(b)}, not {', '.join(a)}"
    wrong = next((name for name in a if a[name].shape != b[name].shape), None)
    if wrong is not None:
        return f"{wrong} are {b[wrong].shape}, not {a[wrong].shape}"
    odd = next((name for name in a if a[name].dtype != b[name].dtype), None)
    return "" if odd is None else f"{odd} are {b[odd].dtype}, not {a[odd].dtype}"
