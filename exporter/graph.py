"""QuantizedGraph: a dozen frozen operations over named tensors, the one form of a model here.

`fold` writes it, `quantize` rewrites it, the golden executes it and every target is a walk over it.
A tensor carries a shape and, in an int8 graph, its quantization parameters; activations are affine
per-tensor int8, weights symmetric per-channel int8, biases int32 at scale `input scale x weight
scale`. Behind a `Dequantize` an int8 graph is float: heads end so.
There is no batch norm and no dropout to leave behind: neither has an operation
(`operations.py`; all of them are names of this module too).

Tensors are (n, c, h, w) with n = 1; targets may widen the batch when they write a file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from exporter.errors import GraphError, UnsupportedError
from exporter.operations import (
    RELU,
    RELU6,
    Add,
    ArgMax,
    Clamp,
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
    Reshape,
    Resize,
    Shape,
    Sigmoid,
    Weight,
    WeightedOp,
)
from exporter.spec import ModelSpec, Precision

__all__ = [
    "BIAS_BITS",
    "QMAX",
    "QMIN",
    "RELU",
    "RELU6",
    "WEIGHT_QMAX",
    "Add",
    "ArgMax",
    "Clamp",
    "Concat",
    "Conv",
    "DecodeBoxes",
    "Dequantize",
    "Input",
    "Linear",
    "Nms",
    "Op",
    "Output",
    "Permute",
    "Pool",
    "QParams",
    "QuantizedGraph",
    "Reshape",
    "Resize",
    "Shape",
    "Sigmoid",
    "Tensor",
    "Weight",
    "WeightedOp",
    "accumulator_scale",
    "accumulator_step",
    "last_uses",
    "multiply_adds",
    "no_rule",
    "round_bias",
]
QMIN, QMAX = -128, 127  # activations
WEIGHT_QMAX = 127  # weights are symmetric: -128 is never used
BIAS_BITS = 22  # significant bits of an int32 bias (see `round_bias`)


@dataclass(frozen=True, kw_only=True)
class QParams:
    """Affine int8: real = (q - zero_point) * scale. `scale` is exactly representable in float32."""

    scale: float
    zero_point: int

    def quantize_bound(self, value: float) -> int:
        """The int8 code of a clamp bound, saturated to the int8 range."""
        if np.isinf(value):
            return QMAX if value > 0 else QMIN
        steps = np.float32(value) / np.float32(self.scale)
        # One rounding, after the zero point is added, as XNNPACK does; it matters on ties.
        return int(np.clip(np.rint(steps + np.float32(self.zero_point)), QMIN, QMAX))


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """A named activation."""

    name: str
    shape: Shape
    qparams: QParams | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class QuantizedGraph:
    """Operations in execution order, their tensors and the spec of the model they are.

    The `Input` comes first and the `Output`s last, one for every result. `precision` is INT8 when
    tensors carry quantization parameters, FP32 otherwise (targets that write fp16 halve an FP32
    graph).
    """

    spec: ModelSpec
    ops: tuple[Op, ...]
    tensors: Mapping[str, Tensor] = field(default_factory=dict)

    @cached_property
    def quantized(self) -> bool:
        """Whether this is an int8 graph."""
        return self.tensors[self.ops[0].output].qparams is not None

    @property
    def precision(self) -> Precision:
        """INT8 or FP32."""
        return Precision.INT8 if self.quantized else Precision.FP32

    @property
    def input(self) -> Tensor:
        """The image tensor, (1, 3, r, r)."""
        return self.tensors[self.ops[0].output]

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """The results in order; `qparams` are those of the values before they are dequantized."""
        return tuple(self.tensors[op.output] for op in self.ops if isinstance(op, Output))

    def producer(self, name: str) -> Op:
        """The operation that writes a tensor."""
        return self._producers[name]

    @cached_property
    def _producers(self) -> dict[str, Op]:
        return {op.output: op for op in self.ops}

    def result_dtype(self, name: str) -> type[np.generic]:
        """What an output holds, by its name: labels are uint8, all else float32."""
        return (
            np.uint8
            if isinstance(self.producer(self.producer(name).inputs[0]), ArgMax)
            else np.float32
        )

    @property
    def output(self) -> Tensor:
        """The one result; raises GraphError for a graph that has several."""
        tensors = self.outputs
        if len(tensors) != 1:
            names = ", ".join(tensor.name for tensor in tensors)
            raise GraphError(f"one result is expected, the graph has {len(tensors)}: {names}")
        return tensors[0]

    def weighted(self) -> Iterator[WeightedOp]:
        """Convolutions and fully connected layers in order."""
        return (op for op in self.ops if isinstance(op, Conv | Linear))

    def qparams(self, name: str) -> QParams:
        """Quantization parameters of a tensor of an int8 graph."""
        qparams = self.tensors[name].qparams
        if qparams is None:
            raise TypeError(f"tensor {name!r} is not quantized")
        return qparams


def last_uses(graph: QuantizedGraph) -> dict[str, list[str]]:
    """Operation -> the tensors that nothing reads after it, so that walks can free them."""
    reader = {name: op.output for op in graph.ops for name in op.inputs}
    freed: dict[str, list[str]] = {}
    for name, op_name in reader.items():
        freed.setdefault(op_name, []).append(name)
    return freed


def no_rule(op: Op, where: str) -> UnsupportedError:
    """What a walk raises for an operation that it does not know."""
    return UnsupportedError(f"{where} has no rule for {type(op).__name__} {op.output!r}")


def round_bias(steps: np.ndarray) -> np.ndarray:
    """Real steps of an accumulator -> the nearest integers that float32 can carry, as float64.

    Converters that know no int32 bias take `bias * step` in float32 and divide again. With 22
    significant bits (float32 has 24) that gives back the very integer; it only matters to channels
    whose weights are all but zero.
    """
    steps = np.rint(steps.astype(np.float64))
    _, exponent = np.frexp(steps)
    unit = np.exp2(np.maximum(exponent - BIAS_BITS, 0))
    return np.asarray(np.rint(steps / unit) * unit)


def accumulator_scale(op: WeightedOp, graph: QuantizedGraph) -> np.ndarray:
    """`accumulator_step` of a layer in its graph."""
    return accumulator_step(op, graph.qparams(op.input))


def accumulator_step(op: WeightedOp, source: QParams) -> np.ndarray:
    """Float32 (o,): real value of one step of the int32 accumulator, input scale x weight scale."""
    if op.weight.scale is None:
        raise TypeError(f"{op.output!r} has float weights")
    return np.asarray(np.float32(source.scale) * op.weight.scale, np.float32)


def multiply_adds(op: Op, graph: QuantizedGraph) -> int:
    """Multiply-adds of one operation for a batch of one, as the paper counts them."""
    if isinstance(op, Conv):
        _, _, height, width = graph.tensors[op.output].shape
        return height * width * int(op.weight.values.size)
    return int(op.weight.values.size) if isinstance(op, Linear) else 0
