"""The learning rate of every step, and how many steps there are."""

from __future__ import annotations

import math
from dataclasses import dataclass

from exporter.training.recipe import Decay, Recipe


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A recipe on so many images with so many workers."""

    recipe: Recipe
    images: int  # of the training split
    workers: int = 1

    @property
    def steps_per_epoch(self) -> int:
        """Full batches of all workers; what is left over waits for another epoch's order."""
        return max(1, self.images // (self.recipe.batch * self.workers))

    @property
    def steps(self) -> int:
        """Updates in the whole run."""
        return self.recipe.epochs * self.steps_per_epoch

    @property
    def decay_steps(self) -> int:
        """Steps of one stair, counted as TF-slim does.

        Its epochs are one worker's: images / batch steps, of which N workers need 1 / N to pass
        over the data. So 2.5 / N of these epochs are 2.5 passes for any N.
        """
        epochs = self.recipe.decay_epochs / self.workers
        return max(1, int(self.images / self.recipe.batch * epochs))

    @property
    def peak_lr(self) -> float:
        """The highest learning rate of the run."""
        return self.recipe.lr * (self.workers if self.recipe.lr_times_workers else 1)

    def lr(self, step: int) -> float:
        """The learning rate of the update that follows `step` finished ones."""
        rising = self.recipe.warmup_epochs * self.steps_per_epoch
        rising = min(rising, self.steps / 2)  # a run of one epoch is not all warm-up
        if step < rising:
            return self.peak_lr * (step + 1) / (rising + 1)
        if self.recipe.decay is Decay.STAIRS:
            return self.peak_lr * self.recipe.decay_factor ** (step // self.decay_steps)
        done = min(1.0, (step - rising) / max(1.0, self.steps - rising))
        if self.recipe.decay is Decay.POLY:
            return float(self.peak_lr * (1 - done) ** self.recipe.decay_power)
        return self.peak_lr * (1 + math.cos(math.pi * done)) / 2
