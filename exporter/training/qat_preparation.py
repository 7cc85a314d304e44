"""The stages of quantization before end-to-end training, for `qat` to begin with the best of."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Generator
from dataclasses import dataclass

import numpy as np

from exporter.checkpoints import BEST, TrainedIntegers
from exporter.events import Note, Stage
from exporter.findings import Finding
from exporter.graph import QuantizedGraph
from exporter.manifest import Calibration
from exporter.models import Network
from exporter.preprocess import normalize
from exporter.quantize import health
from exporter.quantize.settings import QatSettings
from exporter.quantize.stages import Guard, Judged, quantize_in_stages
from exporter.quantizing import examined, progress
from exporter.threads import one_thread
from exporter.training.augment import NOTHING
from exporter.training.candidates import FloatResults, IntegerCandidate, IntegerResults
from exporter.training.distributed import World
from exporter.training.events import Preparation
from exporter.training.learner import OBJECTIVES
from exporter.training.loading import val_batches
from exporter.training.qat_learner import bits_of, metric_of
from exporter.training.run_folder import RunFolder
from exporter.training.settings import Settings
from exporter.training.views import Pictures, view_of

START = "start.safetensors"


@dataclass(frozen=True, kw_only=True, eq=False)
class FirstStages:
    """The stages before end-to-end training.

    All workers compute the same; what the lead has is what counts, should a machine differ.
    """

    settings: Settings
    train: Pictures
    val: Pictures
    model: Network
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
            metric_of(recipe, self.graph.spec.task),
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
        yield stage.finished(record.told(self.graph.spec.task))
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
        reference = FloatResults(self.graph, world.device)
        objective = OBJECTIVES[spec.task](spec, recipe, world)
        view = view_of(self.val, spec, NOTHING)

        def judge(graph: QuantizedGraph) -> Judged:
            batches = val_batches(
                view,
                recipe.batch,
                rank=world.rank,
                world=world.size,
                workers=self.settings.workers or 0,
            )
            tally = objective.evaluate(IntegerResults(graph, bits_of(recipe)), batches, reference)
            assert tally.quality is not None, "there is a reference"
            return Judged(quality=tally.quality, accuracy=tally.score)

        return judge
