"""End-to-end training of an int8 graph: by the float model's logits, by labels, or by both."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import torch
import torch.nn.functional as F

from exporter.checkpoints import TrainedIntegers, load_checkpoint
from exporter.errors import ArtifactError
from exporter.graph import QuantizedGraph
from exporter.models import MobileNetV2
from exporter.quantize.qat_network import QatNetwork
from exporter.quantize.settings import Bits
from exporter.training.candidates import FloatLogits, IntegerCandidate, ended
from exporter.training.distributed import World
from exporter.training.learner import Learner
from exporter.training.loading import Batch, to_input
from exporter.training.recipes import Recipe
from exporter.training.schedule import Plan
from exporter.training.settings import Arithmetic
from exporter.training.validation import Tally
from exporter.verdicts import Metric


class QatLearner(Learner):
    """The integers of a float model. It computes in float32: rounding needs the precision."""

    def __init__(
        self,
        model: MobileNetV2,
        float_graph: QuantizedGraph,
        integers: TrainedIntegers,
        plan: Plan,
        world: World,
        accumulate: int,
        spread: float,
        *,
        rounding: bool = True,
    ) -> None:
        """`spread` is the variance of the float model's logits, one for all batches and workers.

        Without `rounding` it trains the float network: the control of what rounding is worth.
        """
        bits, graph = bits_of(plan.recipe), integers.graph
        network = QatNetwork(
            float_graph,
            graph,
            limits=bits.code_limits(graph),
            weight_limits=bits.weight_limits(graph),
            learn_ranges=plan.recipe.learn_ranges,
            rounding=rounding,
        )
        super().__init__(network, model.spec, plan, world, Arithmetic.FP32, accumulate)
        self.model, self.integers, self.bits, self.network = model, integers, bits, network
        self.reference = self.teacher = FloatLogits(float_graph, world.device)
        self.metric = metric_of(plan.recipe)
        self.spread = spread
        self.graphs: list[QuantizedGraph] = [graph]  # of the last two epochs

    def begin(self, epoch: int) -> None:
        """The workers agree once on what they exchange."""
        del epoch
        if self.shared is self.trained:
            self.shared = self.world.share(self.trained)
        self.trained.train()

    def loss(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The recipe's mix of distillation and cross-entropy."""
        inputs, share = to_input(images, self.spec.preprocess), self.recipe.distill
        logits = self.shared(inputs)
        total = torch.zeros((), device=logits.device)
        if share > 0:
            with torch.no_grad():
                exact = self.teacher.network(inputs)
            total = total + share * (logits - exact).square().mean() / self.spread
        if share < 1:
            smoothing = self.recipe.label_smoothing
            total = total + (1 - share) * F.cross_entropy(logits, labels, label_smoothing=smoothing)
        return total

    def follow(self, step: int) -> None:
        """Keep learned ranges within bounds."""
        del step
        self.network.keep_ranges()

    def candidate(self, batches: Iterable[Batch]) -> IntegerCandidate:
        """The integers as trained so far."""
        del batches
        self.graphs = [self.graphs[-1], self.network.quantized()]
        trained = dataclasses.replace(self.integers, graph=self.graphs[-1])
        return IntegerCandidate(self.model, trained, self.bits)

    def reload(self, path: Path) -> IntegerCandidate:
        """The integers of a checkpoint."""
        integers = load_checkpoint(path).integers
        if integers is None:
            raise ArtifactError(f"{path}: holds no int8 graph", "start a new run")
        return IntegerCandidate(self.model, integers, self.bits)

    def rank(self, tally: Tally) -> tuple[float, ...]:
        """By the metric that the stages before were compared by."""
        return ended(tally, kept=True).rank(self.metric)


def bits_of(recipe: Recipe) -> Bits:
    """The recipe's bits as the record that quantization takes."""
    return Bits(
        weights=recipe.weight_bits,
        depthwise=recipe.depthwise_bits,
        edges=recipe.edge_bits,
        activations=recipe.activation_bits,
    )


def metric_of(recipe: Recipe) -> Metric:
    """Whoever trains by labels wants more right guesses; else the float model is the measure."""
    return Metric.SQNR if recipe.distill == 1 else Metric.TOP1
