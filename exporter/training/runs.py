"""From settings to a running engine: meet the workers, open the data, make or find the folder."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from exporter.detection.anchors import map_sides
from exporter.errors import DataError, UnsupportedError
from exporter.events import Note
from exporter.models import Network, make_network
from exporter.preprocess import normalize
from exporter.quantize import health
from exporter.spec import ModelSpec
from exporter.tasks import STRIDE, Task
from exporter.threads import cores, threads
from exporter.training import run_folder
from exporter.training.device import pick_device, pick_precision
from exporter.training.distributed import World, join
from exporter.training.engine import Engine, Position
from exporter.training.events import Started, TrainingEvent
from exporter.training.float_learner import FloatLearner
from exporter.training.interrupt import watched
from exporter.training.learner import Learner
from exporter.training.loading import default_workers
from exporter.training.objects import open_mask_splits, open_object_splits
from exporter.training.run_folder import Began, RunFolder
from exporter.training.schedule import Plan
from exporter.training.settings import Settings
from exporter.training.sources import open_splits
from exporter.training.start import Start, starting_point
from exporter.training.tensorboard import mirrored
from exporter.training.thinning import evenly
from exporter.training.views import Pictures, PictureSplits, source_pixels

EXAMINED = 32  # images that are looked at before training


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a run is kept, and whether it goes on with one that is there."""

    out: Path = Path("runs")
    name: str | None = None
    resume: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """Everything that is settled before the first update."""

    settings: Settings
    splits: PictureSplits
    learner: Learner
    folder: RunFolder
    position: Position

    def events(self) -> Iterator[TrainingEvent]:
        """Train, and tell of it."""
        settings, learner, world = self.settings, self.learner, self.learner.world
        spec = learner.spec
        yield Started(
            folder=self.folder.path,
            task=spec.task,
            recipe=settings.recipe.name,
            train_images=len(self.splits.train),
            val_images=len(self.splits.val),
            classes=spec.classes - (spec.task is not Task.CLASSIFICATION),
            workers=world.size,
            device=str(world.device),
            precision=learner.precision,
            steps=learner.plan.steps,
            step=self.position.step,
            epochs=settings.recipe.epochs,
        )
        with watched(alone=world.size == 1) as interrupt:
            engine = Engine(
                settings=settings,
                splits=self.splits,
                learner=learner,
                folder=self.folder,
                interrupt=interrupt,
                position=self.position,
            )
            if settings.tensorboard and world.lead:
                yield from mirrored(engine.run(), self.folder.path / "tensorboard")
            else:
                yield from engine.run()


def train(settings: Settings, place: Place) -> Iterator[TrainingEvent]:
    """Train as asked; every worker runs this, and the lead's events tell the whole story."""
    settings = with_workers(settings)
    with own_cores(settings), join(pick_device(settings.device)) as world:
        yield from _train(settings, place, world)


def _train(settings: Settings, place: Place, world: World) -> Iterator[TrainingEvent]:
    splits = opened(settings, world)
    with world.together():
        began = going_on(place, splits, world)
        start = begin(settings, splits, began)
        plan = make_plan(settings, splits, world)
        _check_statistics(settings, start.model.spec)
        precision = pick_precision(settings.precision, world.device)
        learner = FloatLearner(start.model, plan, world, precision, settings.accumulate)
    folder = open_folder(settings, place, learner.spec, splits, world)
    position = find_position(folder, place, learner)
    for text in (*splits.notes, *([] if place.resume else start.notes), *learner.objective.notes):
        yield Note(text=text)
    if not place.resume:
        yield from examined(splits.train, start.model)
    run = Run(settings=settings, splits=splits, learner=learner, folder=folder, position=position)
    yield from run.events()


def opened(settings: Settings, world: World) -> PictureSplits:
    """The images, which one worker looks for and looks at."""
    found: PictureSplits | None = None
    with world.together():
        if world.lead:
            found = find_splits(settings)
    splits = world.same(found)
    assert splits is not None, "the lead has found them"
    return splits


def find_splits(settings: Settings) -> PictureSplits:
    """Of the run's task."""
    if settings.task is Task.DETECTION:
        return open_object_splits(settings.data, val=settings.val, split_seed=settings.seed)
    if settings.task is Task.SEGMENTATION:
        return open_mask_splits(settings.data, val=settings.val, split_seed=settings.seed)
    return open_splits(settings.data, val=settings.val, split_seed=settings.seed)


