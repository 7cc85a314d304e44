"""How many bits each kind of tensor gets, and how block-wise training goes about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from exporter.errors import UnsupportedError
from exporter.graph import QMIN, Add, Concat, Conv, Linear, Pool, QuantizedGraph, WeightedOp

FEWEST_BITS, MOST_BITS = 2, 8
CodeLimits = Mapping[str, tuple[int, int]]  # tensor -> smallest and largest code, where not int8's
# Learning rates that were best on a real model, for at least so many bits of weight; activations
# of 4 bits want that of 4-bit weights.
LEARNING_RATES = ((8, 1e-4), (6, 3e-4), (FEWEST_BITS, 1e-3))


@dataclass(frozen=True, kw_only=True)
class Bits:
    """Bits per kind of tensor; whatever there are, codes are stored as int8.

    Fewer bits of weight are a narrower range of int8 codes (4 bits: -7 to 7), so the golden and
    every target run such a graph unchanged. Fewer bits of activation are for study: they would need
    a clamp that linear layers and sums lack in a QuantizedGraph, so only the simulation has them.
    """

    weights: int = 8
    depthwise: int = 8  # under 3 % of a model's weights, and the ones that suffer most
    edges: int = 8  # weights of the first and of the last layers
    activations: int = 8  # but for the image and the logits, which keep 8

    def __post_init__(self) -> None:
        for field in fields(self):
            if not FEWEST_BITS <= getattr(self, field.name) <= MOST_BITS:
                raise UnsupportedError(
                    f"{getattr(self, field.name)} bits of {field.name}",
                    f"give {FEWEST_BITS} to {MOST_BITS}",
                )

    @property
    def exportable(self) -> bool:
        """Whether a QuantizedGraph says it all."""
        return self.activations == MOST_BITS

    def weight_limits(self, graph: QuantizedGraph) -> dict[str, int]:
        """The largest weight code of every layer; the smallest is its negative."""
        edges = edge_layers(graph)
        return {op.output: 2 ** (self._of(op, edges) - 1) - 1 for op in graph.weighted()}

    def _of(self, op: WeightedOp, edges: frozenset[str]) -> int:
        if op.output in edges:
            return self.edges
        return self.depthwise if isinstance(op, Conv) and op.depthwise else self.weights

    def code_limits(self, graph: QuantizedGraph) -> CodeLimits:
        """The codes of every tensor that has fewer than 8 bits."""
        if self.exportable:
            return {}
        half = 2 ** (self.activations - 1)
        written = [op.output for op in graph.ops if isinstance(op, Conv | Linear | Add)]
        return dict.fromkeys(written[:-1], (QMIN, QMIN + 2 * half - 1))


def edge_layers(graph: QuantizedGraph) -> frozenset[str]:
    """The first layer, and those that no other layer or sum follows: a detector has twelve."""
    inner = (Conv, Linear, Add, Pool, Concat)
    read = {name for op in graph.ops if isinstance(op, inner) for name in op.inputs}
    layers = [op.output for op in graph.weighted()]
    return frozenset({layers[0], *(name for name in layers if name not in read)})


@dataclass(frozen=True, kw_only=True)
class QatSettings:
    """Everything that block-wise training depends on besides the graph and the images."""

    bits: Bits = Bits()
    steps: int = 60  # per block
    batch: int = 16  # images per step
    mirror: bool = True  # train on the images' mirror images too; measured, it never hurt
    lr: float | None = None  # Adam's, at the first step of a cosine; None: by the bits
    seed: int = 0

    @property
    def learning_rate(self) -> float:
        """`lr`, or the one that suits the bits."""
        if self.lr is not None:
            return self.lr
        fewest = min(self.bits.weights, self.bits.activations)
        return next(lr for bits, lr in LEARNING_RATES if fewest >= bits)
