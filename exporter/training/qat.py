"""Quantization-aware training of a float model on a data set: four stages behind one guard.

Ranges, bias correction, block-wise training (no labels, a few images) and end-to-end training (all
images). Each is measured in the integers that ship, on the validation split by all workers, and
kept only if it is better than what was kept before. A run folder as that of `train`, with

    start.safetensors   the best before end-to-end training
    best.safetensors    the best of all; `build` takes its int8 graph as it is
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from exporter.checkpoints import BEST, TrainedIntegers, load_checkpoint
from exporter.data import TRAINING_COUNT
from exporter.errors import ArtifactError, DataError
from exporter.events import Note, Stage
from exporter.findings import Finding
from exporter.fold import fold
from exporter.graph import QuantizedGraph
from exporter.manifest import Calibration
from exporter.models import MobileNetV2
from exporter.preprocess import normalize
from exporter.quantize import health
from exporter.quantize.equalize import equalize
from exporter.quantize.fake_quant import FusedNetwork
from exporter.quantize.settings import QatSettings
from exporter.quantize.stages import END_TO_END, Guard, Judged, quantize_in_stages
from exporter.quantizing import examined, progress
from exporter.spec import ModelSpec
from exporter.threads import one_thread
from exporter.training import run_folder
from exporter.training.candidates import FloatLogits, IntegerCandidate, IntegerLogits
from exporter.training.device import pick_device
from exporter.training.distributed import World, join
from exporter.training.engine import Position
from exporter.training.events import Preparation, Settled, TrainingEvent
from exporter.training.loading import source_pixels, val_batches
from exporter.training.qat_learner import QatLearner, bits_of, metric_of
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
from exporter.training.sources import Source, Splits
from exporter.training.start import Start, starting_point
from exporter.training.thinning import evenly, thinned
from exporter.training.validation import evaluate
from exporter.verdicts import Accuracy, Metric, Quality, QuantizationStage

START = "start.safetensors"
FEW = 200  # images to validate on


def qat(settings: Settings, place: Place) -> Iterator[TrainingEvent]:
    """Train integers as asked; every worker runs this, and the lead's events tell the story."""
    settings = with_workers(settings)
    with own_cores(settings), join(pick_device(settings.device)) as world:
        yield from _qat(settings, place, world)


def _qat(settings: Settings, place: Place, world: World) -> Iterator[TrainingEvent]:
    splits = opened(settings, world)
    splits = dataclasses.replace(splits, val=thinned(splits.val, settings.val_limit))
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
    float_graph = fold(model)
    pixels = _calibration_pixels(splits.train, float_graph.spec)
    with one_thread():
        images = normalize(pixels, float_graph.spec.preprocess)
        float_graph, spread = world.same(_equalized(float_graph, images))
    integers = _started(folder) if place.resume else None
    if integers is None:
        preparation = _Preparation(
            settings=settings,
            train=splits.train,
            val=splits.val,
            model=model,
            graph=float_graph,
            pixels=pixels,
            world=world,
        )
        integers = yield from preparation.run(folder)
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


def _few(splits: Splits) -> tuple[str, ...]:
    count = len(splits.val)
    if count >= FEW:
        return ()
    return (f"{count} images to validate on: stages that differ by little may differ by chance",)


def _equalized(graph: QuantizedGraph, images: np.ndarray) -> tuple[QuantizedGraph, float]:
    """The float graph to quantize, and the variance of its logits."""
    equal = equalize(graph, images)
    network = FusedNetwork(equal).eval()
    with torch.no_grad():
        logits = torch.cat([network(part) for part in torch.split(torch.from_numpy(images), 16)])
    return equal, max(float(logits.var()), torch.finfo(torch.float32).tiny)


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