def going_on(place: Place, splits: PictureSplits, world: World) -> Began | None:
    """What a run that goes on began with; raises where that is not what it would go on with."""
    if not place.resume:
        return None
    began = run_folder.existing(place.out, place.name).read_run()
    if began.workers != world.size:  # its batches would hold other images
        raise UnsupportedError(
            f"the run was saved by {began.workers} workers and would go on with {world.size}",
            f"start {began.workers} workers, or a new run",
        )
    images = len(splits.train), len(splits.val)
    if splits.train.labels != began.spec.labels or images != began.images:
        raise DataError(
            f"the images are not those that the run began with: {images[0]} and {images[1]} of "
            f"{len(splits.train.labels)} classes, not {began.images[0]} and {began.images[1]} of "
            f"{began.spec.classes}, or the classes have other names",
            "put them back as they were, or start a new run",
        )
    return began


def begin(settings: Settings, splits: PictureSplits, began: Began | None) -> Start:
    """The network; a run that goes on has its weights in its state, and needs no checkpoint."""
    if began is None:
        return starting_point(settings, splits.train.labels)
    torch.manual_seed(settings.seed)
    return Start(model=make_network(began.spec), notes=())


def examined(train: Pictures, model: Network) -> Iterator[Note]:
    """What would ruin the training, by the first look at its images and its network."""
    contract = model.spec.preprocess
    chosen = evenly(len(train), EXAMINED)
    pixels = np.stack([source_pixels(train, i, contract) for i in chosen])
    found = health.check_model(model.eval(), model.spec)
    found += health.check_images(normalize(pixels, contract), model.spec)
    yield from (Note(text=line) for line in health.told(found))


def with_workers(settings: Settings) -> Settings:
    """The number of processes that load images, shared out among the workers of this machine."""
    if settings.workers is not None:
        return settings
    return dataclasses.replace(settings, workers=default_workers(_processes()))


def own_cores(settings: Settings) -> contextlib.AbstractContextManager[None]:
    """Compute on the cores that do not load images; more threads than cores are slower than one."""
    if "OMP_NUM_THREADS" in os.environ:  # the user's choice, or the launcher's
        return contextlib.nullcontext()
    return threads(max(1, cores() // _processes() - (settings.workers or 0)))


def _processes() -> int:
    """That train on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def make_plan(settings: Settings, splits: PictureSplits, world: World) -> Plan:
    """The run's schedule; raises DataError where not even one batch can be filled."""
    plan = Plan(recipe=settings.recipe, images=len(splits.train), workers=world.size)
    together = plan.recipe.batch * plan.workers
    if plan.images < together:
        raise DataError(
            f"{plan.images} images to train on are fewer than one batch of {together}",
            "make --batch smaller",
        )
    return plan


def _check_statistics(settings: Settings, spec: ModelSpec) -> None:
    """Raise DataError for what would fail at the first update, before anything is written."""
    # Of one pixel, as the last map of a 32 px image has, batch norm needs two images or more.
    part = -(-settings.recipe.batch // settings.accumulate)
    smallest = settings.recipe.batch % part or part
    if smallest * smallest_map(spec) ** 2 < 2:
        raise DataError(
            f"batches of {settings.recipe.batch} in {settings.accumulate} parts leave batch norm "
            "a single value",
            "make the batch larger, or --accumulate smaller",
        )


def smallest_map(spec: ModelSpec) -> int:
    """Pixels per side of the smallest map with batch norm; a segmenter has a pooled one."""
    if spec.task is Task.SEGMENTATION:
        return 1
    if spec.task is Task.DETECTION:
        return map_sides(spec.resolution)[-1]
    return spec.resolution // STRIDE


def open_folder(
    settings: Settings, place: Place, spec: ModelSpec, splits: PictureSplits, world: World
) -> RunFolder:
    """The lead makes or finds the folder, and all learn of it."""
    path = ""
    with world.together():
        if place.resume:
            return run_folder.existing(place.out, place.name)
        if world.lead:
            named = "" if spec.task is Task.CLASSIFICATION else f"{spec.task}-"
            folder = run_folder.create(place.out, place.name, f"{named}{settings.recipe.name}")
            images = len(splits.train), len(splits.val)
            folder.write_run(Began(settings=settings, spec=spec, workers=world.size, images=images))
            run_folder.point_latest(folder)
            path = str(folder.path)
    return RunFolder(Path(world.same(path)))


def find_position(folder: RunFolder, place: Place, learner: Learner) -> Position:
    """Where the run begins; of one that goes on the learner is put there too."""
    if not place.resume:
        return Position()
    position, world = Position(), learner.world
    state = folder.load_state()
    if state is not None:
        learner.load(state)
        position = Position(**state["position"])
    world.wait()
    if world.lead:
        folder.sweep()
        unreported = bool(position.losses)
        folder.rewind(step=position.step, epochs=position.epoch, unreported=unreported)
    return position
