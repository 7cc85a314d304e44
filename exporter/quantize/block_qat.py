"""Block-wise quantization-aware training: every block learns to give the float block's output.

After calibration and bias correction all scales are frozen. Block by block (an inverted residual
with its sum, the head, pooling with the classifier) weights and biases are trained by Adam so that
the quantized block, fed by the quantized blocks before it, gives what the float block gives when
fed by float ones; the mean error that is left then goes into its last bias. It takes unlabeled
images and seconds, and holds no more than one block's gradients. The idea is that of Li et al. 2021
(BRECQ, arXiv:2102.05426), with plain straight-through rounding.

What a block reads are the integers that ship, by IntegerNetwork: float simulations of rounding are
off by a step here and there, and MobileNets carry that far.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Generator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from exporter.graph import (
    Add,
    Conv,
    Linear,
    Op,
    Pool,
    QParams,
    QuantizedGraph,
    WeightedOp,
    accumulator_step,
)
from exporter.quantize.bias_correction import FEWEST_IMAGES, MEMORY_BYTES
from exporter.quantize.fake_quant import FusedNetwork
from exporter.quantize.integer_network import (
    BATCH,
    IntegerNetwork,
    Step,
    clamped_codes,
    dequantize,
)
from exporter.quantize.qat_layer import QatLayer
from exporter.quantize.rounding import round_to_codes
from exporter.quantize.settings import QatSettings
from exporter.quantize.to_graph import quantize_bias
from exporter.validate import validate

Block = tuple[Op, ...]
Compute = Callable[[Op, list[torch.Tensor]], torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class BlockTrained:
    """One block is done; losses are mean squared errors over the float output's variance."""

    block: int  # from 1
    blocks: int
    before: float
    after: float


def train_blocks(
    float_graph: QuantizedGraph,
    graph: QuantizedGraph,
    images: np.ndarray,
    settings: QatSettings,
) -> Generator[BlockTrained, None, QuantizedGraph]:
    """The int8 `graph` with trained weights and biases; its scales and zero points stay.

    `images` is float32 (n, 3, r, r), normalized; as many (mirrored ones last) are used as fit into
    `MEMORY_BYTES`. Equal arguments give the same graph on one torch thread.
    """
    blocks = split(graph)
    trainer = _Trainer(float_graph, graph, settings)
    exact = torch.from_numpy(images)
    if settings.mirror:
        exact = torch.cat([exact, exact.flip(3)])
    exact = exact[: affordable(graph, blocks)]
    codes = trainer.run_integers(graph.ops[:1], exact)
    trained: dict[str, Op] = {}
    for index, block in enumerate(blocks):
        target = trainer.run_float(block, exact)
        layers, before, after = trainer.fit(block, codes, target)
        if layers:
            block = tuple(layers.get(op.output, op) for op in block)
            block, codes = trainer.finish(block, codes, target)
        else:
            codes = trainer.run_integers(block, codes)
        exact = target
        trained |= {op.output: op for op in block}
        yield BlockTrained(block=index + 1, blocks=len(blocks), before=before, after=after)
    result = dataclasses.replace(graph, ops=tuple(trained.get(op.output, op) for op in graph.ops))
    validate(result)
    return result


def split(graph: QuantizedGraph) -> tuple[Block, ...]:
    """The graph's operations between Input and Output, cut where a block ends.

    That is where one tensor holds everything and is linear (a projection or a sum), and before the
    pool.
    """
    ops = graph.ops[1:-1]
    last_read = {name: i for i, op in enumerate(ops) for name in op.inputs}
    cuts = [0]
    for i, op in enumerate(ops[:-1]):
        alone = all(last_read[earlier.output] <= i for earlier in ops[:i])
        linear = isinstance(op, Add) or (isinstance(op, Conv) and op.clamp is None)
        if alone and (linear or isinstance(ops[i + 1], Pool)):
            cuts.append(i + 1)
    return tuple(ops[a:b] for a, b in pairwise([*cuts, len(ops)]))


