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

from exporter.graph import Add, Conv, Op, QuantizedGraph, Tensor, WeightedOp, last_uses
from exporter.quantize.fake_quant import FusedNetwork
from exporter.quantize.ranges import batch_at
from exporter.threads import side_by_side

STRENGTH = 0.5  # 1 makes ranges equal, and the weights that read them too unequal
FP16_NORMAL = 2.0**-14
EXPONENTS = range(-6, 7)  # of a stream's scale, that `balance` chooses from
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

    def of_batch(batch: torch.Tensor) -> dict[str, np.ndarray]:
        ranges: dict[str, np.ndarray] = {}
        values: dict[str, torch.Tensor] = {}
        for op in graph.ops:
            values[op.output] = network.step(op, [values[n] for n in op.inputs] or [batch])
            if op.output in names:
                ranges[op.output] = values[op.output].abs().amax((0, 2, 3)).numpy()
            for name in last.get(op.output, ()):
                del values[name]
        return ranges

    batches = torch.split(torch.from_numpy(images), batch_at(graph.spec.resolution))
    found = side_by_side(of_batch, batches)
    return {name: np.maximum.reduce([ranges[name] for ranges in found]) for name in names}


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


def balance(graph: QuantizedGraph) -> QuantizedGraph:
    """The same int8 graph with as few weight scales too small for fp16 as can be.

    A stream's scale may be any power of two larger if the scales of the weights that write it grow
    as much and those of the weights that read it shrink as much: not one integer changes. Core ML
    keeps scales as fp16, and hardware may take numbers below its smallest normal one for zero.
    """
    factors: dict[str, float] = {}
    for stream in streams(graph):
        writers = _scales([op for op in graph.weighted() if op.output in stream])
        readers = _scales([op for op in graph.weighted() if op.input in stream])

        def lost(exponent: int, own: np.ndarray = writers, others: np.ndarray = readers) -> int:
            factor = 2.0**exponent
            return int((own * factor < FP16_NORMAL).sum() + (others / factor < FP16_NORMAL).sum())

        best = min(EXPONENTS, key=lambda exponent: (lost(exponent), abs(exponent)))
        factors |= dict.fromkeys(stream, 2.0**best)
    tensors = {name: _times(t, factors.get(name, 1.0)) for name, t in graph.tensors.items()}
    ops = tuple(_rebalanced(op, factors) for op in graph.ops)
    return dataclasses.replace(graph, ops=ops, tensors=tensors)


def _scales(ops: list[WeightedOp]) -> np.ndarray:
    return np.concatenate([op.weight.scale for op in ops if op.weight.scale is not None])


def _times(tensor: Tensor, factor: float) -> Tensor:
    q = tensor.qparams
    if q is None or factor == 1.0:
        return tensor
    return dataclasses.replace(tensor, qparams=dataclasses.replace(q, scale=q.scale * factor))


def _rebalanced(op: Op, factors: Mapping[str, float]) -> Op:
    if not isinstance(op, Conv) or op.weight.scale is None:
        return op
    factor = np.float32(factors.get(op.output, 1.0) / factors.get(op.input, 1.0))
    weight = dataclasses.replace(op.weight, scale=op.weight.scale * factor)
    return dataclasses.replace(op, weight=weight)
