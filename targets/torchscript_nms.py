"""Non-maximum suppression for TorchScript: scripted, because a trace would keep one picture's path.

The equations of suppression are applied until nothing changes, which is exact for any picture. The
batch stays open. What is scripted may use no name that is not its own or torch's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from exporter.errors import UnsupportedError
from exporter.graph import Nms


def suppression(op: Nms) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Boxes (n, anchors, 4) and scores (n, anchors, classes) -> (n, places, 6)."""
    if op.native:
        raise UnsupportedError(
            "TorchScript has no non-maximum suppression of its own", "choose --nms graph or none"
        )
    spec, jit = op.spec, torch.jit
    scripted: Any = jit.script(_of_images)
    thresholds = float(np.float32(spec.score_threshold)), float(np.float32(spec.iou_threshold))
    limits = spec.candidates, spec.max_per_class, spec.max_detections
    return lambda boxes, scores: scripted(boxes, scores, *thresholds, *limits)


def _of_images(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    score_threshold: float,
    iou_threshold: float,
    candidates: int,
    most: int,
    places: int,
) -> torch.Tensor:
    """Rows of x1, y1, x2, y2, score, class; zeros with a score of -1 after the last detection."""
    rows = torch.zeros([boxes.size(0), places, 6])
    rows[:, :, 4] = -1.0
    for image in range(boxes.size(0)):
        real_classes = scores.size(2) - 1
        flat = scores[image, :, 1:].reshape(-1)
        best, index = torch.topk(flat, min(candidates + 1, flat.size(0)))
        valid = best > score_threshold
        if best.size(0) > candidates:  # what ties with the first without a place has none either
            valid = valid & (best > best[candidates])
        anchor = torch.div(index, real_classes, rounding_mode="floor")
        category = index - anchor * real_classes + 1
        box = boxes[image][anchor]
        better = _ranks_above(best, index)
        rivals = better & (category[:, None] == category[None, :])
        keep = _settled(valid, rivals & _overlaps(box, iou_threshold))
        keep = keep & ((rivals & keep[:, None]).sum(0) < most)
        rank = (better & keep[:, None]).sum(0)
        taken = keep & (rank < places)
        found = torch.cat([box, best[:, None], category.to(best.dtype)[:, None]], 1)
        rows[image, rank[taken]] = found[taken]
    return rows


def _ranks_above(score: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
    """Bool (k, k): whether i is better than j, by score and then by position."""
    a, b = score[:, None], score[None, :]
    return (a > b) | ((a == b) & (position[:, None] < position[None, :]))


def _settled(valid: torch.Tensor, suppressors: torch.Tensor) -> torch.Tensor:
    """Bool (k,): valid and not suppressed by one that is kept itself."""
    keep, changed = valid, True
    while changed:
        settled = valid & ~(suppressors & keep[:, None]).any(0)
        changed = not torch.equal(settled, keep)
        keep = settled
    return keep


def _overlaps(box: torch.Tensor, threshold: float) -> torch.Tensor:
    """Bool (k, k): whether two boxes share more than the threshold of their union."""
    low = torch.maximum(box[:, None, :2], box[None, :, :2])
    high = torch.minimum(box[:, None, 2:], box[None, :, 2:])
    shared = (high - low).clamp_min(0.0)
    inner = shared[:, :, 0] * shared[:, :, 1]
    size = (box[:, 2:] - box[:, :2]).clamp_min(0.0)
    area = size[:, 0] * size[:, 1]
    union = area[:, None] + area[None, :] - inner
    return inner > union * threshold
