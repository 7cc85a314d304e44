"""QuantizedGraph: a dozen frozen operations over named tensors, the one form of a model here.

`fold` writes it, `quantize` rewrites it, the golden executes it and every target is a walk over it.
A tensor carries a shape and, in an int8 graph, its quantization parameters; activations are affine
per-tensor int8, weights symmetric per-channel int8, biases int32 at scale `input scale x weight
scale`. There is no batch norm and no dropout to leave behind: neither has an operation.

Tensors are (n, c, h, w) with n = 1; targets may widen the batch when they write a file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np

from exporter.spec import ModelSpec, Precision

QMIN, QMAX = -128, 127  # activations
WEIGHT_QMAX = 127  # weights are symmetric: -128 is never used
BIAS_BITS = 22  # significant bits of an int32 bias (see `round_bias`)


Shape = tuple[int, ...]
Clamp = tuple[float, float]
RELU6: Clamp = (0.0, 6.0)
RELU: Clamp = (0.0, float("inf"))


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
class Weight:
    """Float32 values, or int8 values with one float32 scale per output channel (axis 0)."""

    values: np.ndarray
    scale: np.ndarray | None = None

    def dequantized(self) -> np.ndarray:
        """Float32 values, whichever form is stored."""
        if self.scale is None:
            return self.values
        axes = (-1,) + (1,) * (self.values.ndim - 1)
        return np.asarray(self.values.astype(np.float32) * self.scale.reshape(axes))


@dataclass(frozen=True, kw_only=True, eq=False)
class Input:
    """The image tensor. An int8 graph quantizes it by the output tensor's parameters."""

    output: str
    inputs: ClassVar[tuple[str, ...]] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Conv:
    """2-D convolution with bias and clamp; weight (o, i / groups, kh, kw), bias (o,)."""

    input: str
    output: str
    weight: Weight
    bias: np.ndarray  # float32, or int32 in an int8 graph
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)  # top, left, bottom, right
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    clamp: Clamp | None = None

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the tensors that are read."""
        return (self.input,)

    @property
    def kernel(self) -> tuple[int, int]:
        """(kh, kw)."""
        return self.weight.values.shape[2], self.weight.values.shape[3]

    @property
    def depthwise(self) -> bool:
        """One filter per input channel."""
        return self.groups > 1 and self.weight.values.shape[1] == 1

    def output_shape(self, shape: Shape) -> Shape:
        """(n, c, h, w) -> (n, o, h', w')."""
        top, left, bottom, right = self.padding
        sizes = [
            (size + pad - dilation * (kernel - 1) - 1) // stride + 1
            for size, pad, dilation, kernel, stride in zip(
                shape[2:],
                (top + bottom, left + right),
                self.dilation,
                self.kernel,
                self.stride,
                strict=True,
            )
        ]
        return (shape[0], self.weight.values.shape[0], *sizes)


@dataclass(frozen=True, kw_only=True, eq=False)
class Linear:
    """Fully connected layer; weight (o, i), bias (o,)."""

    input: str
    output: str
    weight: Weight
    bias: np.ndarray
    clamp: Clamp | None = None

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the tensors that are read."""
        return (self.input,)

    def output_shape(self, shape: Shape) -> Shape:
        """(n, i) -> (n, o)."""
        return (shape[0], self.weight.values.shape[0])


@dataclass(frozen=True, kw_only=True, eq=False)
class Add:
    """Elementwise sum of two tensors of one shape."""

    a: str
    b: str
    output: str

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the tensors that are read."""
        return (self.a, self.b)

    def output_shape(self, shape: Shape) -> Shape:
        """Unchanged."""
        return shape


@dataclass(frozen=True, kw_only=True, eq=False)
class Pool:
    """Global average pooling, (n, c, h, w) -> (n, c, 1, 1)."""

    input: str
    output: str

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the tensors that are read."""
        return (self.input,)

    def output_shape(self, shape: Shape) -> Shape:
        """(n, c, h, w) -> (n, c, 1, 1)."""
        return (*shape[:2], 1, 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Reshape:
    """The same values in row-major order under another shape; dimension 0 stays the batch."""

    input: str
    output: str
    shape: Shape

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the tensors that are read."""
        return (self.input,)

    def output_shape(self, shape: Shape) -> Shape:
        """(n, ...) -> (n, *self.shape[1:])."""
        return (shape[0], *self.shape[1:])


@dataclass(frozen=True, kw_only=True, eq=False)
class Output:
    """A result of the model. An int8 graph dequantizes it to float32."""

    input: str
    output: str

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the tensors that are read."""
        return (self.input,)

    def output_shape(self, shape: Shape) -> Shape:
        """Unchanged."""
        return shape


Op = Input | Conv | Linear | Add | Pool | Reshape | Output
WeightedOp = Conv | Linear


@dataclass(frozen=True, kw_only=True, eq=False)
class QuantizedGraph:
    """Operations in execution order, their tensors and the spec of the model they are.

    The `Input` comes first and the one `Output` last. `precision` is INT8 when tensors carry
    quantization parameters, FP32 otherwise (targets that write fp16 halve an FP32 graph).
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
    def output(self) -> Tensor:
        """The result; its `qparams` are those of the logits before they are dequantized."""
        return self.tensors[self.ops[-1].output]

    def weighted(self) -> Iterator[WeightedOp]:
        """Convolutions and fully connected layers in order."""
        return (op for op in self.ops if isinstance(op, Conv | Linear))

    def qparams(self, name: str) -> QParams:
        """Quantization parameters of a tensor of an int8 graph."""
        qparams = self.tensors[name].qparams
        if qparams is None:
            raise TypeError(f"tensor {name!r} is not quantized")
        return qparams


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
