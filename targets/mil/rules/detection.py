"""The ends of networks: which boxes stay, and which class it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from targets.mil.rules.arguments import Rule, Value, by_name, listed, number
from targets.mil.rules.limits import bounded

EMPTY = -1  # the index of a box that is only there to fill up


def non_maximum_suppression(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: Value,
    max_boxes: int,
    score_threshold: Value | None = None,
    per_class_suppression: bool = False,
) -> tuple[Tensor, ...]:
    """Best first, the lower index first among equals; zeros and -1 fill up to `max_boxes`.

    iOS 17 has boxes in the last dimension, no score threshold, and gives no count. Before, at
    least one box came out, the best, even if no score was above the threshold.
    """
    last = score_threshold is None
    if last:
        boxes, scores = boxes.mT, scores.mT  # (n, 4, b), (n, k, b) -> (n, b, 4), (n, b, k)
    limit = int(max_boxes)
    bounded([boxes.shape[0], limit, 4 + scores.shape[-1]])
    kept = []
    for box, score in zip(boxes, scores, strict=True):
        best, label = score.max(-1)
        order = torch.argsort(best, descending=True, stable=True)
        if score_threshold is not None:
            above = order[best[order] > number(score_threshold)]
            order = above if above.numel() else order[:1]
        classes = label if per_class_suppression else torch.zeros_like(label)
        kept.append(_survivors(_corners(box), classes, order, number(iou_threshold), limit))
    counts = torch.tensor([len(k) for k in kept])
    filled = [F.pad(k, (0, limit - len(k)), value=EMPTY) for k in kept]
    indices = torch.stack(filled)  # (n, max_boxes)
    kept_boxes, kept_scores = _taken(boxes, indices), _taken(scores, indices)
    if last:
        return kept_boxes.mT, kept_scores.mT, indices
    return kept_boxes, kept_scores, indices, counts


def classify(
    probabilities: Tensor, classes: Sequence[str | int] | Tensor
) -> tuple[str | int, dict[str | int, float]]:
    """The likeliest class, the first of equals, and every probability under its class."""
    names = classes.tolist() if isinstance(classes, Tensor) else listed(classes)
    values = probabilities.reshape(-1)
    by_class = dict(zip(names, values.tolist(), strict=True))
    return names[int(values.argmax())], by_class


def _survivors(
    corners: Tensor, classes: Tensor, order: Tensor, iou_threshold: float, limit: int
) -> Tensor:
    chosen: list[int] = []
    for i in order.tolist():
        if len(chosen) == limit:
            break
        rivals = torch.tensor(chosen, dtype=torch.long)
        rivals = rivals[classes[rivals] == classes[i]]
        if not bool((_overlap(corners[i], corners[rivals]) > iou_threshold).any()):
            chosen.append(i)
    return torch.tensor(chosen, dtype=torch.long)


def _taken(rows: Tensor, indices: Tensor) -> Tensor:
    """Rows (n, b, d) at indices (n, m), zeros for what only fills up."""
    spare = (indices == EMPTY)[..., None]
    at = indices.clamp(min=0)[..., None].expand(-1, -1, rows.shape[-1])
    return torch.gather(rows, 1, at).masked_fill(spare, 0)


def _corners(boxes: Tensor) -> Tensor:
    """(x, y, width, height) about the centre -> (left, top, right, bottom)."""
    centre, half = boxes[:, :2], boxes[:, 2:] / 2
    return torch.cat([centre - half, centre + half], -1)


def _overlap(box: Tensor, others: Tensor) -> Tensor:
    """Intersection over union; 0 / 0, of two boxes without an area, exceeds no threshold."""
    low, high = torch.maximum(box[:2], others[:, :2]), torch.minimum(box[2:], others[:, 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    union = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(-1) - shared
    return shared / union


RULES: Mapping[str, Rule] = by_name(classify, non_maximum_suppression)