def affordable(graph: QuantizedGraph, blocks: tuple[Block, ...]) -> int:
    """How many images fit: 9 bytes per value of a block's input and output.

    That is int8 codes and float32 values, which are there twice while batches are joined.
    """
    per_image = max(
        9 * sum(math.prod(graph.tensors[n].shape) for n in (block[0].inputs[0], block[-1].output))
        for block in blocks
    )
    return max(FEWEST_IMAGES, MEMORY_BYTES // per_image)


class _Trainer:
    """What all blocks share: the two networks, the settings and one random order of images."""

    def __init__(
        self, float_graph: QuantizedGraph, graph: QuantizedGraph, settings: QatSettings
    ) -> None:
        self.graph = graph
        self.settings = settings
        self.exact = FusedNetwork(float_graph).eval().requires_grad_(False)
        self.originals = {op.output: op for op in float_graph.weighted()}
        self.integers = IntegerNetwork(graph, settings.bits.code_limits(graph))
        self.weight_limits = settings.bits.weight_limits(graph)
        self.random = torch.Generator().manual_seed(settings.seed)

    def run_float(self, block: Block, x: torch.Tensor) -> torch.Tensor:
        """The float block on all images, float32."""
        with torch.no_grad():
            parts = [_walk(block, part, self.exact.step) for part in torch.split(x, BATCH)]
            return torch.cat(parts)

    def run_integers(self, block: Block, x: torch.Tensor) -> torch.Tensor:
        """The integer block on int8 codes (or the Input on pixels), int8."""
        steps: dict[str, Step] = {op.output: self.integers.compile(op) for op in block}
        with torch.no_grad():
            parts = [
                _walk(block, part.float(), lambda op, inputs: steps[op.output](inputs))
                for part in torch.split(x, BATCH)
            ]
            return torch.cat([part.to(torch.int8) for part in parts])

    def fit(
        self, block: Block, codes: torch.Tensor, target: torch.Tensor
    ) -> tuple[dict[str, WeightedOp], float, float]:
        """Train a block's layers; their integers, and the loss of the first and the last step."""
        layers = {op.output: self._layer(op) for op in block if isinstance(op, Conv | Linear)}
        parameters = [p for layer in layers.values() for p in layer.parameters()]
        settings, losses = self.settings, []
        optimizer = torch.optim.Adam(parameters, lr=settings.learning_rate, foreach=True)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
        source = self.graph.qparams(block[0].inputs[0])
        variance = target.var().clamp_min(torch.finfo(torch.float32).tiny)
        for _ in range(settings.steps):
            chosen = torch.randperm(len(codes), generator=self.random)[: settings.batch]
            x = dequantize(codes[chosen], source)
            y = _walk(block, x, lambda op, inputs: self._rounded(op, inputs, layers))
            loss = (y - target[chosen]).square().mean() / variance
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        # A block whose training diverged keeps what it had.
        finite = all(bool(p.isfinite().all()) for p in parameters)
        learned = {
            name: layer.quantized(self.graph.qparams(layer.op.input))
            for name, layer in layers.items()
            if finite
        }
        return learned, losses[0], losses[-1]

    def finish(
        self, block: Block, codes: torch.Tensor, target: torch.Tensor
    ) -> tuple[Block, torch.Tensor]:
        """A trained block without its mean error, and what its integers write.

        Against the noise of a batch that error is too small to be learned in so few steps. Where
        the block ends in a clamp it stays: there a bias does not move the mean by as much.
        """
        written = self.run_integers(block, codes)
        last = [op for op in block if isinstance(op, Conv | Linear)][-1]
        if last.clamp is not None:
            return block, written
        step = accumulator_step(last, self.graph.qparams(last.input))
        error = mean_error(target, written, self.graph.qparams(block[-1].output))
        bias = quantize_bias(last.bias * step.astype(np.float64) + error, step)
        centered = dataclasses.replace(last, bias=bias)
        block = tuple(centered if op is last else op for op in block)
        return block, self.run_integers(block, codes)

    def _layer(self, op: WeightedOp) -> QatLayer:
        source, limit = self.graph.qparams(op.input), self.weight_limits[op.output]
        return QatLayer(self.originals[op.output], op, source, limit)

    def _rounded(
        self, op: Op, inputs: list[torch.Tensor], layers: dict[str, QatLayer]
    ) -> torch.Tensor:
        """One operation and the rounding of what it writes, with gradients."""
        q, limits = self.graph.qparams(op.output), self.integers.codes(op.output)
        if isinstance(op, Conv | Linear):
            y = layers[op.output](inputs[0], self.graph.qparams(op.input).scale)
            return round_to_codes(y, q, *clamped_codes(op, q, limits))
        return round_to_codes(self.exact.step(op, inputs), q, *limits)


def mean_error(target: torch.Tensor, codes: torch.Tensor, q: QParams) -> np.ndarray:
    """Float64 (o,): by how much `codes` are below the float32 target, per channel."""
    total = torch.zeros(target.shape[1], dtype=torch.float64)
    pairs = zip(torch.split(target, BATCH), torch.split(codes, BATCH), strict=True)
    for exact, part in pairs:
        error = (exact - dequantize(part, q)).double()
        total += error.transpose(0, 1).flatten(1).sum(1)
    return np.asarray((total * len(total) / target.numel()).numpy())


def _walk(block: Block, x: torch.Tensor, compute: Compute) -> torch.Tensor:
    """Run a block by a rule for its operations."""
    values = dict.fromkeys(block[0].inputs, x)
    for op in block:
        values[op.output] = compute(op, [values[name] for name in op.inputs] or [x])
    return values[block[-1].output]
