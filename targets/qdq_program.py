"""A QuantizedGraph as a torch program with explicit quantize and dequantize calls.

This is the form that converters other than ours understand; the stock XNNPACK lowering takes it,
and it is the oracle that our direct emitter is compared with.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.ao.quantization.fx import _decomposed  # noqa: F401 (registers quantized_decomposed)
from torch.export import ExportedProgram

from exporter.graph import (
    QMAX,
    QMIN,
    RELU,
    WEIGHT_QMAX,
    Add,
    Conv,
    Input,
    Linear,
    Op,
    Output,
    Pool,
    QParams,
    QuantizedGraph,
    Reshape,
    WeightedOp,
    accumulator_scale,
    no_rule,
)

qd = torch.ops.quantized_decomposed


class QdqModule(nn.Module):
    """The graph in torch ops; every reader of a tensor gets a dequantize of its own.

    One dequantize that several operations share makes the XNNPACK partitioner find dependency
    cycles.
    """

    def __init__(self, graph: QuantizedGraph) -> None:
        super().__init__()
        self.graph = graph
        self.readers = Counter(name for op in graph.ops for name in op.inputs)
        for index, op in enumerate(graph.ops):
            if isinstance(op, Conv | Linear):
                self._add_constants(index, op)

    def _add_constants(self, index: int, op: WeightedOp) -> None:
        self.register_buffer(f"weight{index}", torch.from_numpy(op.weight.values.copy()))
        bias = torch.from_numpy(op.bias.copy())
        if op.weight.scale is not None:
            # The lowering rounds this float back to the very int32 that the graph holds.
            bias = bias.float() * torch.from_numpy(accumulator_scale(op, self.graph))
            scale = torch.from_numpy(op.weight.scale.copy())
            self.register_buffer(f"scale{index}", scale)
            self.register_buffer(f"zero{index}", torch.zeros(len(scale), dtype=torch.int64))
        self.register_buffer(f"bias{index}", bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(1, 3, r, r) float32 -> (1, classes) float32."""
        values: dict[str, list[torch.Tensor]] = {}
        for index, op in enumerate(self.graph.ops):
            inputs = [values[name].pop(0) for name in op.inputs] or [x]
            if isinstance(op, Output):
                return inputs[0]
            y = self._compute(index, op, inputs)
            values[op.output] = self._quantized(y, op.output)
        raise AssertionError("a graph ends in an Output")

    def _compute(self, index: int, op: Op, inputs: list[torch.Tensor]) -> torch.Tensor:
        x = inputs[0]
        if isinstance(op, Conv | Linear):
            return self._weighted(index, op, x)
        if isinstance(op, Add):
            return x + inputs[1]
        if isinstance(op, Pool):
            return self.pooled(x)
        if isinstance(op, Reshape):
            return torch.flatten(x, 1)
        if isinstance(op, Input):
            return x
        raise no_rule(op, "the stock lowering")

    def pooled(self, x: torch.Tensor) -> torch.Tensor:
        """Global average, (n, c, h, w) -> (n, c, 1, 1)."""
        return F.adaptive_avg_pool2d(x, (1, 1))

    def _weighted(self, index: int, op: WeightedOp, x: torch.Tensor) -> torch.Tensor:
        weight, bias = self._constant(f"weight{index}"), self._constant(f"bias{index}")
        if op.weight.scale is not None:
            weight = qd.dequantize_per_channel.default(
                weight, self._constant(f"scale{index}"), self._constant(f"zero{index}"),
                0, -WEIGHT_QMAX, WEIGHT_QMAX, torch.int8,
            )  # fmt: skip
        if isinstance(op, Linear):
            y = F.linear(x, weight, bias)
        else:
            top, left, bottom, right = op.padding
            padding = (top, left)
            if (top, left) != (bottom, right):
                x, padding = F.pad(x, (left, right, top, bottom)), (0, 0)
            y = F.conv2d(x, weight, bias, op.stride, padding, op.dilation, op.groups)
        if op.clamp is None:
            return y
        return F.relu(y) if op.clamp == RELU else F.hardtanh(y, *op.clamp)

    def _constant(self, name: str) -> torch.Tensor:
        return self.get_buffer(name)

    def _quantized(self, y: torch.Tensor, name: str) -> list[torch.Tensor]:
        """What the readers of a tensor see, one value each."""
        q = self.graph.tensors[name].qparams
        if q is None:
            return [y] * self.readers[name]
        codes = qd.quantize_per_tensor.default(y, *_arguments(q))
        return [
            qd.dequantize_per_tensor.default(codes, *_arguments(q))
            for _ in range(self.readers[name])
        ]


def _arguments(q: QParams) -> tuple[Any, ...]:
    return q.scale, q.zero_point, QMIN, QMAX, torch.int8


def export_program(graph: QuantizedGraph) -> ExportedProgram:
    """The traced program of a graph, batch 1."""
    example = torch.zeros(graph.input.shape)
    return torch.export.export(QdqModule(graph).eval(), (example,), strict=False)
