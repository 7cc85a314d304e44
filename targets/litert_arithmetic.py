"""What one operation of a graph is made of, where LiteRT needs several.

Shapes follow from the inputs', as in numpy. Names are those of the operation's own tensors; RESULT
is what it writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from exporter.graph import Shape
from targets.litert_records import OTHER_VERSION, FlatGraph

RESULT = ""
OPTIONS = {  # of operations without settings, or with none that is used here
    "ABS": "AbsOptionsT",
    "ADD": "AddOptionsT",
    "EXP": "ExpOptionsT",
    "FLOOR_DIV": "FloorDivOptionsT",
    "GREATER": "GreaterOptionsT",
    "MAXIMUM": "MaximumMinimumOptionsT",
    "MINIMUM": "MaximumMinimumOptionsT",
    "MUL": "MulOptionsT",
    "SUB": "SubOptionsT",
}
ANSWERS = {"GREATER": np.dtype(np.bool_)}  # of another type than the inputs


class Arithmetic:
    """Appends to `graph`; every method returns the index of what it made."""

    def __init__(self, graph: FlatGraph, prefix: str) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self.graph = graph
        self.prefix = prefix
        self.schema: Any = schema
        self._constants: dict[tuple[str, Shape, bytes], int] = {}

    def shape(self, x: int) -> Shape:
        """Of a tensor."""
        return self.graph.tensors[x].shape

    def activation(self, name: str, shape: Sequence[int], dtype: Any = np.float32) -> int:
        """A tensor that an operation is going to write."""
        full = self.prefix if name == RESULT else f"{self.prefix}/{name}"
        return self.graph.tensor(full, tuple(shape), dtype)

    def constant(self, name: str, values: Any, dtype: Any = np.float32) -> int:
        """Values in the file; equal ones are one tensor, called as the first."""
        array = np.asarray(values, dtype)
        key = array.dtype.str, array.shape, array.tobytes()
        if key not in self._constants:
            self._constants[key] = self.graph.constant(f"{self.prefix}/{name}", array)
        return self._constants[key]

    def unary(self, kind: str, x: int, name: str) -> int:
        """One of OPTIONS, value by value."""
        options = getattr(self.schema, OPTIONS[kind])()
        return self.graph.operate(kind, [x], self.activation(name, self.shape(x)), options)

    def binary(self, kind: str, a: int, b: int, name: str, *, positive: bool = False) -> int:
        """One of OPTIONS, value by value; `positive` makes 0 of what is negative."""
        options = getattr(self.schema, OPTIONS[kind])()
        if positive:
            options.fusedActivationFunction = self.schema.ActivationFunctionType.RELU
        shape = np.broadcast_shapes(self.shape(a), self.shape(b))
        dtype = ANSWERS.get(kind, self.graph.tensors[a].dtype)
        return self.graph.operate(kind, [a, b], self.activation(name, shape, dtype), options)

    def reshape(self, x: int, shape: Sequence[int], name: str) -> int:
        """The same values in the same order."""
        options = self.schema.ReshapeOptionsT()
        options.newShape = np.array(shape, np.int32)
        inputs = [x, self.constant(f"{name}.shape", shape, np.int32)]
        target = self.activation(name, shape, self.graph.tensors[x].dtype)
        return self.graph.operate("RESHAPE", inputs, target, options)

    def cut(self, x: int, begin: Sequence[int], size: Sequence[int], name: str) -> int:
        """A block of a tensor."""
        inputs = [
            x,
            self.constant(f"{name}.begin", begin, np.int32),
            self.constant(f"{name}.size", size, np.int32),
        ]
        target = self.activation(name, size, self.graph.tensors[x].dtype)
        return self.graph.operate("SLICE", inputs, target, self.schema.SliceOptionsT())

    def split(self, x: int, axis: int, names: Sequence[str]) -> list[int]:
        """Equal parts along an axis."""
        shape = list(self.shape(x))
        shape[axis] //= len(names)
        options = self.schema.SplitOptionsT()
        options.numSplits = len(names)
        parts = [self.activation(name, shape) for name in names]
        inputs = [self.constant(f"axis.{axis}", axis, np.int32), x]
        self.graph.operate_many("SPLIT", inputs, parts, options, OTHER_VERSION)
        return parts

    def concat(self, parts: Sequence[int], axis: int, name: str) -> int:
        """Tensors one after another along an axis."""
        shape = joined_shape([self.shape(part) for part in parts], axis)
        options = self.schema.ConcatenationOptionsT()
        options.axis = axis
        return self.graph.operate("CONCATENATION", parts, self.activation(name, shape), options)

    def cast(self, x: int, dtype: Any, name: str) -> int:
        """The same values in another type."""
        options = self.schema.CastOptionsT()
        options.inDataType = self.type(self.graph.tensors[x].dtype)
        options.outDataType = self.type(np.dtype(dtype))
        target = self.activation(name, self.shape(x), dtype)
        return self.graph.operate("CAST", [x], target, options)

    def type(self, dtype: np.dtype[Any]) -> int:
        """schema.TensorType of a numpy type."""
        return int(getattr(self.schema.TensorType, dtype.name.upper()))

    def best(self, x: int, count: int, name: str) -> tuple[int, int]:
        """The largest values of a vector and where they were, of equal ones the first first."""
        values = self.activation(name, (count,))
        places = self.activation(f"{name}.places", (count,), np.int32)
        inputs = [x, self.constant(f"{name}.count", count, np.int32)]
        options = self.schema.TopKV2OptionsT()
        self.graph.operate_many("TOPK_V2", inputs, [values, places], options, OTHER_VERSION)
        return values, places

    def rows(self, x: int, places: int, name: str) -> int:
        """Rows of a matrix by number."""
        shape = (*self.shape(places), *self.shape(x)[1:])
        options = self.schema.GatherOptionsT()
        target = self.activation(name, shape, self.graph.tensors[x].dtype)
        return self.graph.operate("GATHER", [x, places], target, options)

    def pad(self, x: int, rows: int, name: str) -> int:
        """Zeros behind the last row."""
        shape = self.shape(x)
        amounts = [[0, rows - shape[0]], *([0, 0] for _ in shape[1:])]
        inputs = [x, self.constant(f"{name}.amounts", amounts, np.int32)]
        target = self.activation(name, (rows, *shape[1:]))
        return self.graph.operate("PAD", inputs, target, self.schema.PadOptionsT())

    def product(self, a: int, b: int, name: str) -> int:
        """Of two matrices."""
        options = self.schema.BatchMatMulOptionsT()
        target = self.activation(name, (self.shape(a)[0], self.shape(b)[1]))
        return self.graph.operate("BATCH_MATMUL", [a, b], target, options)

    def largest(self, x: int, name: str) -> int:
        """One number."""
        axes = self.constant(f"{name}.axes", range(len(self.shape(x))), np.int32)
        options = self.schema.ReducerOptionsT()
        options.keepDims = False
        return self.graph.operate("REDUCE_MAX", [x, axes], self.activation(name, ()), options)


def joined_shape(shapes: Sequence[Shape], axis: int) -> Shape:
    """Of tensors one after another along an axis."""
    first = shapes[0]
    return (*first[:axis], sum(shape[axis] for shape in shapes), *first[axis + 1 :])
