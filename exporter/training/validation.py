"""Evaluation over all workers: every image is counted once, whoever computes it.

Here of classifiers; detectors and segmenters have theirs beside their losses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from exporter.training.distributed import World
from exporter.training.loading import Batch
from exporter.training.nearness import Nearness
from exporter.training.targets import Given
from exporter.verdicts import Accuracy, Quality, Score

Compute = Callable[[torch.Tensor], Given]  # uint8 images -> float32 results


@dataclass(frozen=True, kw_only=True, eq=False)
class Tally:
    """What a model comes to on a split; `confusion` counts (true class, guess)."""

    images: int
    loss: float  # without label smoothing
    score: Score | None  # None where it needs a package that is missing
    confusion: torch.Tensor | None = None  # int64 (classes, classes), of images or of pixels
    quality: Quality | None = None  # against a reference

    @property
    def accuracy(self) -> Accuracy | None:
        """A classifier's score; other tasks have others."""
        return self.score if isinstance(self.score, Accuracy) else None


@torch.no_grad()
def evaluate(
    model: Compute,
    classes: int,
    batches: Iterable[Batch],
    world: World,
    reference: Compute | None = None,
) -> Tally:
    """Loss and accuracy over all workers' batches together, and nearness to a reference."""
    confusion = torch.zeros(classes, classes, dtype=torch.int64)
    sums = torch.zeros(2, dtype=torch.float64)  # loss, top-5 hits
    nearness = Nearness()
    for batch in batches:
        given, labels = model(batch.images), batch.labels
        assert isinstance(given, torch.Tensor)
        assert isinstance(labels, torch.Tensor)
        logits = given.cpu()
        best = logits.topk(min(5, classes)).indices
        sums[0] += F.cross_entropy(logits, labels, reduction="sum").double()
        sums[1] += (best == labels[:, None]).sum()
        cells = torch.bincount(labels * classes + best[:, 0], minlength=classes * classes)
        confusion += cells.view(classes, classes)
        if reference is not None:
            nearness.add(logits, reference(batch.images))
    sums, confusion = world.total(sums), world.total(confusion)
    images = int(confusion.sum())
    top1, top5 = float(confusion.diagonal().sum()) / images, float(sums[1]) / images
    return Tally(
        images=images,
        loss=float(sums[0]) / images,
        score=Accuracy(images=images, top1=top1, top5=top5),
        confusion=confusion,
        quality=None if reference is None else nearness.quality(images, world),
    )
