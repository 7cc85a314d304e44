"""A segmenter's objective: cross-entropy of labeled pixels, and mean intersection over union."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from exporter.errors import DataError
from exporter.segmentation import IGNORED, Confusion, segmentation_loss
from exporter.spec import ModelSpec
from exporter.training.distributed import World
from exporter.training.loading import Batch
from exporter.training.nearness import Nearness
from exporter.training.recipe import Recipe
from exporter.training.targets import Given, Targets
from exporter.training.validation import Compute, Tally
from exporter.verdicts import MeanIoU, Quality


class SegmentationObjective:
    """A label map for every picture."""

    notes: tuple[str, ...] = ()

    def __init__(self, spec: ModelSpec, recipe: Recipe, world: World) -> None:
        del recipe  # it has nothing of its own to say
        self.classes, self.world = spec.classes, world

    def loss(self, given: Given, targets: Targets) -> torch.Tensor:
        """Mean cross-entropy of the labeled pixels of this worker's part."""
        assert isinstance(given, torch.Tensor)
        assert isinstance(targets, torch.Tensor)
        return segmentation_loss(given, targets.long())

    @torch.no_grad()
    def evaluate(
        self, model: Compute, batches: Iterable[Batch], reference: Compute | None = None
    ) -> Tally:
        """Mean cross-entropy, mIoU and right pixels over all labeled pixels of the split."""
        sums = torch.zeros(2, dtype=torch.float64)  # cross-entropy, images
        confusion = Confusion(self.classes)
        nearness = Nearness()
        for batch in batches:
            logits, targets = model(batch.images), batch.labels
            assert isinstance(logits, torch.Tensor)
            assert isinstance(targets, torch.Tensor)
            loss = float(segmentation_loss(logits, targets.to(logits.device).long()))
            labeled = int((targets != IGNORED).sum())
            sums += torch.tensor([loss * labeled, len(targets)], dtype=sums.dtype)
            confusion.add(logits.argmax(1).cpu().numpy(), targets.numpy())
            if reference is not None:
                nearness.add(logits, reference(batch.images))
        sums = self.world.total(sums)
        counts = self.world.total(torch.from_numpy(confusion.counts))
        near = None if reference is None else nearness.quality(int(sums[1]), self.world)
        return self._tally(sums, counts, near)

    def _tally(self, sums: torch.Tensor, counts: torch.Tensor, near: Quality | None) -> Tally:
        pixels, images = int(counts.sum()), int(sums[1])
        if not pixels:
            self.world.fail(
                DataError(
                    "no pixel of the validation masks has a label",
                    f"label them with classes from 0 on; {IGNORED} is left out",
                )
            )
        confusion = Confusion(self.classes)
        confusion.counts = counts.numpy()
        return Tally(
            images=images,
            loss=float(sums[0]) / pixels,
            score=MeanIoU(
                images=images, miou=confusion.mean_iou(), pixels=confusion.pixel_accuracy()
            ),
            confusion=counts,
            quality=near,
        )

    def rank(self, tally: Tally) -> tuple[float, ...]:
        """MIoU, then the loss."""
        assert isinstance(tally.score, MeanIoU)
        return (tally.score.miou, -tally.loss)
