"""Streaming bias correction: one pass removes the mean error that rounding leaves in every layer.

Weight rounding shifts a channel's mean output, which costs MobileNetV2 more than the noise around
it. Float and quantized activations walk through the network in lockstep; each
layer's bias absorbs the difference of their means before the next layer sees it. The idea is that
of Nagel et al. 2019 (data-free quantization, section 4.2), measured on images instead of derived
from batch norm, and applied in order so that each layer also corrects its input's error.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch

from exporter.float_rules import real_step
from exporter.graph import (
    ArgMax,
    Conv,
    Linear,
    Op,
    QParams,
    QuantizedGraph,
    WeightedOp,
    last_uses,
)
from exporter.quantize.fake_quant import FusedLayer, FusedNetwork
from exporter.quantize.ranges import batch_at
from exporter.quantize.rounding import codes_of, in_cache, real_of
from exporter.threads import side_by_side

MEMORY_BYTES = 2 * 10**9  # of an operation's inputs and output; a build holds more beside them
FEWEST_IMAGES = 2

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True, eq=False)
class _Stream:
    """One tensor of all images: as the float model has it, and as codes where it has codes."""

    exact: torch.Tensor
    rounded: torch.Tensor  # int8 codes, or float32 in the float tail
    qparams: QParams | None

    def real(self, part: slice) -> torch.Tensor:
        """What the next layer reads of the rounded one."""
        rounded = self.rounded[part]
        return rounded if self.qparams is None else real_of(rounded, self.qparams)


def correct_biases(network: FusedNetwork, images: torch.Tensor) -> None:
    """Set every layer's bias from (n, 3, r, r) float images; ranges must be set already.

    Activations of all images are held twice, in float and as codes, so only as many images are
    used as fit into `MEMORY_BYTES`.
    """
    images = images[: affordable(network.graph)]
    source = _Stream(exact=images, rounded=images, qparams=None)
    streams: dict[str, _Stream] = {}
    last = last_uses(network.graph)
    for op in network.graph.ops:
        inputs = [streams[name] for name in op.inputs] or [source]
        stream = _empty(network, op, len(images))
        if isinstance(op, Conv | Linear):
            _correct(network, op, inputs[0], stream)
        else:
            _each_batch(network, len(images), partial(_step, network, op, inputs, stream))
        streams[op.output] = stream
        for name in last.get(op.output, ()):
            del streams[name]


def affordable(graph: QuantizedGraph) -> int:
    """How many images' activations fit, at 8 bytes per value of an operation's inputs and output.

    Of these 5 are held, and the rest is for the batches that are computed.
    """
    per_image = max(
        sum(8 * math.prod(graph.tensors[name].shape) for name in (*op.inputs, op.output))
        for op in graph.ops
    )
    return max(FEWEST_IMAGES, MEMORY_BYTES // per_image)


def _empty(network: FusedNetwork, op: Op, count: int) -> _Stream:
    """Room for what an operation writes: memory that is asked for batch by batch is held twice."""
    shape = (count, *network.graph.tensors[op.output].shape[1:])
    exact = torch.empty(shape, dtype=torch.uint8 if isinstance(op, ArgMax) else torch.float32)
    if not network.rounds(op.output):
        return _Stream(exact=exact, rounded=torch.empty_like(exact), qparams=None)
    rounded = torch.empty(shape, dtype=torch.int8)
    return _Stream(exact=exact, rounded=rounded, qparams=network.quantizer(op.output).ready)


def _each_batch(
    network: FusedNetwork, count: int, function: Callable[[slice], Result]
) -> list[Result]:
    """Batches: larger ones only fall out of the cache."""
    batch = batch_at(network.graph.spec.resolution)
    return side_by_side(function, [slice(i, i + batch) for i in range(0, count, batch)])


def _correct(network: FusedNetwork, op: WeightedOp, source: _Stream, stream: _Stream) -> None:
    """Write a layer's float output, correct its bias, write its rounded output."""
    layer = network.layer(op)
    weight, rounded_weight = layer.weight.detach(), layer.rounded_weight()

    def difference(part: slice) -> torch.Tensor:
        target = layer.accumulate(source.exact[part], weight, layer.bias)
        actual = layer.accumulate(source.real(part), rounded_weight, None)
        total = _channel_sum(torch.sub(target, actual, out=actual))
        stream.exact[part] = layer.clamp(target)
        return total

    def rounded(part: slice) -> None:
        y = layer.accumulate(source.real(part), rounded_weight, layer.bias)
        _keep(network, op, layer.clamp(y), stream, part)

    parts = _each_batch(network, len(stream.exact), difference)
    error = torch.stack(parts).sum(0)  # in the order of the images, whoever was first
    mean = error / (stream.exact.numel() / len(error))
    layer.bias.copy_(_round_to_grid(network, op, layer, mean))
    _each_batch(network, len(stream.exact), rounded)


def _step(
    network: FusedNetwork, op: Op, inputs: list[_Stream], stream: _Stream, part: slice
) -> None:
    """Write both outputs of an operation without weights."""
    stream.exact[part] = real_step(op, [source.exact[part] for source in inputs])
    _keep(network, op, real_step(op, [source.real(part) for source in inputs]), stream, part)


def _keep(network: FusedNetwork, op: Op, real: torch.Tensor, stream: _Stream, part: slice) -> None:
    if stream.qparams is not None:
        real = codes_of(real, stream.qparams, *network.quantizer(op.output).codes)
    stream.rounded[part] = real


def _round_to_grid(
    network: FusedNetwork, op: WeightedOp, layer: FusedLayer, bias: torch.Tensor
) -> torch.Tensor:
    """The bias as the int32 accumulator can hold it."""
    step = layer.weight_scale().double() * network.quantizer(op.input).ready.scale
    return ((bias / step).round() * step).float()


def _channel_sum(x: torch.Tensor) -> torch.Tensor:
    """Float64 (c,) of a batch (n, c, ...)."""
    others = [d for d in range(x.dim()) if d != 1]
    return torch.stack([part.double().sum(dim=others) for part in in_cache(x)]).sum(0)
