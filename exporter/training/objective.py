"""What a task's networks are trained towards: a loss, figures to judge by, and which are better."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import torch
import torch.nn.functional as F

from exporter.spec import ModelSpec
from exporter.training.distributed import World
from exporter.training.loading import Batch
from exporter.training.recipe import Recipe
from exporter.training.targets import Given, Targets
from exporter.training.validation import Compute, Tally, evaluate


class Objective(Protocol):
    """The same for the float network and for its integers."""

    @property
    def notes(self) -> tuple[str, ...]:
        """To tell before the first update."""
        ...

    def loss(self, given: Given, targets: Targets) -> torch.Tensor:
        """Of float32 results for this worker's part of a batch, on their device."""
        ...

    def evaluate(
        self, model: Compute, batches: Iterable[Batch], reference: Compute | None = None
    ) -> Tally:
        """Over the batches of all workers together, and how far it is from a reference."""
        ...

    def rank(self, tally: Tally) -> tuple[float, ...]:
        """What epochs are compared by; more is better."""
        ...


class ClassObjective:
    """One class per picture."""

    notes: tuple[str, ...] = ()

    def __init__(self, spec: ModelSpec, recipe: Recipe, world: World) -> None:
        self.classes, self.smoothing, self.world = spec.classes, recipe.label_smoothing, world

    def loss(self, given: Given, targets: Targets) -> torch.Tensor:
        """Cross-entropy with the recipe's label smoothing."""
        assert isinstance(given, torch.Tensor)
        assert isinstance(targets, torch.Tensor)
        return F.cross_entropy(given, targets, label_smoothing=self.smoothing)

    def evaluate(
        self, model: Compute, batches: Iterable[Batch], reference: Compute | None = None
    ) -> Tally:
        """Cross-entropy, top-1 and top-5."""
        return evaluate(model, self.classes, batches, self.world, reference)

    def rank(self, tally: Tally) -> tuple[float, ...]:
        """Top-1; of equally many right guesses the loss decides."""
        assert tally.accuracy is not None
        return (tally.accuracy.top1, -tally.loss)
