"""Quantization-aware training of a float model on a data set: four stages behind one guard.

Ranges, bias correction, block-wise training (no labels, a few images) and end-to-end training (all
images). Each is measured in the integers that ship, on the validation split by all workers, and
kept only if it is better than what was kept before. A run folder as that of `train`, with

    start.safetensors   the best before end-to-end training
    best.safetensors    the best of all; `build` takes its int8 graph as it is
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from exporter.checkpoints import BEST, TrainedIntegers, load_checkpoint
from exporter.coco_tools import check_coco_tools
from exporter.data import TRAINING_COUNT
from exporter.errors import ArtifactError, DataError
from exporter.events import Note
from exporter.fold import fold_core
from exporter.graph import QuantizedGraph
from exporter.preprocess import normalize
from exporter.quantize import health
from exporter.quantize.equalize import equalize
from exporter.quantize.fake_quant import FusedNetwork
from exporter.quantize.stages import END_TO_END
from exporter.spec import ModelSpec
from exporter.tasks import Task
from exporter.threads import one_thread
from exporter.training import run_folder
from exporter.training.candidates import IntegerCandidate
from exporter.training.device import pick_device
from exporter.training.distributed import World, join
from exporter.training.engine import Position
from exporter.training.events import FIGURES, Settled, TrainingEvent
from exporter.training.qat_learner import QatLearner, bits_of
from exporter.training.qat_preparation import START, FirstStages
from exporter.training.run_folder import RunFolder
from exporter.training.runs import (
    Place,
    Run,
    find_position,
    going_on,
    make_plan,
    open_folder,
    opened,
    own_cores,
    with_workers,
)
from exporter.training.settings import Settings
from exporter.training.start import Start, starting_point
from exporter.training.thinning import Thinned, evenly, thinned
from exporter.training.views import Pictures, PictureSplits, source_pixels
from exporter.verdicts import SCORES, Quality, QuantizationStage, Score

FEW = 200  # images to validate on


def qat(settings: Settings, place: Place) -> Iterator[TrainingEvent]:
    """Train integers as asked; every worker runs this, and the lead's events tell the story."""
    settings = with_workers(settings)
    with own_cores(settings), join(pick_device(settings.device)) as world:
        with world.together():
            _check_measure(settings)
        yield from _qat(settings, place, world)


def _check_measure(settings: Settings) -> None:
    """Raise MissingDependencyError where stages could not be compared."""
    distill = settings.recipe.distill
    if distill < 1 and settings.task is Task.DETECTION:
        check_coco_tools(f"--distill {distill:g}, which is judged by mAP,")


def _qat(settings: Settings, place: Place, world: World) -> Iterator[TrainingEvent]:
    splits = opened(settings, world)
    splits = Thinned(splits.train, thinned(splits.val, settings.val_limit), splits.notes)
    with world.together():
        going_on(place, splits, world)
        start = _start(settings, splits.train.labels, place)
        bits_of(settings.recipe)  # raises before anything is written
        plan = make_plan(settings, splits, world)
    folder = open_folder(settings, place, start.model.spec, splits, world)
    for text in (*splits.notes, *([] if place.resume else start.notes), *_few(splits)):
        yield Note(text=text)
    if world.device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = False  # codes times weights need more than its ten bits
    model = start.model.eval()
    float_graph = fold_core(model)  # as `build` quantizes it; its ends have no weights
    pixels = _calibration_pixels(splits.train, float_graph.spec)
    with one_thread():
        images = normalize(pixels, float_graph.spec.preprocess)
        float_graph, spread = world.same(_equalized(float_graph, images))
    integers = _started(folder) if place.resume else None
    if integers is None:
        stages = FirstStages(
            settings=settings,
            train=splits.train,
            val=splits.val,
            model=model,
            graph=float_graph,
            pixels=pixels,
            world=world,
        )
        integers = yield from stages.run(folder)
    learner = QatLearner(model, float_graph, integers, plan, world, settings.accumulate, spread)
    position = find_position(folder, place, learner)
    if not position.best_rank:
        if place.resume and world.lead:  # a kill may have left there what is trained anew
            folder.save_integers(BEST, IntegerCandidate(model, integers, learner.bits))
        position.best_rank = list(integers.record.winner.rank(learner.metric))
    run = Run(settings=settings, splits=splits, learner=learner, folder=folder, position=position)
    yield from run.events()
    if position.epoch == settings.recipe.epochs and world.lead:
        yield from _settled(learner, folder, position)


