"""From settings to a running engine: meet the workers, open the data, make or find the folder."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from exporter.errors import DataError, UnsupportedError
from exporter.events import Note
from exporter.training import run_folder
from exporter.training.device import pick_device, pick_precision
from exporter.training.distributed import World, join
from exporter.training.engine import Engine, Position
from exporter.training.events import Started, TrainingEvent
from exporter.training.interrupt import watched
from exporter.training.learner import Learner
from exporter.training.loading import default_workers
from exporter.training.run_folder import RunFolder
from exporter.training.schedule import Plan
from exporter.training.settings import Settings
from exporter.training.sources import open_splits
from exporter.training.start import starting_point
from exporter.training.tensorboard import mirrored


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a run is kept, and whether it goes on with one that is there."""

    out: Path = Path("runs")
    name: str | None = None
    resume: bool = False


def train(settings: Settings, place: Place) -> Iterator[TrainingEvent]:
    """Train as asked; every worker runs this, and the lead's events tell the whole story."""
    device = pick_device(settings.device)
    with join(device) as world:
        yield from _train(settings, place, world)


def _train(settings: Settings, place: Place, world: World) -> Iterator[TrainingEvent]:
    settings = _with_workers(settings)
    splits = open_splits(settings.data, val=settings.val, split_seed=settings.seed)
    start = starting_point(settings, splits.train.labels)
    plan = Plan(recipe=settings.recipe, images=len(splits.train), workers=world.size)
    _check_sizes(settings, plan, start.model.spec.resolution)
    precision = pick_precision(settings.precision, world.device)
    learner = Learner(start.model, plan, world, precision, settings.accumulate)
    folder, position = _open(settings, place, world, learner)
    for text in (*splits.notes, *([] if place.resume else start.notes)):
        yield Note(text=text)
    yield Started(
        folder=folder.path,
        recipe=settings.recipe.name,
        train_images=len(splits.train),
        val_images=len(splits.val),
        classes=start.model.spec.classes,
        workers=world.size,
        device=str(world.device),
        precision=precision,
        steps=plan.steps,
        step=position.step,
        epochs=settings.recipe.epochs,
    )
    with watched(alone=world.size == 1) as interrupt:
        engine = Engine(
            settings=settings,
            splits=splits,
            learner=learner,
            folder=folder,
            interrupt=interrupt,
            position=position,
        )
        wanted = settings.tensorboard and world.lead
        yield from mirrored(engine.run(), folder.path / "tensorboard") if wanted else engine.run()


def _with_workers(settings: Settings) -> Settings:
    """The number of processes that load images, shared out among the workers of this machine."""
    if settings.workers is not None:
        return settings
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return dataclasses.replace(settings, workers=default_workers(processes))


def _check_sizes(settings: Settings, plan: Plan, resolution: int) -> None:
    """Raise DataError for what would fail at the first update, before anything is written."""
    together = plan.recipe.batch * plan.workers
    if plan.images < together:
        raise DataError(
            f"{plan.images} images to train on are fewer than one batch of {together}",
            "make --batch smaller",
        )
    # The last map of a 32 px image is one pixel, and batch norm needs two values or more.
    part = -(-settings.recipe.batch // settings.accumulate)
    smallest = settings.recipe.batch % part or part
    if smallest * (resolution // 32) ** 2 < 2:
        raise DataError(
            f"batches of {settings.recipe.batch} in {settings.accumulate} parts leave batch norm "
            "a single value",
            "make the batch larger, or --accumulate smaller",
        )


def _open(
    settings: Settings, place: Place, world: World, learner: Learner
) -> tuple[RunFolder, Position]:
    """The lead makes or finds the folder; all load the same state."""
    if place.resume:
        folder = run_folder.existing(place.out, place.name)
        return folder, _resumed(folder, world, learner)
    answer = ""
    if world.lead:
        try:
            folder = run_folder.create(place.out, place.name, settings.recipe.name)
            folder.write_run(settings, learner.model.spec, world.size)
            run_folder.point_latest(folder)
            answer = str(folder.path)
        finally:
            world.lead_says(answer)  # nothing, when it failed: the others leave as well
    else:
        answer = world.lead_says("")
        if not answer:
            sys.exit(1)
    return RunFolder(Path(answer)), Position()


def _resumed(folder: RunFolder, world: World, learner: Learner) -> Position:
    _, saved_workers = folder.read_settings()
    if saved_workers != world.size:  # its batches would hold other images
        raise UnsupportedError(
            f"the run was saved by {saved_workers} workers and would go on with {world.size}",
            f"start {saved_workers} workers, or a new run",
        )
    state = folder.load_state()
    position = Position()
    if state is not None:
        learner.load(state)
        position = Position(**state["position"])
    world.wait()
    if world.lead:
        folder.sweep()
        unreported = bool(position.losses)
        folder.rewind(step=position.step, epochs=position.epoch, unreported=unreported)
    return position
