"""The training loop: a generator of events that writes a run folder as it goes."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import NoReturn

import torch

from exporter.checkpoints import BEST
from exporter.errors import GraphError, TrainingError
from exporter.events import Note
from exporter.training import run_folder
from exporter.training.augment import Augment
from exporter.training.candidates import Candidate
from exporter.training.events import Reported, Trained, TrainingEvent, Validated, flat
from exporter.training.interrupt import Interrupt
from exporter.training.learner import Learner
from exporter.training.loading import Batch, train_batches, val_batches
from exporter.training.recipe import Recipe
from exporter.training.run_folder import RunFolder
from exporter.training.settings import Settings
from exporter.training.validation import Tally
from exporter.training.views import Pictures, PictureSplits, View, view_of


@dataclass(kw_only=True)
class Position:
    """Where a run stands; with the learner's state all that the next update depends on."""

    epoch: int = 0  # the current one, counted from 0
    batch: int = 0  # finished updates of the current epoch
    step: int = 0  # finished updates of the run
    losses: list[float] = dataclasses.field(default_factory=list)  # not reported yet
    best_epoch: int = 0  # counted from 1; 0 while there is none
    best_rank: list[float] = dataclasses.field(default_factory=list)  # what it is the best by


class Engine:
    """One worker's part of a run."""

    def __init__(
        self,
        *,
        settings: Settings,
        splits: PictureSplits,
        learner: Learner,
        folder: RunFolder,
        interrupt: Interrupt,
        position: Position,
    ) -> None:
        self.settings, self.splits, self.learner = settings, splits, learner
        self.folder, self.interrupt, self.at = folder, interrupt, position
        self.world, self.plan = learner.world, learner.plan
        self.recipe = self.plan.recipe
        self.spec = learner.spec
        self.stopped = 0  # the signal that all workers agreed to stop for
        self.fresh: list[torch.Tensor] = []  # this worker's losses, still on its device
        self.clock, self.updates = time.perf_counter(), 0

    def run(self) -> Iterator[TrainingEvent]:
        """Train from the position to the end, or to a signal; ends in Trained."""
        started = time.perf_counter()
        while self.at.epoch < self.recipe.epochs and not self.stopped:
            yield from self._epoch()
        tally = None if self.stopped else self._best_from_disk()
        yield Trained(
            folder=self.folder.path,
            epochs=self.at.epoch,
            step=self.at.step,
            best_epoch=self.at.best_epoch or None,
            task=self.spec.task,
            score=tally.score if tally else None,
            loss=tally.loss if tally else None,
            images=tally.images if tally else None,
            quality=tally.quality if tally else None,
            seconds=time.perf_counter() - started,
            signal=self.stopped or None,
        )
        if tally is not None and self.world.lead:
            yield from draw(self.folder, tally, self.spec.labels)

    def _epoch(self) -> Iterator[TrainingEvent]:
        self.learner.begin(self.at.epoch)
        self.clock, self.updates = time.perf_counter(), 0
        with contextlib.closing(self._batches(skip=self.at.batch)) as batches:
            while (batch := self._next(batches)) is not None:
                loss = self.learner.update(batch, self.at.step, self.settings.seed)
                self.fresh.append(loss)
                self.at.step += 1
                self.at.batch += 1
                self.updates += 1
                if self.at.step % self.settings.report_every == 0:
                    yield self._report()
                if self.at.step % self.settings.save_every == 0:
                    self._save()
        if self.stopped:
            self._save()
            return
        if self.fresh or self.at.losses:
            yield self._report()
        yield self._validate()

    def _batches(self, *, skip: int = 0) -> Generator[Batch, None, None]:
        yield from train_batches(
            self._view(self.splits.train),
            self.recipe.batch,
            epoch=self.at.epoch,
            seed=self.settings.seed,
            rank=self.world.rank,
            world=self.world.size,
            workers=self.settings.workers or 0,
            skip=skip,
        )

    def _view(self, source: Pictures) -> View:
        return view_of(source, self.spec, augmentation(self.recipe))

    def _next(self, batches: Iterator[Batch]) -> Batch | None:
        """The next batch unless the epoch is over or any worker was asked to stop."""
        batch = next(batches, None)
        self.stopped = self.world.largest(self.interrupt.number)
        return None if self.stopped else batch

    def _settle(self) -> None:
        """Bring losses to the CPU as means over the workers; stop all of them at a bad one."""
        if self.fresh:
            self.at.losses += self.world.mean(torch.stack(self.fresh).cpu()).tolist()
            self.fresh = []
        if not all(map(math.isfinite, self.at.losses)) or not self.learner.healthy():
            self._diverged(f"the loss is no longer a finite number at update {self.at.step}")

    def _diverged(self, what: str) -> NoReturn:
        hint = f"lower --lr (it was {self.plan.lr(self.at.step - 1):g}); {self._kept()}"
        self.world.fail(TrainingError(what, hint))

    def _kept(self) -> str:
        best = self.folder.path / BEST
        if best.exists():
            return f"the last good checkpoint is {best}"
        return "no epoch was finished, so there is no checkpoint yet"

    def _report(self) -> Reported:
        self._settle()
        images = self.updates * self.recipe.batch * self.world.size
        report = Reported(
            step=self.at.step,
            steps=self.plan.steps,
            epoch=self.at.epoch + 1,
            epochs=self.recipe.epochs,
            loss=sum(self.at.losses) / len(self.at.losses),
            lr=self.plan.lr(self.at.step - 1),
            images_per_s=images / max(1e-9, time.perf_counter() - self.clock),
        )
        self.at.losses = []
        self.clock, self.updates = time.perf_counter(), 0
        self._log("train", report)
        return report

    def _validate(self) -> Validated:
        """Evaluate the epoch's exportable weights, keep them, and move on to the next epoch."""
        count = min(self.recipe.statistics_batches, self.plan.steps_per_epoch)
        with contextlib.closing(self._batches()) as batches:
            try:
                candidate = self.learner.candidate(itertools.islice(batches, count))
            except GraphError as error:
                self._diverged(f"the integers of epoch {self.at.epoch + 1} break: {error.message}")
        tally = self._evaluate_with(candidate)
        at, rank = self.at, list(self.learner.rank(tally))
        best = rank > at.best_rank  # an empty one is below all others
        at.epoch, at.batch = at.epoch + 1, 0
        if best:
            at.best_epoch, at.best_rank = at.epoch, rank
        if self.world.lead:
            for name in (BEST, run_folder.LAST) if best else (run_folder.LAST,):
                self.folder.save_weights(name, candidate, tally, best=best)
        event = Validated(
            epoch=at.epoch,
            epochs=self.recipe.epochs,
            step=at.step,
            loss=tally.loss,
            task=self.spec.task,
            score=tally.score,
            images=tally.images,
            best=best,
            quality=tally.quality,
        )
        self._log("val", event)
        self._save()
        return event

    def _evaluate_with(self, candidate: Candidate) -> Tally:
        batches = val_batches(
            self._view(self.splits.val),
            self.recipe.batch,
            rank=self.world.rank,
            world=self.world.size,
            workers=self.settings.workers or 0,
        )
        return self.learner.evaluate(candidate, batches)

    def _best_from_disk(self) -> Tally:
        """What the file that will be built from gives, rather than what memory gave."""
        self.world.wait()
        return self._evaluate_with(self.learner.reload(self.folder.path / BEST))

    def _save(self) -> None:
        """Weights that are no longer finite never take the place of good ones."""
        self._settle()
        self.world.copy_buffers(self.learner.trained)
        if self.world.lead:
            position = dataclasses.asdict(self.at)
            self.folder.save_state({**self.learner.state(), "position": position})

    def _log(self, kind: str, event: Reported | Validated) -> None:
        if self.world.lead:
            self.folder.append({"kind": kind, **flat(event)})


def augmentation(recipe: Recipe) -> Augment:
    """The random views that a recipe trains on."""
    return Augment(
        scale=recipe.crop_area,
        flip=recipe.flip,
        brightness=recipe.color,
        contrast=recipe.color,
        saturation=recipe.color,
    )


def draw(folder: RunFolder, tally: Tally, labels: tuple[str, ...]) -> Iterator[Note]:
    """The curve and, where there is one, the confusion matrix; or a note on what they need."""
    from exporter.training import curves

    counts = tally.confusion
    if not curves.available():
        pictures = "curve.png" if counts is None else "curve.png and confusion.png"
        yield Note(text=f"no {pictures}: {curves.CURE}")
        return
    try:
        curves.draw_curve(folder.path / "curve.png", folder.metrics())
        if counts is not None:
            curves.draw_confusion(folder.path / "confusion.png", counts.numpy(), labels)
    except TrainingError as error:  # the run is complete without them
        yield Note(text=error.message)
