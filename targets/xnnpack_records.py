"""The records of one XNNPACK delegate: tensors, constants and nodes, appended and serialized."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from executorch.backends.xnnpack.serialization import xnnpack_graph_schema as schema
from executorch.backends.xnnpack.serialization.xnnpack_graph_serialize import (
    CONSTANT_TENSOR_ALIGNMENT,
    serialize_xnnpack_binary,
)
from executorch.exir._serialize._named_data_store import NamedDataStore, NamedDataStoreOutput

from exporter.graph import Clamp, QParams, Shape

NOT_EXTERNAL = 2**32 - 1
NAMED_DATA = 2**64 - 1  # constant data lives in the named data store, not in the payload
TO_NHWC, TO_NCHW = [0, 2, 3, 1], [0, 3, 1, 2]
FLAG_INPUT, FLAG_OUTPUT = 1, 2

Type = schema.XNNDatatype
CONSTANT_TYPES = {
    np.dtype(np.float32): Type.xnn_datatype_fp32,
    np.dtype(np.int8): Type.xnn_datatype_qcint8,
    np.dtype(np.int32): Type.xnn_datatype_qcint32,
}


@dataclass(kw_only=True)
class Value:
    """An activation in the delegate; `id` is -1 until something refers to it."""

    shape: Shape  # (n, c, h, w) whatever the layout, or of another rank
    qparams: QParams | None
    nhwc: bool = False
    external: int = NOT_EXTERNAL
    flags: int = 0
    id: int = -1
    other_layout: Value | None = None

    @property
    def dims(self) -> list[int]:
        """The shape as laid out in memory."""
        return [self.shape[i] for i in TO_NHWC] if self.nhwc else list(self.shape)

    @property
    def is_result(self) -> bool:
        """Whether the delegate gives it."""
        return self.flags == FLAG_OUTPUT


class Records:
    """Ids are positions in these lists, so the order of calls is part of the bytes."""

    def __init__(self) -> None:
        self.store = NamedDataStore()
        self.results: dict[int, int] = {}  # external id -> id
        self.graph = schema.XNNGraph(
            version="0",
            xnodes=[],
            xvalues=[],
            num_externs=0,
            input_ids=[],
            output_ids=[],
            constant_data=[schema.ConstantDataOffset(0, 0)],
        )

    def serialize(self) -> tuple[bytes, NamedDataStoreOutput]:
        """The payload and the constants that it refers to by name."""
        self.graph.output_ids = [self.results[external] for external in sorted(self.results)]
        self.graph.num_externs = len(self.graph.input_ids) + len(self.graph.output_ids)
        payload: bytes = serialize_xnnpack_binary(self.graph, bytearray())
        return payload, self.store.get_named_data_store_output()

    def use(self, value: Value) -> int:
        """The id of a value; the first use of the image defines it."""
        if value.id < 0:
            self.define(value)
            self.graph.input_ids.append(value.id)
        return value.id

    def define(self, value: Value) -> Value:
        """Append a tensor record."""
        kind, quant = Type.xnn_datatype_fp32, None
        if value.qparams is not None:
            kind = Type.xnn_datatype_qint8
            quant = schema.PerTensorQuant(value.qparams.scale, value.qparams.zero_point)
        value.id = self.tensor(value.dims, kind, quant, 0, value.external, value.flags)
        if value.is_result:
            self.results[value.external] = value.id
        return value

    def tensor(
        self,
        dims: list[int],
        kind: Any,
        quant: Any,
        buffer: int,
        external: int = NOT_EXTERNAL,
        flags: int = 0,
    ) -> int:
        """Append a tensor record of any kind; returns its id."""
        index = len(self.graph.xvalues)
        record = schema.XNNTensorValue(kind, len(dims), dims, buffer, external, flags, index)
        if quant is not None:
            record = schema.XNNQuantizedTensorValue(record, quant)
        self.graph.xvalues.append(schema.XValue(record))
        return index

    def constant(self, values: np.ndarray, scale: np.ndarray | None, axis: int) -> int:
        """A constant tensor, per-channel quantized when it has scales."""
        buffer, quant = self.blob(values, ""), None
        if scale is not None:
            quant = schema.PerChannelQuant([], axis, self.blob(scale, "scale_"), len(scale))
        return self.tensor(list(values.shape), CONSTANT_TYPES[values.dtype], quant, buffer)

    def blob(self, values: np.ndarray, prefix: str) -> int:
        """Put bytes into the named data store; returns the index of their offset record."""
        data = np.ascontiguousarray(values).tobytes()
        key = prefix + hashlib.sha256(data).hexdigest()
        self.graph.constant_data.append(schema.ConstantDataOffset(NAMED_DATA, len(data), key))
        self.store.add_named_data(key, data, CONSTANT_TENSOR_ALIGNMENT)
        return len(self.graph.constant_data) - 1

    def node(self, record: Any, handle: int, clamp: Clamp | None = None) -> None:
        """Append an operation."""
        bounds = None if clamp is None else schema.OutputMinMax(*clamp)
        self.graph.xnodes.append(schema.XNode(record, handle, bounds))
