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

from exporter.detection.nms import exact_nms
from exporter.graph import (
    QMAX,
    QMIN,
    RELU,
    WEIGHT_QMAX,
    Add,
    ArgMax,
    Concat,
    Conv,
    DecodeBoxes,
    Dequantize,
    Input,
    Linear,
    Nms,
    Op,
    Output,
    Permute,
    Pool,
    QParams,
    QuantizedGraph,
    Reshape,
    Resize,
    Sigmoid,
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
            elif isinstance(op, DecodeBoxes):
                self.register_buffer(f"centers{index}", torch.from_numpy(op.anchors[:, :2].copy()))
                self.register_buffer(f"sizes{index}", torch.from_numpy(op.anchors[:, 2:].copy()))

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

    def forward(self, x: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """(1, 3, r, r) float32 -> the result, or the results in the order of the graph's."""
        results = tuple(self.results(x).values())
        return results[0] if len(results) == 1 else results

    def results(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Every result by name."""
        values: dict[str, list[torch.Tensor]] = {}
        results: dict[str, torch.Tensor] = {}
        for index, op in enumerate(self.graph.ops):
            inputs = [values[name].pop(0) for name in op.inputs] or [x]
            if isinstance(op, Output):
                results[op.output] = inputs[0]
            else:
                values[op.output] = self._quantized(self._compute(index, op, inputs), op.output)
        return results

    def _compute(self, index: int, op: Op, inputs: list[torch.Tensor]) -> torch.Tensor:
        x = inputs[0]
        if isinstance(op, Conv | Linear):
            return self._weighted(index, op, x)
        if isinstance(op, Add):
            return x + inputs[1]
        if isinstance(op, Pool):
            return self.pooled(x)
        if isinstance(op, Reshape):
            return torch.flatten(x, 1) if len(op.shape) == 2 else x.reshape(1, *op.shape[1:])
        if isinstance(op, Input | Dequantize):
            return x
        return self._head(index, op, inputs)

    def _head(self, index: int, op: Op, inputs: list[torch.Tensor]) -> torch.Tensor:
        x = inputs[0]
        if isinstance(op, Permute):
            return x.permute(op.order)
        if isinstance(op, Concat):
            return torch.cat(inputs, op.axis)
        if isinstance(op, Resize):
            return self.resized(x, op.size)
        if isinstance(op, Sigmoid):
            return torch.sigmoid(x)
        if isinstance(op, ArgMax):
            return x.argmax(1).to(torch.uint8)
        if isinstance(op, DecodeBoxes):
            return self._decoded(index, op, x)
        if isinstance(op, Nms):
            return _suppressed(op, x[0], inputs[1][0])[None]
        raise no_rule(op, "the stock lowering")

    def resized(self, x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """Bilinear, half-pixel centers."""
        return F.interpolate(x, list(size), mode="bilinear", align_corners=False)

    def _decoded(self, index: int, op: DecodeBoxes, offsets: torch.Tensor) -> torch.Tensor:
        """Corners. Factors are floats: an integer scalar would not be delegated."""
        centers, sizes = self._constant(f"centers{index}"), self._constant(f"sizes{index}")
        center = offsets[..., :2] * op.center_variance * sizes + centers
        half = torch.exp(offsets[..., 2:] * op.size_variance) * sizes * 0.5
        return torch.cat([center - half, center + half], -1)

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


def _suppressed(op: Nms, boxes: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    found = exact_nms(boxes, scores, op.spec)
    return torch.cat([found.boxes, found.scores[:, None], found.classes[:, None]], 1)


def _arguments(q: QParams) -> tuple[Any, ...]:
    return q.scale, q.zero_point, QMIN, QMAX, torch.int8


def export_program(graph: QuantizedGraph) -> ExportedProgram:
    """The traced program of a graph, batch 1.

    Raises UnsupportedError for non-maximum suppression, a loop whose end depends on the values.
    """
    for op in graph.ops:
        if isinstance(op, Nms):
            raise no_rule(op, "the stock lowering")
    example = torch.zeros(graph.input.shape)
    return torch.export.export(QdqModule(graph).eval(), (example,), strict=False)
