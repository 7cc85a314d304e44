"""Streaming bias correction: one pass removes the mean error that rounding leaves in every layer.

Weight rounding shifts a channel's mean output, which costs MobileNetV2 more than the noise around
it. Float and quantized activations walk through the network in lockstep; each
layer's bias absorbs the difference of their means before the next layer sees it. The idea is that
of Nagel et al. 2019 (data-free quantization, section 4.2), measured on images instead of derived
from batch norm, and applied in order so that each layer also corrects its input's error.
"""

from __future__ import annotations

import math

import torch

from exporter.graph import Conv, Linear, Op, QuantizedGraph, WeightedOp, last_uses
from exporter.quantize.fake_quant import FusedLayer, FusedNetwork
from exporter.quantize.ranges import batch_at

MEMORY_BYTES = 2 * 10**9  # of an operation's inputs and output; a build holds more beside them
FEWEST_IMAGES = 2


def correct_biases(network: FusedNetwork, images: torch.Tensor) -> None:
    """Set every layer's bias from (n, 3, r, r) float images; ranges must be set already.

    Activations of all images are held twice, in float and rounded, so only as many images are used
    as fit into `MEMORY_BYTES`.
    """
    images = images[: affordable(network.graph)]
    reference: dict[str, torch.Tensor] = {}
    quantized: dict[str, torch.Tensor] = {}
    last = last_uses(network.graph)
    for op in network.graph.ops:
        exact = [reference[n] for n in op.inputs] or [images]
        rounded = [quantized[n] for n in op.inputs] or [images]
        if isinstance(op, Conv | Linear):
            reference[op.output] = _correct(network, op, exact[0], rounded[0])
        else:
            reference[op.output] = _float_step(network, op, exact)
        quantized[op.output] = _batched(network, op, rounded)
        for name in last.get(op.output, ()):
            del reference[name], quantized[name]


def affordable(graph: QuantizedGraph) -> int:
    """How many images' activations fit: 8 bytes per value of an operation's inputs and output."""
    per_image = max(
        sum(8 * math.prod(graph.tensors[name].shape) for name in (*op.inputs, op.output))
        for op in graph.ops
    )
    return max(FEWEST_IMAGES, MEMORY_BYTES // per_image)


def _correct(
    network: FusedNetwork, op: WeightedOp, exact: torch.Tensor, rounded: torch.Tensor
) -> torch.Tensor:
    """Correct one layer; returns its float output."""
    layer = network.layer(op)
    outputs, error = [], torch.zeros(len(layer.bias), dtype=torch.float64)
    weight, rounded_weight = layer.weight.detach(), layer.rounded_weight()
    batch = batch_at(network.graph.spec.resolution)
    for start in range(0, len(exact), batch):
        target = layer.accumulate(exact[start : start + batch], weight, layer.bias)
        actual = layer.accumulate(rounded[start : start + batch], rounded_weight, None)
        error += _channel_sum(target - actual)
        outputs.append(layer.clamp(target))
    output = torch.cat(outputs)
    layer.bias.copy_(_round_to_grid(network, op, layer, error / (output.numel() / len(error))))
    return output


def _round_to_grid(
    network: FusedNetwork, op: WeightedOp, layer: FusedLayer, bias: torch.Tensor
) -> torch.Tensor:
    """The bias as the int32 accumulator can hold it."""
    qparams = network.quantizer(op.input).qparams
    assert qparams is not None
    step = layer.weight_scale().double() * qparams.scale
    return ((bias / step).round() * step).float()


def _channel_sum(x: torch.Tensor) -> torch.Tensor:
    return x.double().sum(dim=[d for d in range(x.dim()) if d != 1])


def _float_step(network: FusedNetwork, op: Op, inputs: list[torch.Tensor]) -> torch.Tensor:
    """An operation without weights, its quantizer bypassed."""
    if not network.rounds(op.output):
        return network.step(op, inputs)
    quantizer = network.quantizer(op.output)
    mode, quantizer.mode = quantizer.mode, type(quantizer.mode).OFF
    try:
        return network.step(op, inputs)
    finally:
        quantizer.mode = mode


def _batched(network: FusedNetwork, op: Op, inputs: list[torch.Tensor]) -> torch.Tensor:
    """An operation in batches: larger ones only fall out of the cache."""
    batch = batch_at(network.graph.spec.resolution)
    return torch.cat(
        [
            network.step(op, [x[start : start + batch] for x in inputs])
            for start in range(0, len(inputs[0]), batch)
        ]
    )
