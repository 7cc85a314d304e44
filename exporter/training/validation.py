"""Evaluation over all workers: every image is counted once, whoever computes it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from exporter.models import MobileNetV2
from exporter.training.device import autocast
from exporter.training.distributed import World
from exporter.training.loading import Batch, to_input
from exporter.training.settings import Arithmetic


@dataclass(frozen=True, kw_only=True, eq=False)
class Tally:
    """Sums over a split; `confusion` counts (true class, guess)."""

    images: int
    loss: float  # mean cross-entropy, without label smoothing
    top1: float
    top5: float
    confusion: torch.Tensor  # int64 (classes, classes)


@torch.no_grad()
def evaluate(
    model: MobileNetV2, batches: Iterable[Batch], world: World, precision: Arithmetic
) -> Tally:
    """Loss and accuracy of `model`, put in eval mode, over all workers' batches together."""
    model.eval()
    classes = model.spec.classes
    confusion = torch.zeros(classes, classes, dtype=torch.int64)
    sums = torch.zeros(2, dtype=torch.float64)  # loss, top-5 hits
    for batch in batches:
        images = batch.images.to(world.device, memory_format=torch.channels_last)
        with autocast(world.device, precision):
            output = model(to_input(images, model.spec.preprocess))
        logits = output.float().cpu()
        best = logits.topk(min(5, classes)).indices
        sums[0] += F.cross_entropy(logits, batch.labels, reduction="sum").double()
        sums[1] += (best == batch.labels[:, None]).sum()
        cells = torch.bincount(batch.labels * classes + best[:, 0], minlength=classes * classes)
        confusion += cells.view(classes, classes)
    sums, confusion = world.total(sums), world.total(confusion)
    images_seen = int(confusion.sum())
    return Tally(
        images=images_seen,
        loss=float(sums[0]) / images_seen,
        top1=float(confusion.diagonal().sum()) / images_seen,
        top5=float(sums[1]) / images_seen,
        confusion=confusion,
    )
