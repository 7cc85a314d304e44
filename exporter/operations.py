"""The operations that a QuantizedGraph is made of: frozen records over named tensors.

Each knows its inputs and its output's shape; rules are the golden's, emission the targets'. Tensors
are (n, c, h, w) with n = 1 unless an operation says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from exporter.tasks import DetectionSpec

Shape = tuple[int, ...]
Clamp = tuple[float, float]
RELU6: Clamp = (0.0, 6.0)
RELU: Clamp = (0.0, float("inf"))
DETECTION_COLUMNS = 6  # x1, y1, x2, y2, score, class


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
class Unary:
    """An operation on one tensor; its output has the input's shape unless it says otherwise."""

    input: str
    output: str

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the tensors that are read."""
        return (self.input,)

    def output_shape(self, shape: Shape) -> Shape:
        """Unchanged."""
        return shape


@dataclass(frozen=True, kw_only=True, eq=False)
class Conv(Unary):
    """2-D convolution with bias and clamp; weight (o, i / groups, kh, kw), bias (o,)."""

    weight: Weight
    bias: np.ndarray  # float32, or int32 in an int8 graph
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)  # top, left, bottom, right
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    clamp: Clamp | None = None

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
class Linear(Unary):
    """Fully connected layer; weight (o, i), bias (o,)."""

    weight: Weight
    bias: np.ndarray
    clamp: Clamp | None = None

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

    def output_shape(self, shape: Shape, *_others: Shape) -> Shape:
        """Unchanged."""
        return shape


@dataclass(frozen=True, kw_only=True, eq=False)
class Pool(Unary):
    """Global average pooling, (n, c, h, w) -> (n, c, 1, 1)."""

    def output_shape(self, shape: Shape) -> Shape:
        """(n, c, h, w) -> (n, c, 1, 1)."""
        return (*shape[:2], 1, 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Reshape(Unary):
    """The same values in row-major order under another shape; dimension 0 stays the batch."""

    shape: Shape

    def output_shape(self, shape: Shape) -> Shape:
        """(n, ...) -> (n, *self.shape[1:])."""
        return (shape[0], *self.shape[1:])


@dataclass(frozen=True, kw_only=True, eq=False)
class Permute(Unary):
    """The same values with their dimensions in another order; dimension 0 stays the batch."""

    order: tuple[int, ...]

    def output_shape(self, shape: Shape) -> Shape:
        """Dimension `order[i]` of the input becomes dimension i."""
        return tuple(shape[i] for i in self.order)


@dataclass(frozen=True, kw_only=True, eq=False)
class Concat:
    """Tensors one after another along an axis.

    In an int8 graph each is requantized to the output's parameters.
    """

    inputs: tuple[str, ...]
    output: str
    axis: int = 1

    def output_shape(self, shape: Shape, *others: Shape) -> Shape:
        """The sizes along `axis` add up; the others agree."""
        size = shape[self.axis] + sum(other[self.axis] for other in others)
        return (*shape[: self.axis], size, *shape[self.axis + 1 :])


@dataclass(frozen=True, kw_only=True, eq=False)
class Resize(Unary):
    """Bilinear, half-pixel centers (torch's `align_corners=False`), without antialiasing.

    A 1 x 1 map is broadcast: every output is its one value. In an int8 graph the output keeps the
    input's parameters.
    """

    size: tuple[int, int]  # height, width

    def output_shape(self, shape: Shape) -> Shape:
        """(n, c, h, w) -> (n, c, *size)."""
        return (*shape[:2], *self.size)


@dataclass(frozen=True, kw_only=True, eq=False)
class Sigmoid(Unary):
    """1 / (1 + exp(-x)). In an int8 graph the output has parameters of its own."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DecodeBoxes(Unary):
    """SSD's box offsets (n, anchors, 4) = (dx, dy, dw, dh) -> corners (x1, y1, x2, y2) in 0..1.

    center = offset * center_variance * anchor size + anchor center; size = anchor size *
    exp(offset * size_variance). Never quantized: eight bits of a logarithm are no box.
    """

    anchors: np.ndarray  # float32 (anchors, 4): center x, center y, width, height
    center_variance: float
    size_variance: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Dequantize(Unary):
    """int8 codes -> float32, (q - zero_point) * scale: what reads it computes in float.

    Only int8 graphs have it. Maps of different scales can be joined behind it without another
    rounding, and a logarithm of a box's size keeps its digits.
    """


@dataclass(frozen=True, kw_only=True, eq=False)
class ArgMax(Unary):
    """The channel with the largest value, the first of equal ones: (n, c, h, w) -> uint8 (n, h, w).

    Codes and the values they stand for give the same answer.
    """

    def output_shape(self, shape: Shape) -> Shape:
        """(n, c, h, w) -> (n, h, w)."""
        return (shape[0], *shape[2:])


@dataclass(frozen=True, kw_only=True, eq=False)
class Nms:
    """Class-aware greedy non-maximum suppression -> float32 (n, max_detections, 6), best first.

    A row is x1, y1, x2, y2, score, class; rows that no detection takes are zeros with a score of
    -1. Made of plain tensor operations everywhere (`exporter.detection.nms`), unless it is
    `native`: the runtime's own, where it has one.
    """

    boxes: str  # (n, anchors, 4), corners
    scores: str  # (n, anchors, classes), the background first
    output: str
    spec: DetectionSpec
    native: bool = False

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the tensors that are read."""
        return (self.boxes, self.scores)

    def output_shape(self, boxes: Shape, _scores: Shape) -> Shape:
        """(n, anchors, 4) -> (n, max_detections, 6)."""
        return (boxes[0], self.spec.max_detections, DETECTION_COLUMNS)


@dataclass(frozen=True, kw_only=True, eq=False)
class Output(Unary):
    """A result of the model. An int8 graph dequantizes what is not float already."""


Op = (
    Input
    | Conv
    | Linear
    | Add
    | Pool
    | Reshape
    | Permute
    | Concat
    | Resize
    | Sigmoid
    | DecodeBoxes
    | Dequantize
    | ArgMax
    | Nms
    | Output
)
WeightedOp = Conv | Linear
