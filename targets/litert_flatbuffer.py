"""Writes a FlatModel as a flatbuffer.

By hand on top of the generated schema, because its object API drops the 16-byte alignment of
buffers that the schema demands and never shares equal vectors.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from targets.litert_records import (
    FlatGraph,
    FlatModel,
    FlatOperator,
    FlatTensor,
    dtypes,
    operator_kinds,
)

FILE_ID = b"TFL3"
VERSION = 3
ALIGNMENT = 16  # of buffers, by the schema's force_align
LAST_OLD_CODE = 127  # `deprecated_builtin_code` is a byte
SIGNATURE = "serving_default"


def write(model: FlatModel) -> bytes:
    """The flatbuffer; equal models give equal bytes."""
    return _Writer(model).finish()


class _Writer:
    """Builds the file back to front, as flatbuffers are."""

    def __init__(self, model: FlatModel) -> None:
        import flatbuffers
        from ai_edge_litert import schema_py_generated as schema

        self.model = model
        self.schema: Any = schema
        self.builder: Any = flatbuffers.Builder(sum(map(len, model.buffers)) + (1 << 16))
        self.types = {dtype: code for code, dtype in dtypes().items()}
        self._shared: dict[tuple[str, bytes], int] = {}
        self.codes = {kind: code for code, kind in operator_kinds().items()}
        self.graphs: list[FlatGraph] = [model, *model.inner]
        kinds = dict.fromkeys((op.kind, op.version) for g in self.graphs for op in g.operators)
        self.kinds = {kind: index for index, kind in enumerate(kinds)}

    def finish(self) -> bytes:
        """Every table, innermost first."""
        model, builder = self.model, self.builder
        subgraphs = self.offsets([self.subgraph(graph) for graph in self.graphs])
        codes = self.offsets([self.operator_code(*kind) for kind in self.kinds])
        signatures = self.offsets([self.signature()])
        last = len(model.buffers)
        metadata = self.offsets(
            [self.metadata(name, last + i) for i, name in enumerate(model.metadata)]
        )
        buffers = self.offsets(
            [self.buffer(data) for data in [*model.buffers, *model.metadata.values()]]
        )
        description = builder.CreateString(model.description)
        schema = self.schema
        schema.ModelStart(builder)
        schema.ModelAddVersion(builder, VERSION)
        schema.ModelAddOperatorCodes(builder, codes)
        schema.ModelAddSubgraphs(builder, subgraphs)
        schema.ModelAddDescription(builder, description)
        schema.ModelAddBuffers(builder, buffers)
        schema.ModelAddMetadata(builder, metadata)
        schema.ModelAddSignatureDefs(builder, signatures)
        builder.Finish(schema.ModelEnd(builder), FILE_ID)
        return bytes(builder.Output())

    def subgraph(self, graph: FlatGraph) -> int:
        schema, builder = self.schema, self.builder
        tensors = self.offsets([self.tensor(t) for t in graph.tensors])
        operators = self.offsets([self.operator(op) for op in graph.operators])
        inputs, outputs = self.ints(graph.inputs.values()), self.ints(graph.outputs.values())
        name = builder.CreateString(graph.name)
        schema.SubGraphStart(builder)
        schema.SubGraphAddTensors(builder, tensors)
        schema.SubGraphAddInputs(builder, inputs)
        schema.SubGraphAddOutputs(builder, outputs)
        schema.SubGraphAddOperators(builder, operators)
        schema.SubGraphAddName(builder, name)
        return int(schema.SubGraphEnd(builder))

    def tensor(self, tensor: FlatTensor) -> int:
        schema, builder = self.schema, self.builder
        shape, name = self.ints(tensor.shape), builder.CreateString(tensor.name)
        quantization = self.quantization(tensor) if tensor.scale.size else None
        schema.TensorStart(builder)
        schema.TensorAddShape(builder, shape)
        schema.TensorAddType(builder, self.types[tensor.dtype])
        schema.TensorAddBuffer(builder, tensor.buffer)
        schema.TensorAddName(builder, name)
        if quantization is not None:
            schema.TensorAddQuantization(builder, quantization)
        schema.TensorAddHasRank(builder, True)
        return int(schema.TensorEnd(builder))

    def quantization(self, tensor: FlatTensor) -> int:
        schema, builder = self.schema, self.builder
        scale, zero_point = self.array(tensor.scale), self.array(tensor.zero_point)
        schema.QuantizationParametersStart(builder)
        schema.QuantizationParametersAddScale(builder, scale)
        schema.QuantizationParametersAddZeroPoint(builder, zero_point)
        schema.QuantizationParametersAddQuantizedDimension(builder, tensor.axis)
        return int(schema.QuantizationParametersEnd(builder))

    def operator(self, op: FlatOperator) -> int:
        schema, builder = self.schema, self.builder
        inputs, outputs = self.ints(op.inputs), self.ints(op.outputs)
        options = None if op.options is None else op.options.Pack(builder)
        table = type(op.options).__name__.removesuffix("T")
        schema.OperatorStart(builder)
        schema.OperatorAddOpcodeIndex(builder, self.kinds[op.kind, op.version])
        schema.OperatorAddInputs(builder, inputs)
        schema.OperatorAddOutputs(builder, outputs)
        if options is not None:
            schema.OperatorAddBuiltinOptionsType(builder, getattr(schema.BuiltinOptions, table))
            schema.OperatorAddBuiltinOptions(builder, options)
        return int(schema.OperatorEnd(builder))

    def operator_code(self, kind: str, version: int) -> int:
        schema, builder, code = self.schema, self.builder, self.codes[kind]
        schema.OperatorCodeStart(builder)
        schema.OperatorCodeAddDeprecatedBuiltinCode(builder, min(code, LAST_OLD_CODE))
        schema.OperatorCodeAddVersion(builder, version)
        schema.OperatorCodeAddBuiltinCode(builder, code)
        return int(schema.OperatorCodeEnd(builder))

    def signature(self) -> int:
        schema, builder, model = self.schema, self.builder, self.model
        inputs, outputs = (
            self.offsets([self.tensor_map(name, index) for name, index in ends.items()])
            for ends in (model.inputs, model.outputs)
        )
        key = builder.CreateString(SIGNATURE)
        schema.SignatureDefStart(builder)
        schema.SignatureDefAddInputs(builder, inputs)
        schema.SignatureDefAddOutputs(builder, outputs)
        schema.SignatureDefAddSignatureKey(builder, key)
        schema.SignatureDefAddSubgraphIndex(builder, 0)
        return int(schema.SignatureDefEnd(builder))

    def tensor_map(self, name: str, index: int) -> int:
        schema, builder = self.schema, self.builder
        text = builder.CreateString(name)
        schema.TensorMapStart(builder)
        schema.TensorMapAddName(builder, text)
        schema.TensorMapAddTensorIndex(builder, index)
        return int(schema.TensorMapEnd(builder))

    def metadata(self, name: str, buffer: int) -> int:
        text = self.builder.CreateString(name)
        self.schema.MetadataStart(self.builder)
        self.schema.MetadataAddName(self.builder, text)
        self.schema.MetadataAddBuffer(self.builder, buffer)
        return int(self.schema.MetadataEnd(self.builder))

    def buffer(self, data: bytes) -> int:
        vector = self.aligned(data) if data else None
        self.schema.BufferStart(self.builder)
        if vector is not None:
            self.schema.BufferAddData(self.builder, vector)
        return int(self.schema.BufferEnd(self.builder))

    def aligned(self, data: bytes) -> int:
        """A byte vector that begins on a 16-byte boundary of the file."""
        builder = self.builder
        builder.StartVector(1, len(data), ALIGNMENT)
        builder.head -= len(data)
        builder.Bytes[builder.head : builder.head + len(data)] = data
        return int(builder.EndVector())

    def array(self, values: np.ndarray) -> int:
        """A vector of numbers; equal ones are written once and pointed to."""
        key = values.dtype.str, values.tobytes()
        if key not in self._shared:
            self._shared[key] = self.builder.CreateNumpyVector(values)
        return self._shared[key]

    def ints(self, values: Iterable[int]) -> int:
        return self.array(np.array(list(values), np.int32))

    def offsets(self, tables: Sequence[int]) -> int:
        self.builder.StartVector(4, len(tables), 4)
        for table in reversed(tables):
            self.builder.PrependUOffsetTRelative(table)
        return int(self.builder.EndVector())