def _few(splits: PictureSplits) -> tuple[str, ...]:
    count = len(splits.val)
    if count >= FEW:
        return ()
    return (f"{count} images to validate on: stages that differ by little may differ by chance",)


def _equalized(
    graph: QuantizedGraph, images: np.ndarray
) -> tuple[QuantizedGraph, dict[str, float]]:
    """The float graph to quantize, and the variance of each of its results."""
    equal = equalize(graph, images)
    network = FusedNetwork(equal).eval()
    sums: dict[str, torch.Tensor] = {}  # by output: values, their sum and that of their squares
    with torch.no_grad():
        for x in torch.split(torch.from_numpy(images), 16):
            for name, result in network.results(x).items():
                values = result.double()
                count = torch.tensor(values.numel(), dtype=torch.float64)
                added = torch.stack((count, values.sum(), values.square().sum()))
                sums[name] = sums.get(name, torch.zeros_like(added)) + added
    return equal, {name: _variance(*each.tolist()) for name, each in sums.items()}


def _variance(count: float, total: float, squares: float) -> float:
    """Positive, so that it can be divided by."""
    variance = (squares - total * total / count) / max(1.0, count - 1)
    return max(variance, torch.finfo(torch.float32).tiny)


def _start(settings: Settings, labels: tuple[str, ...], place: Place) -> Start:
    """The float model; a run that goes on has it in its own files, once its stages are through."""
    if place.resume:
        own = run_folder.existing(place.out, place.name).path / START
        if own.exists():
            settings = dataclasses.replace(settings, init=own)
    start = starting_point(settings, labels)
    if start.fresh_head:
        raise DataError(
            f"{settings.data}: {start.notes[0]}",
            "train the float model on these classes first: mnv2-export train --init",
        )
    return start


def _started(folder: RunFolder) -> TrainedIntegers | None:
    """The stages before end-to-end training, or None when the run was killed in them."""
    path = folder.path / START
    return _integers(path) if path.exists() else None


def _integers(path: Path) -> TrainedIntegers:
    integers = load_checkpoint(path).integers
    if integers is None:
        raise ArtifactError(f"{path}: holds no int8 graph", "start a new run")
    return integers


def _calibration_pixels(train: Pictures, spec: ModelSpec) -> np.ndarray:
    """Uint8 (n, r, r, 3), evenly from the training split, without augmentation."""
    chosen = evenly(len(train), TRAINING_COUNT)
    return np.stack([source_pixels(train, i, spec.preprocess) for i in chosen])


def _settled(learner: QatLearner, folder: RunFolder, position: Position) -> Iterator[TrainingEvent]:
    """What became of every stage; one that lost is on record too."""
    path = folder.path / BEST
    integers, won = _integers(path), position.best_epoch > 0
    lost = None if won else _best_epoch(folder, learner)
    if lost is not None and all(stage.name != END_TO_END for stage in integers.record.stages):
        candidate = IntegerCandidate(learner.model, integers, learner.bits)
        folder.save_integers(BEST, candidate, (lost,))
        integers = _integers(path)
    if won and len(learner.graphs) > 1:
        found = health.check_frozen(*learner.graphs)
        yield from (Note(text=line) for line in health.told(found))
    yield Settled(record=integers.record)


def _best_epoch(folder: RunFolder, learner: QatLearner) -> QuantizationStage | None:
    """The best epoch of end-to-end training by the run's metrics; None where these are gone."""
    epochs = [
        QuantizationStage(
            name=END_TO_END,
            quality=Quality(**row["quality"]),
            accuracy=_score(row, learner.spec.task),
            kept=False,
        )
        for row in folder.metrics()
        if row["kind"] == "val"
    ]
    return max(epochs, key=lambda stage: stage.rank(learner.metric), default=None)


def _score(row: dict[str, Any], task: Task) -> Score | None:
    """Of an epoch; None where it was not measured."""
    figures = {name: row[name] for name in FIGURES[task]}
    if None in figures.values():
        return None
    return SCORES[task](images=row["images"], **figures)
