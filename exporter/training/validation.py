"""Evaluation over all workers: every image is counted once, whoever computes it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from exporter.training.distributed import World
from exporter.training.loading import Batch
from exporter.verdicts import Accuracy, Quality

MOST_DB = 999.0  # of equal logits: JSON knows no infinity
Compute = Callable[[torch.Tensor], torch.Tensor]  # uint8 images -> float32 logits on the CPU


@dataclass(frozen=True, kw_only=True, eq=False)
class Tally:
    """Sums over a split; `confusion` counts (true class, guess)."""

    images: int
    loss: float  # mean cross-entropy, without label smoothing
    top1: float
    top5: float
    confusion: torch.Tensor  # int64 (classes, classes)
    quality: Quality | None = None  # against a reference

    @property
    def accuracy(self) -> Accuracy:
        """The record of it."""
        return Accuracy(images=self.images, top1=self.top1, top5=self.top5)


class _Difference:
    """Sums of what logits differ by from a reference's."""

    def __init__(self) -> None:
        self.sums = torch.zeros(4, dtype=torch.float64)  # signal, noise, agreeing guesses, KL
        self.largest = torch.zeros((), dtype=torch.float64)

    def add(self, logits: torch.Tensor, reference: torch.Tensor) -> None:
        exact, noise = reference.double(), (reference - logits).double()
        log_p, log_q = F.log_softmax(exact, 1), F.log_softmax(logits.double(), 1)
        self.sums += torch.stack(
            (
                exact.square().sum(),
                noise.square().sum(),
                (logits.argmax(1) == reference.argmax(1)).sum(),
                F.kl_div(log_q, log_p, reduction="sum", log_target=True),
            )
        )
        self.largest = torch.maximum(self.largest, noise.abs().max())

    def quality(self, images: int, world: World) -> Quality:
        signal, noise, agreeing, divergence = world.total(self.sums).tolist()
        return Quality(
            images=images,
            sqnr_db=_ratio_db(signal, noise),
            top1_agreement=agreeing / images,
            kl=divergence / images,
            max_abs=float(world.maximum(self.largest)),
        )


def _ratio_db(signal: float, noise: float) -> float:
    """Within what JSON can say; what is not finite is as bad as it gets."""
    if noise == 0:
        return MOST_DB
    if not (0 < signal < math.inf and noise < math.inf):
        return -MOST_DB
    return max(-MOST_DB, min(MOST_DB, 10 * math.log10(signal / noise)))


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
    difference = _Difference()
    for batch in batches:
        logits = model(batch.images)
        best = logits.topk(min(5, classes)).indices
        sums[0] += F.cross_entropy(logits, batch.labels, reduction="sum").double()
        sums[1] += (best == batch.labels[:, None]).sum()
        cells = torch.bincount(batch.labels * classes + best[:, 0], minlength=classes * classes)
        confusion += cells.view(classes, classes)
        if reference is not None:
            difference.add(logits, reference(batch.images))
    sums, confusion = world.total(sums), world.total(confusion)
    images = int(confusion.sum())
    return Tally(
        images=images,
        loss=float(sums[0]) / images,
        top1=float(confusion.diagonal().sum()) / images,
        top5=float(sums[1]) / images,
        confusion=confusion,
        quality=None if reference is None else difference.quality(images, world),
    )
