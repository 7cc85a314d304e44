"""Reading `.tflite` files that may be damaged: every record is visited and every index checked.

The native interpreter trusts what it maps, so a file must pass here before it is opened there.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from exporter.errors import ArtifactError
from exporter.metadata import METADATA_KEY
from targets.litert_flatbuffer import FILE_ID
from targets.litert_metadata import is_intact
from targets.litert_records import (
    NO_SCALES,
    NO_ZERO_POINTS,
    FlatGraph,
    FlatModel,
    FlatOperator,
    FlatTensor,
    dtypes,
    operator_kinds,
)

HEADER_BYTES = 8  # offset of the root table, then the file identifier
MISSING = -1  # an optional input that is left out
LOOP = "WHILE"
SLOT_OUTPUTS = 8  # of SubGraph's field `outputs` in its table's directory


def read(path: Path) -> tuple[bytes, FlatModel]:
    """The file's bytes and records; raises ArtifactError naming the file."""
    try:
        data = path.read_bytes()
        return data, parse(data)
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path}: damaged .tflite file ({error})", "export again") from None


def parse(data: bytes) -> FlatModel:
    """Records of a file whose first subgraph is the model; raises ValueError."""
    from ai_edge_litert.schema_py_generated import ModelT

    if data[4:HEADER_BYTES] != FILE_ID:
        raise ValueError("not a LiteRT flatbuffer")
    try:
        tree = ModelT.InitFromPackedBuf(data, 0)
        model = _model(tree)
    except (struct.error, IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"records do not fit together: {error}") from None
    if METADATA_KEY in model.metadata and not is_intact(data):
        raise ValueError("it changed after it was exported")
    return model


def expose(data: bytes, outputs: Iterable[int]) -> bytes:
    """The same file with other outputs of its subgraph; weights and operations stay in place.

    The new list is appended and the offset in the subgraph's table is pointed at it.
    """
    from ai_edge_litert.schema_py_generated import Model

    table = Model.GetRootAs(data, 0).Subgraphs(0)._tab
    where = table.Pos + table.Offset(SLOT_OUTPUTS)
    patched = bytearray(data)
    patched += bytes(-len(patched) % struct.calcsize("I"))
    vector = np.array(list(outputs), "<i4")
    struct.pack_into("<I", patched, where, len(patched) - where)
    patched += struct.pack("<I", len(vector)) + vector.tobytes()
    return bytes(patched)


def _model(tree: Any) -> FlatModel:
    if not tree.subgraphs:
        raise ValueError("no subgraph")
    buffers = [_bytes(buffer.data) for buffer in tree.buffers]
    model = FlatModel(
        description=_text(tree.description),
        buffers=buffers,
        inputs=_ends(tree, tree.subgraphs[0], "inputs"),
        outputs=_ends(tree, tree.subgraphs[0], "outputs"),
        metadata={_text(m.name): buffers[_index(m.buffer)] for m in tree.metadata or ()},
        inner=[_inner(record, buffers) for record in tree.subgraphs[1:]],
    )
    for made, record in zip([model, *model.inner], tree.subgraphs, strict=True):
        _fill(made, record, tree)
        _check(made)
    return model


def _inner(record: Any, buffers: list[bytes]) -> FlatGraph:
    """What a loop runs; it has no signature, so its inputs and outputs are numbered."""
    return FlatGraph(
        name=_text(record.name),
        buffers=buffers,
        inputs={str(i): place for i, place in enumerate(_indices(record.inputs))},
        outputs={str(i): place for i, place in enumerate(_indices(record.outputs))},
    )


def _fill(graph: FlatGraph, record: Any, tree: Any) -> None:
    types, kinds = dtypes(), operator_kinds()
    graph.tensors = [_tensor(t, types) for t in record.tensors]
    graph.operators = [_operator(op, tree.operatorCodes, kinds) for op in record.operators]
    # A loop in what a loop runs could run itself without end.
    count = len(tree.subgraphs) if isinstance(graph, FlatModel) else 0
    for op, made in zip(record.operators, graph.operators, strict=True):
        if made.kind == LOOP and not all(1 <= i < count for i in _runs(op)):
            raise ValueError(f"{LOOP} runs subgraphs {_runs(op)} of {count}")


def _runs(record: Any) -> list[int]:
    """Indices of the subgraphs that a WHILE runs."""
    options = record.builtinOptions
    return [options.condSubgraphIndex, options.bodySubgraphIndex]


def _check(graph: FlatGraph) -> None:
    if not graph.inputs or not graph.outputs:
        raise ValueError("no input or no output")
    for tensor in graph.tensors:
        data = graph.buffers[_index(tensor.buffer)]
        needed = int(np.prod(tensor.shape, dtype=np.int64)) * tensor.dtype.itemsize
        if min(tensor.shape, default=1) < 1 or (data and len(data) != needed):
            raise ValueError(f"tensor {tensor.name!r} has {len(data)} bytes for {tensor.shape}")
        if tensor.scale.size != tensor.zero_point.size:
            raise ValueError(f"tensor {tensor.name!r} has unequal quantization parameters")
    used = [i for op in graph.operators for i in (*op.inputs, *op.outputs) if i != MISSING]
    for index in (*graph.inputs.values(), *graph.outputs.values(), *used):
        if not 0 <= index < len(graph.tensors):
            raise ValueError(f"an operation names tensor {index} of {len(graph.tensors)}")


def _ends(tree: Any, graph: Any, side: str) -> dict[str, int]:
    """Inputs or outputs by the signature's names, by their own where there is no signature."""
    indices = _indices(getattr(graph, side))
    names = {index: _text(graph.tensors[_index(index)].name) for index in indices}
    for signature in (tree.signatureDefs or ())[:1]:
        for entry in getattr(signature, side) or ():
            if entry.tensorIndex not in names:
                raise ValueError(f"the signature's {side} are not the model's")
            names[entry.tensorIndex] = _text(entry.name)
    return {names[index]: index for index in indices}


def _tensor(record: Any, types: dict[int, np.dtype[Any]]) -> FlatTensor:
    quantization = record.quantization
    quantized = quantization is not None and quantization.scale is not None
    return FlatTensor(
        name=_text(record.name),
        shape=tuple(_indices(record.shape)),
        dtype=types[record.type],
        buffer=record.buffer,
        scale=quantization.scale if quantized else NO_SCALES,
        zero_point=quantization.zeroPoint if quantized else NO_ZERO_POINTS,
        axis=quantization.quantizedDimension if quantized else 0,
    )


def _operator(record: Any, codes: Any, kinds: dict[int, str]) -> FlatOperator:
    code = codes[_index(record.opcodeIndex)]
    return FlatOperator(
        kind=kinds[max(code.builtinCode, code.deprecatedBuiltinCode)],
        version=code.version,
        inputs=tuple(_indices(record.inputs)),
        outputs=tuple(_indices(record.outputs)),
    )


def _index(value: int) -> int:
    """A list index from a file: Python's own would count a negative one from the end."""
    if value < 0:
        raise ValueError(f"negative index {value}")
    return value


def _indices(values: Any) -> list[int]:
    return [] if values is None else [int(v) for v in values]


def _bytes(values: Any) -> bytes:
    return b"" if values is None else bytes(values)


def _text(value: bytes | None) -> str:
    return "" if value is None else value.decode()
