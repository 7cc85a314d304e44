"""How far a model's results are from a reference's, summed over batches and workers."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from exporter.models import RawDetections
from exporter.training.distributed import World
from exporter.training.targets import Given
from exporter.verdicts import Quality

MAPS = 4  # dimensions of logits of pixels
MOST_DB = 999.0  # of equal results: JSON knows no infinity


class Nearness:
    """Of logits, or of a detector's logits and offsets."""

    def __init__(self) -> None:
        self.noise: dict[str, torch.Tensor] = {}  # by output: squared signal, squared noise
        self.named = torch.zeros(3, dtype=torch.float64)  # alike, of so many, KL
        self.largest = torch.zeros((), dtype=torch.float64)

    def add(self, given: Given, reference: Given) -> None:
        """One batch; maps of pixels one by one, as they take hundreds of megabytes in float64."""
        if isinstance(given, torch.Tensor) and given.ndim == MAPS:
            assert isinstance(reference, torch.Tensor)
            for one, exact in zip(torch.split(given, 1), torch.split(reference, 1), strict=True):
                self._add(one, exact)
        else:
            self._add(given, reference)

    def _add(self, given: Given, reference: Given) -> None:
        exact_by_name = by_name(reference)
        for name, tensor in by_name(given).items():
            exact = exact_by_name[name].cpu().double()
            noise = exact - tensor.cpu().double()
            sums = torch.stack((exact.square().sum(), noise.square().sum()))
            self.noise[name] = self.noise.get(name, torch.zeros_like(sums)) + sums
            self.largest = torch.maximum(self.largest, noise.abs().max())
        self._name(given, reference)

    def _name(self, given: Given, reference: Given) -> None:
        """Which classes they give."""
        if isinstance(given, RawDetections):
            assert isinstance(reference, RawDetections)
            ours, theirs = (
                given.class_logits.argmax(2).cpu(),
                reference.class_logits.argmax(2).cpu(),
            )
            divergence = torch.zeros((), dtype=torch.float64)
        else:
            assert isinstance(reference, torch.Tensor)
            logits, exact = given.cpu(), reference.cpu()
            ours, theirs = logits.argmax(1), exact.argmax(1)
            log_p, log_q = (F.log_softmax(x.double(), 1) for x in (exact, logits))
            divergence = F.kl_div(log_q, log_p, reduction="sum", log_target=True)
        alike, count = (ours == theirs).sum().double(), torch.tensor(ours.numel()).double()
        self.named += torch.stack((alike, count, divergence))

    def quality(self, images: int, world: World) -> Quality:
        """Over all workers; the ratio of several outputs is that of their mean relative noise."""
        ratios = [_relative(*sums.tolist()) for sums in self._shared(world).values()]
        alike, count, divergence = world.total(self.named).tolist()
        return Quality(
            images=images,
            sqnr_db=_decibels(sum(ratios) / len(ratios)),
            top1_agreement=alike / count,
            kl=divergence / count if len(ratios) == 1 else None,
            max_abs=float(world.maximum(self.largest)),
        )

    def _shared(self, world: World) -> dict[str, torch.Tensor]:
        """The noise over all workers, of which some may have had no image and so no output."""
        shared: dict[str, torch.Tensor] = {}
        for part in world.gathered(self.noise):
            for name, sums in part.items():
                shared[name] = shared.get(name, torch.zeros_like(sums)) + sums
        return shared


def by_name(given: Given) -> dict[str, torch.Tensor]:
    """Results under the names that graphs have for them."""
    return {"logits": given} if isinstance(given, torch.Tensor) else given._asdict()


def _relative(signal: float, noise: float) -> float:
    """Infinite where the figures are none."""
    if noise == 0:
        return 0.0
    return noise / signal if 0 < signal < math.inf and noise < math.inf else math.inf


def _decibels(relative: float) -> float:
    """Within what JSON can say; what is not finite is as bad as it gets."""
    if relative == 0:
        return MOST_DB
    if relative == math.inf:
        return -MOST_DB
    return max(-MOST_DB, min(MOST_DB, -10 * math.log10(relative)))
