"""Which anchor answers for which object (Liu et al. 2016, section 2.2)."""

from __future__ import annotations

from typing import NamedTuple

import torch

from exporter.detection.boxes import area, corners_of, encode, intersections, iou
from exporter.tasks import DetectionSpec

MATCHED_IOU = 0.5  # of an anchor that takes an object which another has already
IGNORED_SHARE = 0.5  # of an anchor that lies within what is ignored
BACKGROUND = 0
IGNORED = -1


class Matches(NamedTuple):
    """What every anchor should say."""

    classes: torch.Tensor  # int64 (anchors,); 0 where there is nothing, -1 where nobody knows
    offsets: torch.Tensor  # float32 (anchors, 4); zeros where there is nothing


def match(
    boxes: torch.Tensor,
    classes: torch.Tensor,
    anchors: torch.Tensor,
    spec: DetectionSpec,
    ignored: torch.Tensor | None = None,
) -> Matches:
    """Targets of one image from its objects: corners (m, 4) and int64 classes (m,) from 1 on.

    An anchor takes the object that it overlaps most, from `MATCHED_IOU` on; besides, every object
    gets the anchor that overlaps it most, whatever the overlap. Objects without area get none.
    Of the others an anchor that lies in one of the `ignored` (k, 4) is no example of anything.
    """
    empty = torch.full((len(anchors),), BACKGROUND, dtype=classes.dtype, device=anchors.device)
    if ignored is not None and len(ignored):
        empty[_within(anchors, ignored)] = IGNORED
    real = (boxes[:, 2:] > boxes[:, :2]).all(1)
    boxes, classes = boxes[real], classes[real]
    if len(boxes) == 0:
        return Matches(classes=empty, offsets=torch.zeros_like(anchors))
    overlap = iou(boxes, corners_of(anchors))  # (m, anchors)
    best, owner = overlap.max(0)
    matched = best >= MATCHED_IOU
    for index, anchor in _forced(overlap):
        owner[anchor], matched[anchor] = index, True
    offsets = encode(boxes[owner], anchors, spec)
    return Matches(
        classes=torch.where(matched, classes[owner], empty),
        offsets=torch.where(matched[:, None], offsets, 0.0),
    )


def _within(anchors: torch.Tensor, ignored: torch.Tensor) -> torch.Tensor:
    """Bool (anchors,): whether enough of it lies in any one of the boxes."""
    corners = corners_of(anchors)
    inner, _ = intersections(ignored, corners)
    return (inner >= IGNORED_SHARE * area(corners)).any(0)


def _forced(overlap: torch.Tensor) -> list[tuple[int, int]]:
    """(object, anchor) for every object, the largest overlap first and no anchor twice."""
    left = overlap.clone()
    pairs = []
    for _ in range(min(left.shape)):
        index, anchor = divmod(int(left.argmax()), left.shape[1])
        pairs.append((index, anchor))
        left[index], left[:, anchor] = -1.0, -1.0
    return pairs
