"""What a `.tflite` file holds, as plain records: its graph, its signature, and the graphs of loops.

litert_model.py fills a FlatModel, litert_flatbuffer.py writes it, litert_reader.py reads it back.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from exporter.graph import QParams, Shape

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

UNSIGNED = 128  # int8 code + 128 = uint8 code
NO_SCALES = np.zeros(0, np.float32)
NO_ZERO_POINTS = np.zeros(0, np.int64)

# Operation versions by `op_version.cc` of LiteRT: the first that takes the operand types. Where
# int8 needs a later one than float32 it comes second.
VERSIONS = {
    "CONV_2D": (1, 3),
    "DEPTHWISE_CONV_2D": (1, 3),
    "FULLY_CONNECTED": (1, 4),
    "ADD": (1, 2),
    "MEAN": (1, 2),
    "PAD": (1, 2),
    "RESHAPE": (1, 1),
    "QUANTIZE": (1, 1),
    "DEQUANTIZE": (1, 2),
    "SOFTMAX": (1, 2),
    "RESIZE_BILINEAR": (3, 3),  # the first with half-pixel centers
    "CONCATENATION": (1, 2),
    "LOGISTIC": (1, 2),
    "ARG_MAX": (1, 2),
}
OTHER_VERSION = 1  # of what is not listed; it is of float32 and int32 only
DEQUANTIZE_HALF = 3  # the version of DEQUANTIZE that takes float16
DEPTHWISE_DILATED = 2  # the version of DEPTHWISE_CONV_2D that dilates float32


@dataclass(frozen=True, kw_only=True, eq=False)
class FlatTensor:
    """`buffer` 0 is none: an activation. Codes have a scale and a zero point, or one per channel.

    `axis` is that of the channels.
    """

    name: str
    shape: Shape
    dtype: np.dtype[Any]
    buffer: int = 0
    scale: np.ndarray = field(default_factory=lambda: NO_SCALES)
    zero_point: np.ndarray = field(default_factory=lambda: NO_ZERO_POINTS)
    axis: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class FlatOperator:
    """`kind` as in schema.BuiltinOperator; `options` is its table, if it has one.

    It is None in what is read back.
    """

    kind: str
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Any = None


@dataclass(kw_only=True, eq=False)
class FlatGraph:
    """Tensors and operations in file order; the file's constants."""

    name: str = "main"
    tensors: list[FlatTensor] = field(default_factory=list)
    operators: list[FlatOperator] = field(default_factory=list)
    buffers: list[bytes] = field(default_factory=lambda: [b""])  # one list for all graphs
    inputs: dict[str, int] = field(default_factory=dict)  # the signature's name -> tensor
    outputs: dict[str, int] = field(default_factory=dict)

    def tensor(self, name: str, shape: Shape, dtype: DTypeLike, q: QParams | None = None) -> int:
        """Append an activation; `q` is the int8 form of its parameters, whatever its dtype."""
        kind = np.dtype(dtype)
        record = FlatTensor(name=name, shape=shape, dtype=kind)
        if q is not None:
            zero_point = q.zero_point + (UNSIGNED if kind == np.uint8 else 0)
            record = dataclasses.replace(
                record,
                scale=np.array([q.scale], np.float32),
                zero_point=np.array([zero_point], np.int64),
            )
        self.tensors.append(record)
        return len(self.tensors) - 1

    def constant(
        self, name: str, values: np.ndarray, scale: np.ndarray = NO_SCALES, axis: int = 0
    ) -> int:
        """Append a tensor with values; a scale per entry of `axis` makes them codes."""
        record = FlatTensor(
            name=name,
            shape=values.shape,
            dtype=values.dtype,
            buffer=self.store(values.tobytes()),
            scale=scale,
            zero_point=np.zeros(len(scale), np.int64),
            axis=axis,
        )
        self.tensors.append(record)
        return len(self.tensors) - 1

    def operate(
        self, kind: str, inputs: Sequence[int], output: int, options: Any, version: int = 0
    ) -> int:
        """Append an operation, by default in the version of VERSIONS; returns `output`."""
        if not version and kind in VERSIONS:
            version = VERSIONS[kind][self.tensors[inputs[0]].dtype == np.int8]
        self.operate_many(kind, inputs, [output], options, version or OTHER_VERSION)
        return output

    def operate_many(
        self, kind: str, inputs: Sequence[int], outputs: Sequence[int], options: Any, version: int
    ) -> None:
        """Append an operation that may have several results."""
        operator = FlatOperator(
            kind=kind,
            version=version,
            inputs=tuple(inputs),
            outputs=tuple(outputs),
            options=options,
        )
        self.operators.append(operator)

    def store(self, data: bytes) -> int:
        """Index of a buffer with these bytes; equal constants share one."""
        if data not in self.buffers:
            self.buffers.append(data)
        return self.buffers.index(data)


@dataclass(kw_only=True, eq=False)
class FlatModel(FlatGraph):
    """The graph that the signature is of, and those that its loops run."""

    description: str = ""
    metadata: dict[str, bytes] = field(default_factory=dict)
    inner: list[FlatGraph] = field(default_factory=list)

    def add_inner(self, name: str) -> tuple[int, FlatGraph]:
        """A new graph that shares the constants, and its index for the operation that runs it."""
        graph = FlatGraph(name=name, buffers=self.buffers)
        self.inner.append(graph)
        return len(self.inner), graph


def dtypes() -> dict[int, np.dtype[Any]]:
    """schema.TensorType -> numpy, for the types that occur here."""
    from ai_edge_litert.schema_py_generated import TensorType

    names = ("float32", "float16", "int8", "uint8", "int32", "int64", "bool")
    return {getattr(TensorType, name.upper()): np.dtype(name) for name in names}


def operator_kinds() -> dict[int, str]:
    """schema.BuiltinOperator -> "CONV_2D"."""
    from ai_edge_litert.schema_py_generated import BuiltinOperator

    return {value: name for name, value in vars(BuiltinOperator).items() if name.isupper()}
