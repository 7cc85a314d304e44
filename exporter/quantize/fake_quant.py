"""The fused network with explicit fake-quant, exactly where integer kernels round.

A `FusedNetwork` is built from a float QuantizedGraph: one module per convolution or fully
connected layer (batch norm folded, clamp inside) and one `FakeQuantize` per tensor that an integer
kernel writes. The clamp comes before the quantizer, so ReLU6 costs no range. Pooling, resizing,
reshape and output keep their input's parameters, as the kernels demand, and what is concatenated
shares those of the result. A detector's float tail (`tail.py`) has none.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from enum import Enum, auto

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from exporter.float_rules import real_step
from exporter.graph import (
    QMAX,
    QMIN,
    WEIGHT_QMAX,
    Add,
    ArgMax,
    Concat,
    Conv,
    Dequantize,
    Input,
    Linear,
    Op,
    QParams,
    QuantizedGraph,
    Sigmoid,
    WeightedOp,
    last_uses,
)
from exporter.quantize.rounding import histogram, round_to_codes
from exporter.quantize.settings import Bits
from exporter.quantize.tail import float_tail

HISTOGRAM_BINS = 2048  # eight per int8 step of the full range
SMALLEST_SCALE = 2.0**-20  # of a channel whose weights are all zero
_OBSERVING = threading.Lock()  # batches pass through a quantizer side by side


class Mode(Enum):
    """What a `FakeQuantize` does to what passes through it."""

    OFF = auto()
    RANGE = auto()  # observe the smallest and the largest value
    HISTOGRAM = auto()  # count values between them
    ON = auto()


class FakeQuantize(nn.Module):
    """Per-tensor affine int8 rounding in float, with a straight-through gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.mode = Mode.OFF
        self.qparams: QParams | None = None
        self.codes = (QMIN, QMAX)  # narrower for fewer than 8 bits
        self.low = 0.0
        self.high = 0.0
        self.histogram = torch.zeros(HISTOGRAM_BINS, dtype=torch.float64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Any shape, unchanged in shape."""
        if self.mode is Mode.RANGE:
            low, high = torch.aminmax(x.detach())
            with _OBSERVING:
                self.low, self.high = min(self.low, low.item()), max(self.high, high.item())
        elif self.mode is Mode.HISTOGRAM:
            counts = histogram(x.detach(), HISTOGRAM_BINS, self.low, self.high)
            with _OBSERVING:
                self.histogram += counts
        if self.mode is not Mode.ON:
            return x
        return round_to_codes(x, self.ready, *self.codes)

    @property
    def ready(self) -> QParams:
        """The parameters; they must have been set."""
        if self.qparams is None:
            raise RuntimeError("quantization is on before a range was set")
        return self.qparams


class FusedLayer(nn.Module):
    """A convolution or fully connected layer with int8 weights simulated in float."""

    def __init__(self, op: WeightedOp) -> None:
        super().__init__()
        self.op = op
        self.weight = nn.Parameter(torch.from_numpy(op.weight.dequantized().copy()))
        self.bias = nn.Parameter(torch.from_numpy(op.bias.copy()))
        self.quantize_weight = False
        self.largest_code = WEIGHT_QMAX  # smaller for fewer than 8 bits

    def weight_scale(self) -> torch.Tensor:
        """Float32 (o,): per-channel absmax / the largest code."""
        largest = self.weight.detach().flatten(1).abs().amax(1)
        return (largest / self.largest_code).clamp_min(SMALLEST_SCALE)

    def rounded_weight(self) -> torch.Tensor:
        """The weight, rounded to its int8 grid when quantization is on."""
        if not self.quantize_weight:
            return self.weight
        scale = self.weight_scale()
        zero = torch.zeros(len(scale), dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(
            self.weight, scale, zero, 0, -self.largest_code, self.largest_code
        )

    def accumulate(
        self, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        """The layer before its clamp, with the given weight and bias."""
        return accumulate(self.op, x, weight, bias)

    def clamp(self, y: torch.Tensor) -> torch.Tensor:
        """ReLU6, ReLU or nothing."""
        return clamp(self.op, y)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, i, h, w) -> (n, o, h', w'), or (n, i) -> (n, o)."""
        return self.clamp(self.accumulate(x, self.rounded_weight(), self.bias))


class FusedNetwork(nn.Module):
    """A float QuantizedGraph as a module of (n, 3, r, r) float32 images."""

    def __init__(self, graph: QuantizedGraph) -> None:
        super().__init__()
        self.graph = graph
        self.layers = nn.ModuleDict({_key(op.output): FusedLayer(op) for op in graph.weighted()})
        self._owners = scale_owners(graph)
        owners = dict.fromkeys(self._owners.values())
        self.quantizers = nn.ModuleDict({_key(name): FakeQuantize() for name in owners})

    def layer(self, op: WeightedOp) -> FusedLayer:
        """The module of an operation."""
        layer = self.layers[_key(op.output)]
        assert isinstance(layer, FusedLayer)
        return layer

    def quantizer(self, name: str) -> FakeQuantize:
        """The quantizer of a tensor, or of the tensor whose parameters it shares.

        Raises KeyError for a tensor of the float tail.
        """
        found = self.quantizers[_key(self._owners[name])]
        assert isinstance(found, FakeQuantize)
        return found

    def rounds(self, name: str) -> bool:
        """Whether a tensor becomes codes."""
        return name in self._owners

    def set_bits(self, bits: Bits) -> None:
        """Narrow the codes of weights and tensors; before ranges are set."""
        weight_limits = bits.weight_limits(self.graph)
        for op in self.graph.weighted():
            self.layer(op).largest_code = weight_limits[op.output]
        for name, codes in bits.code_limits(self.graph).items():
            self.quantizer(name).codes = codes

    def all_quantizers(self) -> Iterator[FakeQuantize]:
        """Every quantizer, in execution order."""
        return (q for q in self.quantizers.values() if isinstance(q, FakeQuantize))

    def set_mode(self, mode: Mode) -> None:
        """Switch all activation quantizers, and weight rounding with them."""
        for quantizer in self.all_quantizers():
            quantizer.mode = mode
        for layer in self.layers.values():
            if isinstance(layer, FusedLayer):
                layer.quantize_weight = mode is Mode.ON

    def step(self, op: Op, inputs: list[torch.Tensor]) -> torch.Tensor:
        """Run one operation and the quantizer of what it writes."""
        layer = self.layer(op) if isinstance(op, Conv | Linear) else None
        y: torch.Tensor = real_step(op, inputs) if layer is None else layer(inputs[0])
        if self.rounds(op.output):
            y = self.quantizer(op.output)(y)
        return y

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, 3, r, r) -> the one result."""
        return self.results(x)[self.graph.output.name]

    def results(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """(n, 3, r, r) -> every result by name."""
        values: dict[str, torch.Tensor] = {}
        last = last_uses(self.graph)
        for op in self.graph.ops:
            values[op.output] = self.step(op, [values[n] for n in op.inputs] or [x])
            for name in last.get(op.output, ()):
                del values[name]
        return {tensor.name: values[tensor.name] for tensor in self.graph.outputs}


def scale_owners(graph: QuantizedGraph) -> dict[str, str]:
    """Tensor of codes -> the tensor whose scale and zero point it has; its own, for most.

    Kernels write some with their input's parameters, and what is concatenated has to agree.
    """
    tail = float_tail(graph)
    owners: dict[str, str] = {}
    for op in graph.ops:
        if op.output in tail or isinstance(op, Dequantize | ArgMax):
            continue
        if isinstance(op, Concat):
            joined = {owners[name] for name in op.inputs}
            first = min(joined, key=list(owners).index)
            owners = {name: first if owner in joined else owner for name, owner in owners.items()}
            owners[op.output] = first
        elif isinstance(op, Input | Conv | Linear | Add | Sigmoid):
            owners[op.output] = op.output
        else:
            owners[op.output] = owners[op.inputs[0]]
    return owners


def accumulate(
    op: WeightedOp, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
) -> torch.Tensor:
    """A layer before its clamp, with any weight and bias of its shape."""
    if isinstance(op, Linear):
        return F.linear(x, weight, bias)
    top, left, bottom, right = op.padding
    if (top, left) == (bottom, right):
        padding = (top, left)
    else:
        x, padding = F.pad(x, (left, right, top, bottom)), (0, 0)
    return F.conv2d(x, weight, bias, op.stride, padding, op.dilation, op.groups)


def clamp(op: WeightedOp, y: torch.Tensor) -> torch.Tensor:
    """ReLU6, ReLU or nothing."""
    return y if op.clamp is None else torch.clamp(y, *op.clamp)


def exact_float32(scale: float) -> float:
    """The nearest float32 as a Python float.

    ExecuTorch receives scales as decimal text; a double between two floats would round there in a
    way of its own, and the artifact would differ from the graph by one step.
    """
    return float(np.float32(scale))


def _key(name: str) -> str:
    return name.replace(".", "/")  # torch forbids dots in module names
