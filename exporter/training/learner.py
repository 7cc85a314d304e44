"""What is trained, its optimizer, and one update of them."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from exporter.errors import ArtifactError
from exporter.spec import ModelSpec
from exporter.tasks import Task
from exporter.training.candidates import Candidate
from exporter.training.detection_objective import DetectionObjective
from exporter.training.distributed import World
from exporter.training.loading import Batch
from exporter.training.objective import ClassObjective, Objective
from exporter.training.optimizers import make_optimizer
from exporter.training.recipe import Recipe
from exporter.training.schedule import Plan
from exporter.training.segmentation_objective import SegmentationObjective
from exporter.training.settings import Arithmetic
from exporter.training.targets import Targets
from exporter.training.validation import Compute, Tally

OBJECTIVES: dict[Task, Callable[[ModelSpec, Recipe, World], Objective]] = {
    Task.CLASSIFICATION: ClassObjective,
    Task.DETECTION: DetectionObjective,
    Task.SEGMENTATION: SegmentationObjective,
}


class Learner(abc.ABC):
    """All tensors of a run; equal on every worker after each update."""

    reference: Compute | None = None  # that validation also compares with

    def __init__(
        self,
        model: nn.Module,
        spec: ModelSpec,
        plan: Plan,
        world: World,
        precision: Arithmetic,
        accumulate: int,
    ) -> None:
        self.spec = spec
        self.objective = OBJECTIVES[spec.task](spec, plan.recipe, world)
        self.plan, self.recipe, self.world = plan, plan.recipe, world
        self.precision, self.accumulate = precision, accumulate
        model.to(world.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.trained = model
        self.optimizer = make_optimizer(model, self.recipe)
        self.scaler = torch.amp.GradScaler(world.device.type, enabled=precision is Arithmetic.FP16)
        self.shared: nn.Module = model  # what the workers' gradients meet in

    @abc.abstractmethod
    def begin(self, epoch: int) -> None:
        """Make ready for the updates of an epoch."""

    @abc.abstractmethod
    def loss(self, images: torch.Tensor, targets: Targets) -> torch.Tensor:
        """Of uint8 (n, 3, r, r) images and what they show, on the device."""

    @abc.abstractmethod
    def candidate(self, batches: Iterable[Batch]) -> Candidate:
        """The weights as they would be shipped; `batches` are of the training split."""

    @abc.abstractmethod
    def reload(self, path: Path) -> Candidate:
        """What a candidate wrote, from disk."""

    def evaluate(self, candidate: Candidate, batches: Iterable[Batch]) -> Tally:
        """Over the batches of all workers together."""
        return self.objective.evaluate(candidate, batches, self.reference)

    @abc.abstractmethod
    def rank(self, tally: Tally) -> tuple[float, ...]:
        """What epochs are compared by; more is better."""

    def follow(self, step: int) -> None:  # noqa: B027 (most have nothing to do)
        """After an update of the weights."""

    def update(self, batch: Batch, step: int, seed: int) -> torch.Tensor:
        """One step of the optimizer on this worker's batch; its loss, still on the device."""
        # Dropout depends on seed, step and rank alone, so a resumed run draws what it would have.
        mixed = (seed * 1_000_003 + step) * self.world.size + self.world.rank
        torch.manual_seed(mixed % 2**63)
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.lr(step)
        self.optimizer.zero_grad(set_to_none=True)
        images = batch.images.to(self.world.device, memory_format=torch.channels_last)
        shown = batch.labels.to(self.world.device)
        targets: Sequence[Targets] = shown.chunk(self.accumulate)
        parts = list(zip(images.chunk(self.accumulate), targets, strict=True))
        total = torch.zeros((), device=self.world.device)
        for index, (part, wanted) in enumerate(parts):
            with self._exchange(last=index + 1 == len(parts)):
                loss = self.loss(part, wanted) * (len(part) / len(images))
                self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.follow(step)
        return total

    def _exchange(self, *, last: bool) -> contextlib.AbstractContextManager[None]:
        """Gradients travel once per update, with its last part."""
        if last or not isinstance(self.shared, nn.parallel.DistributedDataParallel):
            return contextlib.nullcontext()
        return self.shared.no_sync()

    def healthy(self) -> bool:
        """Whether all weights are finite, which a finite loss before the update does not show."""
        finite = [p.isfinite().all() for p in self.trained.parameters()]
        return bool(torch.stack(finite).all())

    def state(self) -> dict[str, Any]:
        """Plain containers of tensors and numbers."""
        return {
            "model": self.trained.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave."""
        try:
            self.restore(state)
        except (KeyError, RuntimeError, ValueError, TypeError) as error:
            reason = str(error).splitlines()[0]
            raise ArtifactError(f"the saved state does not fit the model ({reason})") from None

    def restore(self, state: dict[str, Any]) -> None:
        """`load` without its error."""
        self.trained.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if state["scaler"] and self.scaler.is_enabled():  # a resumed run may compute otherwise
            self.scaler.load_state_dict(state["scaler"])