@dataclass(frozen=True, kw_only=True, eq=False)
class _Preparation:
    """The stages before end-to-end training.

    All workers compute the same; what the lead has is what counts, should a machine differ.
    """

    settings: Settings
    train: Source
    val: Source
    model: MobileNetV2
    graph: QuantizedGraph  # float, equalized
    pixels: np.ndarray  # uint8 (n, r, r, 3), to calibrate with
    world: World

    def run(self, folder: RunFolder) -> Generator[Preparation, None, TrainedIntegers]:
        """Quantize in stages, and write the best for the run to begin with."""
        recipe = self.settings.recipe
        pixels = self.pixels
        images = normalize(pixels, self.graph.spec.preprocess)
        found = health.check_model(self.model, self.graph.spec)
        yield from (Note(text=line) for line in health.told(found))
        yield from examined(self.graph, images)
        guard = Guard(
            self._judge(),
            QatSettings(bits=bits_of(recipe), steps=recipe.block_steps, seed=self.settings.seed),
            metric_of(recipe),
        )
        stage = Stage("quantize")
        yield stage.started
        with one_thread():
            for done in quantize_in_stages(self.graph, images, guard):
                told = progress(done)
                if told is not None:
                    yield told
        record = guard.record
        settings = {**record.settings, "end_to_end": dataclasses.asdict(recipe)}
        integers = TrainedIntegers(
            graph=self.world.same(guard.best),
            record=dataclasses.replace(record, settings=settings),
            calibration=Calibration(
                images=len(pixels),
                sha256=hashlib.sha256(pixels.tobytes()).hexdigest(),
                origin=f"{len(pixels)} images of the training split",
            ),
        )
        yield stage.finished(record.told())
        yield from (Note(text=line) for line in health.told(self._found(integers.graph)))
        if self.world.lead:
            candidate = IntegerCandidate(self.model, integers, guard.settings.bits)
            for name in (BEST, START):
                folder.save_integers(name, candidate)
        self.world.wait()
        return integers

    def _found(self, graph: QuantizedGraph) -> tuple[Finding, ...]:
        return health.check_graph(graph, bits_of(self.settings.recipe).code_limits(graph))

    def _judge(self) -> Callable[[QuantizedGraph], Judged]:
        recipe, spec, world = self.settings.recipe, self.graph.spec, self.world
        reference = FloatLogits(self.graph, world.device)

        def judge(graph: QuantizedGraph) -> Judged:
            batches = val_batches(
                self.val,
                spec.preprocess,
                recipe.batch,
                rank=world.rank,
                world=world.size,
                workers=self.settings.workers or 0,
            )
            logits = IntegerLogits(graph, bits_of(recipe))
            tally = evaluate(logits, spec.classes, batches, world, reference)
            assert tally.quality is not None, "there is a reference"
            return Judged(quality=tally.quality, accuracy=tally.accuracy)

        return judge


def _calibration_pixels(train: Source, spec: ModelSpec) -> np.ndarray:
    """Uint8 (n, r, r, 3), evenly from the training split, without augmentation."""
    chosen = evenly(len(train), TRAINING_COUNT)
    return np.stack([source_pixels(train, i, spec.preprocess) for i in chosen])


def _settled(learner: QatLearner, folder: RunFolder, position: Position) -> Iterator[TrainingEvent]:
    """What became of every stage; one that lost is on record too."""
    path = folder.path / BEST
    integers, won = _integers(path), position.best_epoch > 0
    lost = None if won else _best_epoch(folder, learner.metric)
    if lost is not None and all(stage.name != END_TO_END for stage in integers.record.stages):
        candidate = IntegerCandidate(learner.model, integers, learner.bits)
        folder.save_integers(BEST, candidate, (lost,))
        integers = _integers(path)
    if won and len(learner.graphs) > 1:
        found = health.check_frozen(*learner.graphs)
        yield from (Note(text=line) for line in health.told(found))
    yield Settled(record=integers.record)


def _best_epoch(folder: RunFolder, metric: Metric) -> QuantizationStage | None:
    """The best epoch of end-to-end training by the run's metrics; None where these are gone."""
    epochs = [
        QuantizationStage(
            name=END_TO_END,
            quality=Quality(**row["quality"]),
            accuracy=Accuracy(images=row["images"], top1=row["top1"], top5=row["top5"]),
            kept=False,
        )
        for row in folder.metrics()
        if row["kind"] == "val"
    ]
    return max(epochs, key=lambda stage: stage.rank(metric), default=None)
