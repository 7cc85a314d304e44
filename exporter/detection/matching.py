"""Which anchor answers for which object (Liu et al. 2016, section 2.2)."""

from __future__ import annotations

from typing import NamedTuple

import torch

from exporter.detection.boxes import corners_of, encode, iou
from exporter.tasks import DetectionSpec

MATCHED_IOU = 0.5  # of an anchor that takes an object which another has already
BACKGROUND = 0


class Matches(NamedTuple):
    """What every anchor should say."""

    classes: torch.Tensor  # int64 (anchors,); 0 where there is nothing
    offsets: torch.Tensor  # float32 (anchors, 4); zeros where there is nothing


def match(
    boxes: torch.Tensor, classes: torch.Tensor, anchors: torch.Tensor, spec: DetectionSpec
) -> Matches:
    """Targets of one image from its objects: corners (m, 4) and int64 classes (m,) from 1 on.

    An anchor takes the object that it overlaps most, from `MATCHED_IOU` on; besides, every object
    gets the anchor that overlaps it most, whatever the overlap. Objects without area get none.
    """
    real = (boxes[:, 2:] > boxes[:, :2]).all(1)
    boxes, classes = boxes[real], classes[real]
    if len(boxes) == 0:
        nothing = classes.new_full((len(anchors),), BACKGROUND)
        return Matches(classes=nothing, offsets=torch.zeros_like(anchors))
    overlap = iou(boxes, corners_of(anchors))  # (m, anchors)
    best, owner = overlap.max(0)
    matched = best >= MATCHED_IOU
    for index, anchor in _forced(overlap):
        owner[anchor], matched[anchor] = index, True
    offsets = encode(boxes[owner], anchors, spec)
    return Matches(
        classes=torch.where(matched, classes[owner], BACKGROUND),
        offsets=torch.where(matched[:, None], offsets, 0.0),
    )


def _forced(overlap: torch.Tensor) -> list[tuple[int, int]]:
    """(object, anchor) for every object, the largest overlap first and no anchor twice."""
    left = overlap.clone()
    pairs = []
    for _ in range(min(left.shape)):
        index, anchor = divmod(int(left.argmax()), left.shape[1])
        pairs.append((index, anchor))
        left[index], left[:, anchor] = -1.0, -1.0
    return pairs
