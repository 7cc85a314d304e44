"""An int8 graph as a module whose integers can be trained by gradients.

Everything is rounded where integer kernels round (`IntegerNetwork`), with straight-through
gradients: weights per channel, biases on the accumulator's grid, every tensor behind its clamp.
Weight scales are frozen; activation scales are too unless they are learned. What is trained is
what is exported: `quantized()` reads the integers off.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import nn

from exporter.float_rules import real_step
from exporter.graph import (
    QMAX,
    QMIN,
    WEIGHT_QMAX,
    Add,
    Conv,
    Linear,
    Op,
    Output,
    QParams,
    QuantizedGraph,
    Reshape,
    WeightedOp,
    last_uses,
)
from exporter.quantize.fake_quant import clamp, exact_float32, scale_owners
from exporter.quantize.integer_network import clamped_codes
from exporter.quantize.qat_layer import QatLayer
from exporter.quantize.rounding import round_learned, round_to_codes
from exporter.quantize.settings import CodeLimits
from exporter.validate import validate

NARROWEST, WIDEST = 0.25, 4.0  # of the measured range, that a learned one can become


class QatNetwork(nn.Module):
    """(n, 3, r, r) float32, normalized -> real results, through an int8 graph's grids.

    `limits` and `weight_limits` narrow the codes of tensors and weights with fewer than 8 bits.
    Learned ranges follow Esser et al. 2020 (LSQ, arXiv:1902.08153): a tensor's scale is trained
    with its zero point fixed. Without `rounding` it is the same network in float, for controls.
    """

    def __init__(
        self,
        float_graph: QuantizedGraph,
        graph: QuantizedGraph,
        *,
        limits: CodeLimits | None = None,
        weight_limits: Mapping[str, int] | None = None,
        learn_ranges: bool = False,
        rounding: bool = True,
    ) -> None:
        super().__init__()
        self.graph, self.limits, self.rounding = graph, limits or {}, rounding
        self.spec = graph.spec
        originals = {op.output: op for op in float_graph.weighted()}
        narrow = weight_limits or {}
        self.layers = nn.ModuleDict(
            {
                _key(op.output): QatLayer(
                    originals[op.output],
                    op,
                    graph.qparams(op.input),
                    narrow.get(op.output, WEIGHT_QMAX),
                    rounding=rounding,
                )
                for op in graph.weighted()
            }
        )
        self._owners = scale_owners(graph)
        self.factors = nn.ParameterDict()  # of the measured scales
        if learn_ranges:
            rounded = {op.output for op in graph.ops if isinstance(op, Conv | Linear | Add)}
            owners = dict.fromkeys(self._owners[name] for name in rounded)
            self.factors.update({_key(name): nn.Parameter(torch.ones(())) for name in owners})
        self._last = last_uses(graph)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The one result, within rounding noise of the integers', with gradients."""
        return self.results(x)[self.graph.output.name]

    def results(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Every result by name, as `forward`."""
        values: dict[str, torch.Tensor] = {}
        for op in self.graph.ops:
            values[op.output] = self._step(op, [values[n] for n in op.inputs] or [x])
            for name in self._last.get(op.output, ()):
                del values[name]
        return {tensor.name: values[tensor.name] for tensor in self.graph.outputs}

    def keep_ranges(self) -> None:
        """After an update: learned ranges stay within sight of the measured ones."""
        with torch.no_grad():
            for factor in self.factors.values():
                factor.clamp_(NARROWEST, WIDEST)

    def quantized(self) -> QuantizedGraph:
        """The int8 graph as trained so far; raises GraphError where it breaks a rule of graphs."""
        learned = {name: self._qparams(name) for name in self._owners}
        tensors = {
            name: dataclasses.replace(tensor, qparams=learned.get(name))
            for name, tensor in self.graph.tensors.items()
        }
        ops = tuple(
            self._layer(op).quantized(learned[op.input]) if isinstance(op, Conv | Linear) else op
            for op in self.graph.ops
        )
        graph = dataclasses.replace(self.graph, ops=ops, tensors=tensors)
        validate(graph)
        return graph

    def _layer(self, op: WeightedOp) -> QatLayer:
        layer = self.layers[_key(op.output)]
        assert isinstance(layer, QatLayer)
        return layer

    def _factor(self, name: str) -> torch.Tensor | None:
        factor: torch.Tensor | None = self.factors.get(_key(self._owners[name]))
        return factor

    def _scale(self, name: str) -> float | torch.Tensor:
        factor, scale = self._factor(name), self.graph.qparams(name).scale
        return scale if factor is None else factor * scale

    def _qparams(self, name: str) -> QParams:
        frozen, scale = self.graph.qparams(name), self._scale(name)
        if isinstance(scale, float):
            return frozen
        return dataclasses.replace(frozen, scale=exact_float32(scale.item()))

    def _step(self, op: Op, inputs: list[torch.Tensor]) -> torch.Tensor:
        """One operation and the rounding of what it writes."""
        codes, clamped = self.limits.get(op.output, (QMIN, QMAX)), False
        y: torch.Tensor
        if isinstance(op, Conv | Linear):
            layer = self._layer(op)
            y = layer(inputs[0], self._scale(op.input))
            if not self.rounding:
                return clamp(op, y)
            last = codes[1]
            codes = clamped_codes(op, self._qparams(op.output), codes)
            clamped = op.clamp is not None and codes[1] < last
        else:
            y = real_step(op, inputs)
        if op.output not in self._owners or isinstance(op, Reshape | Output):
            return y  # real values, or codes that were rounded already
        return self._rounded(op.output, y, codes, clamped=clamped) if self.rounding else y

    def _rounded(
        self, name: str, y: torch.Tensor, codes: tuple[int, int], *, clamped: bool
    ) -> torch.Tensor:
        frozen, factor = self.graph.qparams(name), self._factor(name)
        if factor is None:
            return round_to_codes(y, frozen, *codes)
        scale = factor * frozen.scale
        return round_learned(y, scale, frozen.zero_point, *codes, clamped=clamped)


def _key(name: str) -> str:
    return name.replace(".", "/")  # torch forbids dots in module names
