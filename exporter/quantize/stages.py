"""Calibration, bias correction, block-wise training: each kept only if it helps on held-out images.

None of them is certain to: bias correction at 4 bits of activation, or training on a few odd
images, can do harm. What is measured are the integers that ship.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import torch

from exporter import golden
from exporter.graph import QuantizedGraph
from exporter.metrics import quality
from exporter.quantize.bias_correction import correct_biases
from exporter.quantize.block_qat import BlockTrained, train_blocks
from exporter.quantize.fake_quant import FusedNetwork
from exporter.quantize.integer_network import IntegerNetwork
from exporter.quantize.ranges import calibrate
from exporter.quantize.settings import QatSettings
from exporter.quantize.to_graph import to_graph
from exporter.verdicts import Quantization, QuantizationStage

RANGES, CORRECTED, TRAINED = "ranges", "bias correction", "block-wise QAT"


@dataclass(frozen=True, kw_only=True, eq=False)
class Refined:
    """The best graph that was found, and how each stage did.

    With fewer than 8 bits of activation the graph alone is not the model: it runs as measured in
    `IntegerNetwork(graph, settings.bits.code_limits(graph))` only, and must not be exported.
    """

    graph: QuantizedGraph
    record: Quantization
    offered: dict[str, QuantizedGraph]  # by stage, kept or not, for study


def refine(
    graph: QuantizedGraph, images: np.ndarray, held_out: np.ndarray, settings: QatSettings
) -> Generator[BlockTrained, None, Refined]:
    """Quantize a float graph and train it, keeping what helps; yields as blocks are done.

    `images` and `held_out` are float32 (n, 3, r, r), normalized, and share no image. The same
    arguments give the same graph on one torch thread.
    """
    network = FusedNetwork(graph).eval()
    network.set_bits(settings.bits)
    guard = _Guard(graph, held_out, settings)
    batch = torch.from_numpy(images)
    with torch.no_grad():
        calibrate(network, batch)
        guard.offer(RANGES, to_graph(network))
        correct_biases(network, batch)
        guard.offer(CORRECTED, to_graph(network))
    guard.offer(TRAINED, (yield from train_blocks(graph, guard.best, images, settings)))
    return Refined(graph=guard.best, record=guard.record, offered=guard.offered)


class _Guard:
    """Holds the best graph so far."""

    def __init__(self, graph: QuantizedGraph, held_out: np.ndarray, settings: QatSettings) -> None:
        self.settings = settings
        self.held_out = held_out
        self.reference = golden.run(graph, held_out)
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
        return Quantization(stages=tuple(self.stages), settings=dataclasses.asdict(self.settings))

    def offer(self, name: str, graph: QuantizedGraph) -> None:
        """Keep the graph if its logits are nearer to the float model's than those before."""
        network = IntegerNetwork(graph, self.settings.bits.code_limits(graph))
        figures = quality(self.reference, network(self.held_out))
        kept = not self.stages or figures.sqnr_db > self.record.winner.quality.sqnr_db
        self.offered[name] = graph
        self.stages.append(QuantizationStage(name=name, quality=figures, kept=kept))
        if kept:
            self._best = graph
