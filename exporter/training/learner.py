"""The network, its optimizer and its average, and one update of them."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from exporter.errors import ArtifactError
from exporter.models import MobileNetV2
from exporter.training import ema
from exporter.training.device import autocast
from exporter.training.distributed import World
from exporter.training.freeze import freeze, frozen_blocks, frozen_part, train_mode
from exporter.training.loading import Batch, to_input
from exporter.training.optimizers import make_optimizer
from exporter.training.schedule import Plan
from exporter.training.settings import Arithmetic


class Learner:
    """All tensors of a run; equal on every worker after each update."""

    def __init__(
        self, model: MobileNetV2, plan: Plan, world: World, precision: Arithmetic, accumulate: int
    ) -> None:
        self.plan, self.recipe, self.world = plan, plan.recipe, world
        self.precision, self.accumulate = precision, accumulate
        model.to(world.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.model = model
        self.average = copy.deepcopy(model) if self.recipe.ema else None
        self.optimizer = make_optimizer(self.model, self.recipe)
        self.scaler = torch.amp.GradScaler(world.device.type, enabled=precision is Arithmetic.FP16)
        self.blocks: int | None = None  # frozen ones of the current epoch
        self.shared: nn.Module = self.model

    def begin(self, epoch: int) -> None:
        """Freeze what the epoch freezes; the workers agree anew on what they exchange."""
        blocks = frozen_blocks(self.recipe, epoch)
        if blocks != self.blocks:
            self.blocks = blocks
            freeze(self.model, blocks)
            self.shared = self.world.share(self.model)
        train_mode(self.model, blocks)

    def update(self, batch: Batch, step: int, seed: int) -> torch.Tensor:
        """One step of the optimizer on this worker's batch; its loss, still on the device."""
        # Dropout depends on seed, step and rank alone, so a resumed run draws what it would have.
        torch.manual_seed((seed * 1_000_003 + step) * self.world.size + self.world.rank)
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.lr(step)
        self.optimizer.zero_grad(set_to_none=True)
        images = batch.images.to(self.world.device, memory_format=torch.channels_last)
        labels = batch.labels.to(self.world.device)
        parts = list(zip(images.chunk(self.accumulate), labels.chunk(self.accumulate), strict=True))
        total = torch.zeros((), device=self.world.device)
        for index, (part, targets) in enumerate(parts):
            with self._exchange(last=index + 1 == len(parts)):
                loss = self._loss(part, targets) * (len(targets) / len(labels))
                self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            ema.follow(self.average, self.model, ema.decay_at(self.recipe.ema, step))
        return total

    def _exchange(self, *, last: bool) -> contextlib.AbstractContextManager[None]:
        """Gradients travel once per update, with its last part."""
        if last or not isinstance(self.shared, nn.parallel.DistributedDataParallel):
            return contextlib.nullcontext()
        return self.shared.no_sync()

    def _loss(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        with autocast(self.world.device, self.precision):
            logits = self.shared(to_input(images, self.model.spec.preprocess))
        return F.cross_entropy(logits.float(), labels, label_smoothing=self.recipe.label_smoothing)

    def exportable(self, batches: Iterable[Batch]) -> MobileNetV2:
        """The weights as they would be shipped; an average's statistics come from `batches`."""
        if self.average is None:
            self.world.copy_buffers(self.model)
            return self.model
        contract, device = self.model.spec.preprocess, self.world.device
        inputs = (
            to_input(batch.images.to(device, memory_format=torch.channels_last), contract)
            for batch in batches
        )
        frozen = frozen_part(self.average, self.blocks or 0)
        ema.measure_statistics(self.average, inputs, self.world, frozen)
        return self.average

    def healthy(self) -> bool:
        """Whether all weights are finite, which a finite loss before the update does not show."""
        return all(bool(p.isfinite().all()) for p in self.model.parameters())

    def state(self) -> dict[str, Any]:
        """Plain containers of tensors and numbers."""
        return {
            "model": self.model.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        try:
            self.model.load_state_dict(state["model"])
            if self.average is not None:
                self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.scaler.load_state_dict(state["scaler"])
        except (KeyError, RuntimeError, ValueError, TypeError) as error:
            reason = str(error).splitlines()[0]
            raise ArtifactError(f"the saved state does not fit the model ({reason})") from None
