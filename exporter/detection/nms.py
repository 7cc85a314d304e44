"""Non-maximum suppression as plain tensor operations: no loop over boxes, no sort, no scatter.

Every runtime has comparisons, products and a maximum, so one formula runs everywhere and gives
what the greedy loop gives (`greedy.greedy_nms`), ties included. Of two boxes of a class that
overlap too much the worse one goes, unless the better one is itself gone; as equations,

    keep[j] = valid[j] and no better i of the same class with overlap[i, j] and keep[i]

whose one solution is the fixed point of applying them again and again. Each application settles
the boxes whose chain of suppressors is one longer.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from exporter.detection.boxes import intersections
from exporter.tasks import DetectionSpec

NOTHING = -1.0  # the score of a place that no detection takes


class Detections(NamedTuple):
    """Best first; places after the last detection hold zeros, and -1 as their score."""

    boxes: torch.Tensor  # (max_detections, 4), corners
    scores: torch.Tensor  # (max_detections,)
    classes: torch.Tensor  # (max_detections,), float; 0 is the background, so never there


class Candidates(NamedTuple):
    """The pairs that compete, in no particular order; `position` breaks ties of `score`."""

    box: torch.Tensor  # (k, 4)
    score: torch.Tensor  # (k,)
    category: torch.Tensor  # (k,) float
    position: torch.Tensor  # (k,) by anchor, then by class
    valid: torch.Tensor  # (k,) bool


def exact_nms(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    spec: DetectionSpec,
    rounds: int | None = None,
) -> Detections:
    """Class-aware greedy NMS of one image: boxes (anchors, 4), scores (anchors, classes).

    `rounds` None goes on until nothing changes, which is exact always; a number unrolls, which is
    exact where no chain of suppressors is longer, so as many as there are candidates always is.
    """
    found = choose(boxes, scores, spec)
    better = ranks_above(found)
    inner, union = intersections(found.box, found.box)
    same = found.category[:, None] == found.category[None, :]
    rivals = better & same & (inner > union * spec.iou_threshold)
    keep = suppress(found.valid, rivals, rounds)
    keep = limit(keep, better & same, spec.max_per_class)
    return arrange(found, keep, better, spec.max_detections)


def choose(boxes: torch.Tensor, scores: torch.Tensor, spec: DetectionSpec) -> Candidates:
    """The best (anchor, class) pairs above the threshold, at most `spec.candidates`.

    Runtimes disagree about which of equal scores comes first, so what ties with the first pair
    that has no place is left out too: the set is the same everywhere.
    """
    real = scores.shape[1] - 1
    best, index = torch.topk(
        scores[:, 1:].reshape(-1), min(spec.candidates + 1, len(scores) * real)
    )
    valid = best > spec.score_threshold
    if len(best) > spec.candidates:
        valid = valid & (best > best[spec.candidates])
    anchor = torch.div(index, real, rounding_mode="floor")
    category = index - anchor * real + 1
    return Candidates(
        box=boxes[anchor],
        score=best,
        category=category.to(best.dtype),
        position=index,
        valid=valid,
    )


def ranks_above(found: Candidates) -> torch.Tensor:
    """Bool (k, k): whether i is better than j, by score and then by position."""
    a, b = found.score[:, None], found.score[None, :]
    earlier = found.position[:, None] < found.position[None, :]
    return (a > b) | ((a == b) & earlier)


def suppress(valid: torch.Tensor, rivals: torch.Tensor, rounds: int | None = None) -> torch.Tensor:
    """The fixed point of the equations above, from `rivals[i, j]`: i may suppress j."""
    keep = valid
    for _ in range(len(valid) if rounds is None else rounds):
        settled = valid & ~(rivals & keep[:, None]).any(0)
        if rounds is None and torch.equal(settled, keep):
            break
        keep = settled
    return keep


def limit(keep: torch.Tensor, better: torch.Tensor, most: int) -> torch.Tensor:
    """Only those with fewer than `most` kept ones above them."""
    return keep & ((better & keep[:, None]).sum(0) < most)


def arrange(found: Candidates, keep: torch.Tensor, better: torch.Tensor, places: int) -> Detections:
    """Kept candidates to their places: a matrix with one 1 per detection, so products are exact."""
    rank = (better & keep[:, None]).sum(0)
    order = torch.arange(places, device=rank.device)
    chosen = ((order[:, None] == rank[None, :]) & keep[None, :]).to(found.score.dtype)
    taken = chosen.sum(1)
    return Detections(
        boxes=chosen @ found.box,
        scores=chosen @ found.score + (taken - 1.0),
        classes=chosen @ found.category,
    )
