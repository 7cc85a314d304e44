"""A detector's objective: SSD's loss, and mean average precision where pycocotools is installed."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterable

import torch

from exporter.detection.average_precision import mean_ap
from exporter.detection.loss import DetectionLoss, LossSettings, detection_loss
from exporter.detection.records import Found, Objects, found_in
from exporter.errors import DataError
from exporter.models import RawDetections
from exporter.spec import ModelSpec
from exporter.training.distributed import World
from exporter.training.loading import Batch
from exporter.training.nearness import Nearness
from exporter.training.recipe import Balance, Recipe
from exporter.training.targets import Given, ObjectTargets, Targets
from exporter.training.validation import Compute, Tally
from exporter.verdicts import MeanAP

UNMEASURED = (
    "no mAP without pycocotools, so epochs are compared by their validation loss: "
    "pip install 'mnv2-export[coco]'"
)
Picture = tuple[int, Found, Objects]  # its index, what was found on it and what is there


class DetectionObjective:
    """Labeled objects on every picture."""

    def __init__(self, spec: ModelSpec, recipe: Recipe, world: World) -> None:
        self.spec, self.world = spec, world
        self.settings = LossSettings(balance=recipe.loss or Balance.HARD_NEGATIVES)
        self.measures = world.same(importlib.util.find_spec("pycocotools") is not None)
        self.notes = () if self.measures else (UNMEASURED,)

    def loss(self, given: Given, targets: Targets) -> torch.Tensor:
        """SSD's, per matched anchor of this worker's part."""
        assert isinstance(given, RawDetections)
        assert isinstance(targets, ObjectTargets)
        return self._loss(given, targets).total

    def _loss(self, raw: RawDetections, targets: ObjectTargets) -> DetectionLoss:
        return detection_loss(
            raw.class_logits, raw.box_offsets, targets.classes, targets.offsets, self.settings
        )

    @torch.no_grad()
    def evaluate(
        self, model: Compute, batches: Iterable[Batch], reference: Compute | None = None
    ) -> Tally:
        """The loss per matched anchor of the whole split, and mAP."""
        sums = torch.zeros(3, dtype=torch.float64)  # loss, matched anchors, images
        seen: list[Picture] = []
        nearness = Nearness()
        for batch in batches:
            raw, targets = model(batch.images), batch.labels
            assert isinstance(raw, RawDetections)
            assert isinstance(targets, ObjectTargets)
            total = float(self._loss(raw, targets.to(raw.class_logits.device)).total)
            matched = int((targets.classes > 0).sum())
            sums += torch.tensor([total * max(1, matched), matched, len(targets)], dtype=sums.dtype)
            if self.measures:
                seen += zip(batch.indices.tolist(), self._found(raw), targets.objects, strict=True)
            if reference is not None:
                nearness.add(raw, reference(batch.images))
        loss, matched_in_all, images = self.world.total(sums).tolist()
        return Tally(
            images=int(images),
            loss=loss / max(1.0, matched_in_all),
            score=self._mean_ap(seen) if self.measures else None,
            quality=None if reference is None else nearness.quality(int(images), self.world),
        )

    def _found(self, raw: RawDetections) -> list[Found]:
        results = {name: tensor.cpu().numpy() for name, tensor in raw._asdict().items()}
        return found_in(results, self.spec)

    def _mean_ap(self, seen: list[Picture]) -> MeanAP:
        """Of all workers' pictures in their order, computed by the lead."""
        pictures = sorted(
            (picture for part in self.world.gathered(seen) for picture in part),
            key=lambda picture: picture[0],
        )
        score: MeanAP | None = None
        with self.world.together():
            if self.world.lead:
                _, found, truth = zip(*pictures, strict=True)
                score = mean_ap(found, truth, self.spec.classes)
                if math.isnan(score.map):
                    raise DataError(
                        "no labeled object is left on the validation pictures as the network "
                        "sees them",
                        "validate on pictures with objects in their middle",
                    )
        score = self.world.same(score)
        assert score is not None, "the lead has it"
        return score

    def rank(self, tally: Tally) -> tuple[float, ...]:
        """MAP, then the loss; without it the loss alone."""
        if isinstance(tally.score, MeanAP):
            return (tally.score.map, -tally.loss)
        return (-tally.loss,)
