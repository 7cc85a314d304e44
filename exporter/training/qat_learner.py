"""End-to-end training of an int8 graph: by the float model's results, by labels, or by both."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import nn

from exporter.checkpoints import TrainedIntegers, load_checkpoint
from exporter.errors import ArtifactError
from exporter.graph import QuantizedGraph
from exporter.models import Network
from exporter.quantize.qat_network import QatNetwork
from exporter.quantize.settings import Bits
from exporter.tasks import Task
from exporter.training.candidates import FloatResults, IntegerCandidate, ended, given_by
from exporter.training.distributed import World
from exporter.training.learner import Learner
from exporter.training.loading import Batch, to_input
from exporter.training.recipes import Recipe
from exporter.training.schedule import Plan
from exporter.training.settings import Arithmetic
from exporter.training.targets import Targets
from exporter.training.validation import Tally
from exporter.verdicts import BY_LABELS, Metric


class QatLearner(Learner):
    """The integers of a float model. It computes in float32: rounding needs the precision."""

    def __init__(
        self,
        model: Network,
        float_graph: QuantizedGraph,
        integers: TrainedIntegers,
        plan: Plan,
        world: World,
        accumulate: int,
        spread: Mapping[str, float],
        *,
        rounding: bool = True,
    ) -> None:
        """`spread` has the variances of the float model's results, the same for all batches.

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
        self.reference = self.teacher = FloatResults(float_graph, world.device)
        self.metric = metric_of(plan.recipe, model.spec.task)
        self.spread = spread
        self.graphs: list[QuantizedGraph] = [graph]  # of the last two epochs

    def begin(self, epoch: int) -> None:
        """The workers agree once on what they exchange."""
        del epoch
        if self.shared is self.trained:
            self.shared = self.world.share(_Results(self.network))
        self.trained.train()

    def loss(self, images: torch.Tensor, targets: Targets) -> torch.Tensor:
        """The recipe's mix of distillation and the task's loss."""
        inputs, share = to_input(images, self.spec.preprocess), self.recipe.distill
        results: dict[str, torch.Tensor] = self.shared(inputs)
        total = torch.zeros((), device=inputs.device)
        if share > 0:
            with torch.no_grad():
                exact = self.teacher.network.results(inputs)
            total = total + share * self._distance(results, exact)
        if share < 1:
            given = given_by(results, images.shape[-1])
            total = total + (1 - share) * self.objective.loss(given, targets)
        return total

    def _distance(
        self, results: Mapping[str, torch.Tensor], exact: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        """Mean over the outputs of the squared distance by the output's variance."""
        parts = [
            (results[name] - exact[name]).square().mean() / self.spread[name] for name in results
        ]
        return torch.stack(parts).mean()

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


class _Results(nn.Module):
    """All results of a network in training, where its `forward` has one."""

    def __init__(self, network: QatNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """By name."""
        return self.network.results(x)


def bits_of(recipe: Recipe) -> Bits:
    """The recipe's bits as the record that quantization takes."""
    return Bits(
        weights=recipe.weight_bits,
        depthwise=recipe.depthwise_bits,
        edges=recipe.edge_bits,
        activations=recipe.activation_bits,
    )


def metric_of(recipe: Recipe, task: Task) -> Metric:
    """Whoever trains by labels wants more right guesses; else the float model is the measure."""
    return Metric.SQNR if recipe.distill == 1 else BY_LABELS[task]
