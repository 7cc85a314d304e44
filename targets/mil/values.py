"""Constants of an ML program: their types, and their bytes in the model file or a weight file.

Sources: coremltools' `mlmodel/format/MIL.proto` and `mlmodel/src/MILBlob/Blob/StorageFormat.hpp`.
"""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from coremltools.proto import MIL_pb2

from exporter.errors import ArtifactError, UnsupportedError

# A blob's header in a weight file: sentinel, data type, size of the data in bytes, offset of the
# data from the start of the file. (Padding bits and reserved words follow.)
BLOB = struct.Struct("<IIQQ")
BLOB_SENTINEL = 0xDEADBEEF


@dataclass(frozen=True, kw_only=True)
class ElementType:
    """How elements of one MIL data type are stored."""

    name: str
    dtype: type[np.generic]  # what they become; narrower integers widen to bytes
    bits: int
    signed: bool = False  # only asked of integers narrower than a byte


def _integer(name: str, dtype: type[np.generic], bits: int) -> ElementType:
    return ElementType(name=name, dtype=dtype, bits=bits, signed=name[0] == "i")


TYPES: Mapping[int, ElementType] = {
    MIL_pb2.FLOAT16: ElementType(name="fp16", dtype=np.float16, bits=16),
    MIL_pb2.FLOAT32: ElementType(name="fp32", dtype=np.float32, bits=32),
    MIL_pb2.FLOAT64: ElementType(name="fp64", dtype=np.float64, bits=64),
    MIL_pb2.BOOL: ElementType(name="bool", dtype=np.bool_, bits=8),
    MIL_pb2.INT64: _integer("int64", np.int64, 64),
    MIL_pb2.INT32: _integer("int32", np.int32, 32),
    MIL_pb2.INT16: _integer("int16", np.int16, 16),
    MIL_pb2.INT8: _integer("int8", np.int8, 8),
    MIL_pb2.INT4: _integer("int4", np.int8, 4),
    MIL_pb2.UINT64: _integer("uint64", np.uint64, 64),
    MIL_pb2.UINT32: _integer("uint32", np.uint32, 32),
    MIL_pb2.UINT16: _integer("uint16", np.uint16, 16),
    MIL_pb2.UINT8: _integer("uint8", np.uint8, 8),
    MIL_pb2.UINT6: _integer("uint6", np.uint8, 6),
    MIL_pb2.UINT4: _integer("uint4", np.uint8, 4),
    MIL_pb2.UINT3: _integer("uint3", np.uint8, 3),
    MIL_pb2.UINT2: _integer("uint2", np.uint8, 2),
    MIL_pb2.UINT1: _integer("uint1", np.uint8, 1),
}


def element_type(data_type: int) -> ElementType:
    """The storage of a MIL data type; raises UnsupportedError for one that is not a number."""
    if data_type not in TYPES:
        named = data_type in MIL_pb2.DataType.values()
        name = MIL_pb2.DataType.Name(data_type).lower() if named else str(data_type)
        raise UnsupportedError(f"a tensor of MIL type {name} is not something to compute with")
    return TYPES[data_type]


def shape_of(value_type: Any) -> tuple[int, ...]:
    """The dimensions of a constant's tensor type; a constant has no unknown ones."""
    return tuple(int(d.constant.size) for d in value_type.tensorType.dimensions)


def stored_bytes(value_type: Any) -> int:
    """Bytes that a tensor of a MIL type takes in a file; strings, such as names, take none."""
    data_type = value_type.tensorType.dataType
    if data_type not in TYPES:
        return 0
    return math.ceil(math.prod(shape_of(value_type)) * TYPES[data_type].bits / 8)


def immediate(value: Any) -> np.ndarray:
    """The numbers of a tensor value that is held in the model file; raises ArtifactError."""
    kind, shape = element_type(value.type.tensorType.dataType), shape_of(value.type)
    tensor = value.immediateValue.tensor
    field = tensor.WhichOneof("value")
    held = getattr(tensor, field).values if field else b""
    if isinstance(held, bytes):
        return from_bytes(held, value.type)
    try:
        return np.array(held, kind.dtype).reshape(shape)
    except (ValueError, OverflowError):
        raise ArtifactError(
            f"damaged program: {len(held)} numbers for a {kind.name} tensor of shape {list(shape)}"
        ) from None


def from_bytes(held: bytes, value_type: Any) -> np.ndarray:
    """Little-endian bytes of a tensor type as an array; narrow integers come packed LSB first."""
    kind, shape = element_type(value_type.tensorType.dataType), shape_of(value_type)
    if len(held) != stored_bytes(value_type):
        raise ArtifactError(
            f"damaged program: {len(held)} bytes for a {kind.name} tensor of shape {list(shape)}"
        )
    count = math.prod(shape)
    flat = np.frombuffer(held, kind.dtype) if kind.bits >= 8 else unpack(held, kind, count)
    try:
        return flat.reshape(shape)
    except ValueError:  # a dimension beyond any array's, beside an empty one
        raise ArtifactError(f"damaged program: a constant of shape {list(shape)}") from None


def unpack(packed: bytes, kind: ElementType, count: int) -> np.ndarray:
    """Integers of fewer than 8 bits, one per element of the result."""
    bits = np.unpackbits(np.frombuffer(packed, np.uint8), bitorder="little")
    fields = bits[: count * kind.bits].reshape(count, kind.bits).astype(np.int16)
    values = (fields << np.arange(kind.bits, dtype=np.int16)).sum(1)
    if kind.signed:
        values -= (values >> (kind.bits - 1)) << kind.bits
    return np.asarray(values.astype(kind.dtype))


def read_blob(file: Path, offset: int, size: int) -> bytes:
    """`size` bytes of the blob whose header is at `offset`; raises ArtifactError."""
    try:
        with file.open("rb") as weights:
            weights.seek(offset)
            sentinel, _, count, start = BLOB.unpack(weights.read(BLOB.size))
            ends = weights.seek(0, io.SEEK_END)
            whole = sentinel == BLOB_SENTINEL and count == size <= ends - start
            weights.seek(start)
            data = weights.read(size) if whole else b""
    except (OSError, OverflowError, ValueError, struct.error):
        whole, data = False, b""
    if not whole or len(data) != size:
        raise ArtifactError(f"{file.name} is damaged or truncated at {offset}")
    return data
