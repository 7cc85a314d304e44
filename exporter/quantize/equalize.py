"""Linear tensors whose channels are more alike in range, so that one int8 scale fits them better.

Between MobileNetV2's blocks runs a linear stream: projections and their sums, no clamp. A channel
of it can be multiplied where it is written and divided where it is read, and the model stays the
same. That is the cross-layer equalization of Nagel et al. 2019 (data-free quantization, section
4.1), of the streams alone: a clamped channel that is scaled up is cut off earlier, and photos
outside the calibration set miss what was cut.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import torch

from exporter.graph import Add, Conv, Op, QuantizedGraph
from exporter.quantize.fake_quant import FusedNetwork, last_uses

BATCH = 16
STRENGTH = 0.5  # 1 makes ranges equal, and the weights that read them too unequal
LARGEST_GAIN = 4.0  # of a channel that is next to nothing on the calibration images


def equalize(graph: QuantizedGraph, images: np.ndarray) -> QuantizedGraph:
    """A float graph of the same function up to float rounding, from (n, 3, r, r) float images."""
    found = streams(graph)
    ranges = channel_ranges(graph, images, {name for stream in found for name in stream})
    gains: dict[str, np.ndarray] = {}
    for stream in found:
        largest = np.maximum.reduce([ranges[name] for name in stream])
        gains |= dict.fromkeys(stream, gains_of(largest))
    return dataclasses.replace(graph, ops=tuple(_rescaled(op, gains) for op in graph.ops))


def streams(graph: QuantizedGraph) -> list[frozenset[str]]:
    """Tensors that sums tie together, where only convolutions write (unclamped) and read them."""
    tied = {op.output: frozenset({op.output}) for op in graph.ops}
    for op in graph.ops:
        if isinstance(op, Add):
            joined = tied[op.a] | tied[op.b] | tied[op.output]
            tied |= dict.fromkeys(joined, joined)
    ops = {op.output: op for op in graph.ops}
    readers: dict[str, list[Op]] = {name: [] for name in ops}
    for op in graph.ops:
        for name in op.inputs:
            readers[name].append(op)

    def scalable(name: str) -> bool:
        op = ops[name]
        linear = isinstance(op, Add) or (isinstance(op, Conv) and op.clamp is None)
        return linear and all(_divides(reader) for reader in readers[name])

    return [stream for stream in dict.fromkeys(tied.values()) if all(map(scalable, stream))]


def channel_ranges(
    graph: QuantizedGraph, images: np.ndarray, names: set[str]
) -> dict[str, np.ndarray]:
    """The largest absolute value of every channel of the named tensors, float32 (c,) each."""
    network, last = FusedNetwork(graph).eval(), last_uses(graph)
    ranges = {name: np.zeros(graph.tensors[name].shape[1], np.float32) for name in names}
    with torch.no_grad():
        for batch in torch.split(torch.from_numpy(images), BATCH):
            values: dict[str, torch.Tensor] = {}
            for op in graph.ops:
                values[op.output] = network.step(op, [values[n] for n in op.inputs] or [batch])
                if op.output in names:
                    seen = values[op.output].abs().amax((0, 2, 3)).numpy()
                    ranges[op.output] = np.maximum(ranges[op.output], seen)
                for name in last.get(op.output, ()):
                    del values[name]
    return ranges


def gains_of(ranges: np.ndarray) -> np.ndarray:
    """Float32 (c,) from 1, of the channel with the largest range, to `LARGEST_GAIN`."""
    largest = ranges.max()
    if largest == 0.0:
        return np.ones_like(ranges)
    floor = largest / LARGEST_GAIN ** (1.0 / STRENGTH)
    return np.asarray((largest / np.maximum(ranges, floor)) ** STRENGTH, np.float32)


def _divides(op: Op) -> bool:
    """Whether an operation that reads a stream can take its gains back, or is tied to it."""
    return isinstance(op, Add) or (isinstance(op, Conv) and (op.groups == 1 or op.depthwise))


def _rescaled(op: Op, gains: Mapping[str, np.ndarray]) -> Op:
    """A convolution that writes and reads channels times their gains; any other as it is."""
    if not isinstance(op, Conv):
        return op
    values, bias = op.weight.values, op.bias
    if op.input in gains:
        axes = (-1, 1, 1, 1) if op.depthwise else (1, -1, 1, 1)
        values = values / gains[op.input].reshape(axes)
    if op.output in gains:
        values = values * gains[op.output].reshape(-1, 1, 1, 1)
        bias = bias * gains[op.output]
    weight = dataclasses.replace(op.weight, values=values)
    return dataclasses.replace(op, weight=weight, bias=bias)
