"""What a Core ML program holds while it is written: real values, and int8 codes behind them.

In an int8 program a tensor of the graph is a quantize -> dequantize pair; codes are dequantized
when they are first read. Names are those of the graph, with "_" for "."; what an operation of the
graph needs inside has "__" in its name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from coremltools.converters.mil import Builder as mb  # noqa: N813 (coremltools' own spelling)
from coremltools.converters.mil.mil import types

from exporter.errors import UnsupportedError
from exporter.graph import (
    RELU,
    RELU6,
    ArgMax,
    Clamp,
    Concat,
    DecodeBoxes,
    Dequantize,
    Nms,
    Op,
    Output,
    Permute,
    QuantizedGraph,
    Reshape,
    Sigmoid,
)

FP16_NORMAL = float(np.finfo(np.float16).tiny)  # 6.1e-5; below it hardware may flush to zero

Var = Any  # coremltools' Var, which carries no types that mypy could check
Real = type[np.floating[Any]]


@dataclass(kw_only=True)
class Values:
    """The tensors of a graph as far as they are written.

    The ends are float32 whatever `real` is. The image: in fp16 a normalized pixel is off by up to
    0.06 int8 steps, and the graph only promises that pixels keep 0.001 steps from a rounding tie.
    Results: int8 codes dequantize to them exactly, scores that are close stay apart, and a corner
    of a box is not off by parts of a pixel.
    """

    graph: QuantizedGraph
    real: Real
    values: dict[str, Var] = field(default_factory=dict)
    codes: dict[str, Var] = field(default_factory=dict)
    results: dict[str, Var] = field(default_factory=dict)  # what the program gives, by name

    def name(self, tensor: str) -> str:
        """What the program calls a tensor's real value."""
        if tensor in self._final and tensor in self._given:
            return self._given[tensor]  # nothing is left to convert: it is the output itself
        return tensor.replace(".", "_")

    @cached_property
    def _given(self) -> dict[str, str]:
        """Tensors that are results, and the names of these."""
        return {op.input: op.output for op in self.graph.ops if isinstance(op, Output)}

    @cached_property
    def _final(self) -> frozenset[str]:
        """Tensors whose values are float32, or integers, whatever `real` is."""
        found: set[str] = set()
        for op in self.graph.ops:
            if self.is_quantized(op.output):
                continue
            whole = self.real is np.float32 and not self.graph.quantized
            begins = isinstance(op, Dequantize | Sigmoid | DecodeBoxes | Nms | ArgMax)
            goes_on = isinstance(op, Permute | Reshape | Concat) and found.issuperset(op.inputs)
            if whole or begins or goes_on:
                found.add(op.output)
        return frozenset(found)

    def is_quantized(self, tensor: str) -> bool:
        """Whether a tensor is held as codes."""
        return self.graph.tensors[tensor].qparams is not None

    def write(
        self, op: Op, kind: Callable[..., Var], clamp: Clamp | None = None, **arguments: Any
    ) -> None:
        """An operation, its clamp and, where the graph has codes, its quantize."""
        name = self.name(op.output)
        quantized = self.is_quantized(op.output)
        result = f"{name}_real" if quantized else name
        x = kind(**arguments, name=result if clamp is None else f"{name}_unclamped")
        if clamp is not None:
            x = self._clamp(x, clamp, result)
        if quantized:
            self.quantize(op.output, x, self.real)
        else:
            self.values[op.output] = x

    def read(self, tensor: str) -> Var:
        """The real value of a tensor; int8 codes are dequantized on first use."""
        if tensor not in self.values:
            name, lent = self.name(tensor), self.lent(tensor)
            self.values[tensor] = self.dequantize(tensor, self.real, name, lent)
        return self.values[tensor]

    def read_float32(self, tensor: str, name: str) -> Var:
        """The same in float32, as `name` where that takes an operation."""
        if self.is_quantized(tensor):
            return self.dequantize(tensor, np.float32, name)
        x = self.read(tensor)
        return mb.cast(x=x, dtype="fp32", name=name) if x.dtype == types.fp16 else x

    def lent(self, tensor: str) -> float:
        """The power of two that the image's scale lends to the weights that read it.

        With pixels from 0 to 255 these weights are so small that fp16 would lose their scales; a
        power of two moves from one factor to the other without changing a bit of the product.
        """
        first = [op for op in self.graph.weighted() if op.input == tensor]
        if tensor != self.graph.input.name or not first or first[0].weight.scale is None:
            return 1.0
        needed = FP16_NORMAL / min(
            float(op.weight.scale.min()) for op in first if op.weight.scale is not None
        )
        spare = self.graph.qparams(tensor).scale / FP16_NORMAL
        return float(2.0 ** np.clip(np.ceil(np.log2(needed)), 0, np.floor(np.log2(spare))))

    def quantize(self, tensor: str, x: Var, real: Real) -> None:
        """Codes of a tensor from its real value."""
        q = self.graph.qparams(tensor)
        self.codes[tensor] = mb.quantize(
            input=x,
            scale=_scale(q.scale, real, tensor),
            zero_point=np.int8(q.zero_point),
            output_dtype="int8",
            name=f"{self.name(tensor)}_quantized",
        )

    def dequantize(self, tensor: str, real: Real, name: str, lent: float = 1.0) -> Var:
        """The real value of a tensor's codes."""
        q = self.graph.qparams(tensor)
        return mb.dequantize(
            input=self.codes[tensor],
            scale=_scale(q.scale / lent, real, tensor),
            zero_point=np.int8(q.zero_point),
            name=name,
        )

    def constant(self, values: np.ndarray, op: Op) -> np.ndarray:
        """In the program's real type; raises UnsupportedError where that cannot hold it."""
        with np.errstate(over="ignore"):
            # Through float32, so that fp16 constants are their float32 twin's, halved.
            constant = values.astype(np.float32).astype(self.real)
        if not np.isfinite(constant).all():
            raise UnsupportedError(
                f"{op.output}: a constant of {np.abs(values).max():.3g} does not fit fp16",
                "export fp32",
            )
        return constant

    def _clamp(self, x: Var, clamp: Clamp, name: str) -> Var:
        if clamp == RELU6:
            return mb.relu6(x=x, name=name)
        if clamp == RELU:
            return mb.relu(x=x, name=name)
        low, high = (self.real(bound) for bound in clamp)
        return mb.clip(x=x, alpha=low, beta=high, name=name)


def _scale(scale: float, real: Real, tensor: str) -> np.floating[Any]:
    if real is np.float16 and not FP16_NORMAL <= scale <= float(np.finfo(np.float16).max):
        raise UnsupportedError(
            f"tensor {tensor!r}: the scale {scale:.3g} is outside fp16's normal range",
            "calibrate on images like those the model will see",
        )
    return real(np.float32(scale))
