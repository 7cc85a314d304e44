"""Training of a float network, and where the recipe says so of an average of its weights."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from exporter.checkpoints import build_network, load_checkpoint
from exporter.models import Network
from exporter.training import ema
from exporter.training.candidates import FloatCandidate, in_float32
from exporter.training.device import autocast
from exporter.training.distributed import World
from exporter.training.freeze import freeze, frozen_blocks, frozen_part, train_mode
from exporter.training.learner import Learner
from exporter.training.loading import Batch, to_input
from exporter.training.schedule import Plan
from exporter.training.settings import Arithmetic
from exporter.training.targets import Targets
from exporter.training.validation import Tally


class FloatLearner(Learner):
    """A float network that learns from labels."""

    def __init__(
        self, model: Network, plan: Plan, world: World, precision: Arithmetic, accumulate: int
    ) -> None:
        super().__init__(model, model.spec, plan, world, precision, accumulate)
        self.model = model
        self.average = copy.deepcopy(model) if self.recipe.ema else None
        self.blocks: int | None = None  # frozen ones of the current epoch

    def begin(self, epoch: int) -> None:
        """Freeze what the epoch freezes; the workers agree anew on what they exchange."""
        blocks = frozen_blocks(self.recipe, epoch)
        if blocks != self.blocks:
            self.blocks = blocks
            freeze(self.model, blocks)
            self.shared = self.world.share(self.model)
        train_mode(self.model, blocks)

    def loss(self, images: torch.Tensor, targets: Targets) -> torch.Tensor:
        """The task's."""
        with autocast(self.world.device, self.precision):
            given = self.shared(to_input(images, self.spec.preprocess))
        return self.objective.loss(in_float32(given), targets)

    def follow(self, step: int) -> None:
        """Move the average."""
        if self.average is not None:
            ema.follow(self.average, self.model, ema.decay_at(self.recipe.ema, step))

    def candidate(self, batches: Iterable[Batch]) -> FloatCandidate:
        """The weights, or their average, whose statistics come from `batches`."""
        if self.average is None:
            self.world.copy_buffers(self.model)
            return FloatCandidate(self.model, self.world.device, self.precision)
        contract, device = self.spec.preprocess, self.world.device
        inputs = (
            to_input(batch.images.to(device, memory_format=torch.channels_last), contract)
            for batch in batches
        )
        frozen = frozen_part(self.average, self.blocks or 0)
        ema.measure_statistics(self.average, inputs, self.world, frozen)
        return FloatCandidate(self.average, device, self.precision)

    def reload(self, path: Path) -> FloatCandidate:
        """The network of a checkpoint."""
        model = build_network(load_checkpoint(path)).to(self.world.device)
        return FloatCandidate(model, self.world.device, self.precision)

    def rank(self, tally: Tally) -> tuple[float, ...]:
        """The task's."""
        return self.objective.rank(tally)

    def state(self) -> dict[str, Any]:
        """With the average."""
        average = None if self.average is None else self.average.state_dict()
        return {**super().state(), "average": average}

    def restore(self, state: dict[str, Any]) -> None:
        """With the average."""
        super().restore(state)
        if self.average is not None:
            self.average.load_state_dict(state["average"])
