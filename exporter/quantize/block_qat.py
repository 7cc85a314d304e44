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
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from exporter.graph import (
    Conv,
    Linear,
    Op,
    QParams,
    QuantizedGraph,
    WeightedOp,
    accumulator_step,
)
from exporter.quantize.blocks import Block, affordable, split
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

Held = Mapping[str, torch.Tensor]  # tensors by name, all images
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
    pixels = torch.from_numpy(images)
    if settings.mirror:
        pixels = torch.cat([pixels, pixels.flip(3)])
    pixels = pixels[: affordable(graph, blocks)]
    image = graph.input.name
    exact = {image: pixels}
    codes = {image: trainer.quantized(pixels)}
    trained: dict[str, Op] = {}
    for index, block in enumerate(blocks):
        target = trainer.run_float(block, exact)
        layers, before, after = trainer.fit(block, codes, target)
        if layers:
            ops = tuple(layers.get(op.output, op) for op in block.ops)
            block = dataclasses.replace(block, ops=ops)
            block, written = trainer.finish(block, codes, target)
        else:
            written = trainer.run_integers(block, codes)
        exact, codes = ({**held, **new} for held, new in ((exact, target), (codes, written)))
        needed = {name for later in blocks[index + 1 :] for name in later.reads}
        exact, codes = ({n: v for n, v in h.items() if n in needed} for h in (exact, codes))
        trained |= {op.output: op for op in block.ops}
        yield BlockTrained(block=index + 1, blocks=len(blocks), before=before, after=after)
    result = dataclasses.replace(graph, ops=tuple(trained.get(op.output, op) for op in graph.ops))
    validate(result)
    return result


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

    def quantized(self, pixels: torch.Tensor) -> torch.Tensor:
        """Int8 codes of images."""
        step = self.integers.compile(self.graph.ops[0])
        return torch.cat([step([part]).to(torch.int8) for part in torch.split(pixels, BATCH)])

    def run_float(self, block: Block, exact: Held) -> dict[str, torch.Tensor]:
        """What the float block writes for all images, float32."""
        with torch.no_grad():
            return _in_batches(block, exact, lambda part: _walk(block, part, self.exact.step))

    def run_integers(self, block: Block, codes: Held) -> dict[str, torch.Tensor]:
        """What the integer block writes for int8 codes, int8."""
        steps: dict[str, Step] = {op.output: self.integers.compile(op) for op in block.ops}

        def run(part: Held) -> dict[str, torch.Tensor]:
            wide = {name: value.float() for name, value in part.items()}
            found = _walk(block, wide, lambda op, inputs: steps[op.output](inputs))
            return {name: value.to(torch.int8) for name, value in found.items()}

        with torch.no_grad():
            return _in_batches(block, codes, run)

    def fit(
        self, block: Block, codes: Held, target: Held
    ) -> tuple[dict[str, WeightedOp], float, float]:
        """Train a block's layers; their integers, and the loss of the first and the last step."""
        layers = {op.output: self._layer(op) for op in block.ops if isinstance(op, Conv | Linear)}
        if not layers:
            return {}, 0.0, 0.0
        parameters = [p for layer in layers.values() for p in layer.parameters()]
        settings, losses = self.settings, []
        optimizer = torch.optim.Adam(parameters, lr=settings.learning_rate, foreach=True)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.steps)
        tiny = torch.finfo(torch.float32).tiny
        variances = {name: target[name].var().clamp_min(tiny) for name in block.writes}
        images = len(codes[block.reads[0]])
        for _ in range(settings.steps):
            chosen = torch.randperm(images, generator=self.random)[: settings.batch]
            x = {n: dequantize(codes[n][chosen], self.graph.qparams(n)) for n in block.reads}
            found = _walk(block, x, lambda op, inputs: self._rounded(op, inputs, layers))
            errors = [
                (found[name] - target[name][chosen]).square().mean() / variance
                for name, variance in variances.items()
            ]
            loss = torch.stack(errors).mean()
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

    def finish(self, block: Block, codes: Held, target: Held) -> tuple[Block, Held]:
        """A trained block without its mean error, and what its integers write.

        Against the noise of a batch that error is too small to be learned in so few steps. Where
        the block ends in a clamp it stays: there a bias does not move the mean by as much.
        """
        written = self.run_integers(block, codes)
        last = [op for op in block.ops if isinstance(op, Conv | Linear)][-1]
        end = block.ops[-1].output
        if last.clamp is not None or end not in block.writes:
            return block, written
        step = accumulator_step(last, self.graph.qparams(last.input))
        error = mean_error(target[end], written[end], self.graph.qparams(end))
        bias = quantize_bias(last.bias * step.astype(np.float64) + error, step)
        centered = dataclasses.replace(last, bias=bias)
        block = dataclasses.replace(
            block, ops=tuple(centered if op is last else op for op in block.ops)
        )
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


def _walk(block: Block, held: Held, compute: Compute) -> dict[str, torch.Tensor]:
    """Run a block by a rule for its operations; what it writes."""
    values = {name: held[name] for name in block.reads}
    for op in block.ops:
        values[op.output] = compute(op, [values[name] for name in op.inputs])
    return {name: values[name] for name in block.writes}


def _in_batches(
    block: Block, held: Held, run: Callable[[Held], dict[str, torch.Tensor]]
) -> dict[str, torch.Tensor]:
    count = len(held[block.reads[0]])
    parts = [
        run({name: held[name][start : start + BATCH] for name in block.reads})
        for start in range(0, count, BATCH)
    ]
    return {name: torch.cat([part[name] for part in parts]) for name in block.writes}
