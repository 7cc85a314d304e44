"""What pictures show: a class, a label map, or objects and what every anchor says of them.

And what networks give for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from exporter.detection.matching import Matches
from exporter.detection.records import Objects
from exporter.models import RawDetections


@dataclass(frozen=True, kw_only=True, eq=False)
class Matched:
    """The objects of one picture, and the anchors that answer for them."""

    matches: Matches
    objects: Objects


@dataclass(frozen=True, kw_only=True, eq=False)
class ObjectTargets:
    """`Matched` of a batch."""

    classes: torch.Tensor  # int64 (b, anchors), as `match` gives them
    offsets: torch.Tensor  # float32 (b, anchors, 4)
    objects: tuple[Objects, ...]

    def __len__(self) -> int:
        return len(self.objects)

    def to(self, device: torch.device) -> ObjectTargets:
        """With its tensors on a device."""
        return ObjectTargets(
            classes=self.classes.to(device), offsets=self.offsets.to(device), objects=self.objects
        )

    def chunk(self, parts: int) -> tuple[ObjectTargets, ...]:
        """Divided as `torch.Tensor.chunk` divides a batch."""
        made: list[ObjectTargets] = []
        start = 0
        pieces = zip(self.classes.chunk(parts), self.offsets.chunk(parts), strict=True)
        for classes, offsets in pieces:
            objects = self.objects[start : start + len(classes)]
            made.append(ObjectTargets(classes=classes, offsets=offsets, objects=objects))
            start += len(classes)
        return tuple(made)


Target = int | np.ndarray | Matched  # a class, a uint8 (r, r) label map, objects
Given = torch.Tensor | RawDetections  # (n, classes) or (n, classes, r, r) logits, or of anchors
Targets = torch.Tensor | ObjectTargets  # int64 (b,), uint8 (b, r, r), objects


def collate(targets: Sequence[Target]) -> Targets:
    """The targets of a batch, all of one kind."""
    matched = [target for target in targets if isinstance(target, Matched)]
    if matched:
        return ObjectTargets(
            classes=torch.stack([one.matches.classes for one in matched]),
            offsets=torch.stack([one.matches.offsets for one in matched]),
            objects=tuple(one.objects for one in matched),
        )
    maps = [target for target in targets if isinstance(target, np.ndarray)]
    if maps:
        return torch.from_numpy(np.stack(maps))
    return torch.tensor(targets, dtype=torch.int64)
