"""Ranges, bias correction, block-wise training: each kept only if it helps on held-out images.

None of them is certain to: bias correction at 4 bits of activation, or training on a few odd
images, can do harm. What is measured are the integers that ship.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator
from dataclasses import dataclass

import numpy as np
import torch

from exporter import golden
from exporter.graph import QuantizedGraph
from exporter.metrics import quality
from exporter.quantize.bias_correction import correct_biases
from exporter.quantize.block_qat import BlockTrained, train_blocks
from exporter.quantize.equalize import equalize
from exporter.quantize.fake_quant import FusedNetwork
from exporter.quantize.integer_network import IntegerNetwork
from exporter.quantize.ranges import calibrate
from exporter.quantize.settings import QatSettings
from exporter.quantize.to_graph import to_graph
from exporter.verdicts import Metric, Quality, Quantization, QuantizationStage, Score

RANGES, CORRECTED, TRAINED = "ranges", "bias correction", "block-wise QAT"
END_TO_END = "end-to-end QAT"


@dataclass(frozen=True, kw_only=True)
class Judged:
    """An int8 graph on held-out images."""

    quality: Quality
    accuracy: Score | None = None  # where they have labels


Judge = Callable[[QuantizedGraph], Judged]


@dataclass(frozen=True, kw_only=True, eq=False)
class Refined:
    """The best graph that was found, and how each stage did.

    With fewer than 8 bits of activation the graph alone is not the model: it runs as measured in
    `IntegerNetwork(graph, settings.bits.code_limits(graph))` only, and must not be exported.
    """

    graph: QuantizedGraph
    exact: QuantizedGraph  # the float graph, equalized, that the integers round
    record: Quantization
    offered: dict[str, QuantizedGraph]  # by stage, kept or not, for study


class Guard:
    """Holds the best graph so far."""

    def __init__(self, judge: Judge, settings: QatSettings, metric: Metric = Metric.SQNR) -> None:
        self.judge, self.settings, self.metric = judge, settings, metric
        self.stages: list[QuantizationStage] = []
        self.offered: dict[str, QuantizedGraph] = {}
        self._best: QuantizedGraph | None = None

    @property
    def best(self) -> QuantizedGraph:
        """The graph of the last stage that was kept."""
        assert self._best is not None, "nothing was offered yet"
        return self._best

    @property
    def record(self) -> Quantization:
        """Every stage in order."""
        return Quantization(
            stages=tuple(self.stages),
            settings=dataclasses.asdict(self.settings),
            metric=self.metric,
        )

    def offer(self, name: str, graph: QuantizedGraph) -> QuantizationStage:
        """Keep the graph if it is better by the metric than those before."""
        judged = self.judge(graph)
        stage = QuantizationStage(
            name=name, quality=judged.quality, accuracy=judged.accuracy, kept=not self.stages
        )
        if self.stages and stage.rank(self.metric) > self.record.winner.rank(self.metric):
            stage = dataclasses.replace(stage, kept=True)
        self.offered[name] = graph
        self.stages.append(stage)
        if stage.kept:
            self._best = graph
        return stage


def refine(
    graph: QuantizedGraph, images: np.ndarray, held_out: np.ndarray, settings: QatSettings
) -> Generator[BlockTrained | QuantizationStage, None, Refined]:
    """Quantize a float graph and train it by blocks, keeping what brings it nearer to float.

    `images` and `held_out` are float32 (n, 3, r, r), normalized, and share no image. Yields as
    blocks and stages are done. The same arguments give the same graph on one torch thread.
    """
    graph = equalize(graph, images)
    guard = Guard(_nearness(graph, held_out, settings), settings)
    yield from quantize_in_stages(graph, images, guard)
    return Refined(graph=guard.best, exact=graph, record=guard.record, offered=guard.offered)


def quantize_in_stages(
    graph: QuantizedGraph, images: np.ndarray, guard: Guard
) -> Generator[BlockTrained | QuantizationStage, None, None]:
    """The stages of `refine`, offered to any guard; `graph` is equalized already."""
    settings = guard.settings
    network = FusedNetwork(graph).eval()
    network.set_bits(settings.bits)
    batch = torch.from_numpy(images)
    with torch.no_grad():
        calibrate(network, batch)
        yield guard.offer(RANGES, to_graph(network))
        correct_biases(network, batch)
        yield guard.offer(CORRECTED, to_graph(network))
    trained = yield from train_blocks(graph, guard.best, images, settings)
    yield guard.offer(TRAINED, trained)


def _nearness(graph: QuantizedGraph, held_out: np.ndarray, settings: QatSettings) -> Judge:
    """A judge that compares with the float model's results."""
    reference = golden.run_outputs(graph, held_out)

    def judge(candidate: QuantizedGraph) -> Judged:
        network = IntegerNetwork(candidate, settings.bits.code_limits(candidate))
        return Judged(quality=quality(reference, network.results(held_out)))

    return judge
