"""The ExecuTorch program around one delegate: written, checked for truncation, and read back."""

from __future__ import annotations

import json
import math
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from exporter.errors import ArtifactError, ExportError
from exporter.graph import QuantizedGraph, Shape
from targets.executorch_sdk import quiet

BACKEND_ID = "XnnpackBackend"
BUFFER_ALIGNMENT = 16
RUNTIME_SLACK = 64  # bytes that ExecuTorch's memory planner adds to an arena for XNNPACK
FILE_MAGIC = b"ET"
HEADER_MAGIC = b"eh00"
FLATC_SECONDS = 60
HEADER_AT = 8  # after the flatbuffer's root offset and file identifier
PYTREE_IN = (
    '[1, {"type": "builtins.tuple", "context": "null", "children_spec": [{"type": '
    '"builtins.tuple", "context": "null", "children_spec": [{"type": null, "context": null, '
    '"children_spec": []}]}, {"type": "builtins.dict", "context": "[]", "children_spec": []}]}]'
)
PYTREE_OUT = '[1, {"type": null, "context": null, "children_spec": []}]'


def write_program(graph: QuantizedGraph, *, fold_pads: bool = True) -> bytes:
    """The `.pte` of a graph: one method "forward", one XNNPACK delegate, nothing outside it.

    `fold_pads=False` keeps uneven padding as an operation of its own, as the stock lowering does.
    """
    with quiet():
        from targets.xnnpack import XnnpackWriter

        payload, constants = XnnpackWriter(graph, fold_pads=fold_pads).write()
        delegate = Delegate(backend=BACKEND_ID, payload=payload, slack=RUNTIME_SLACK)
        return serialize(one_call(delegate, graph.input.shape, graph.output.shape), constants)


@dataclass(frozen=True, kw_only=True)
class Delegate:
    """A backend and what it is given when a program is loaded."""

    backend: str
    payload: bytes
    compile_specs: tuple[tuple[str, bytes], ...] = ()
    slack: int = 0  # bytes that ExecuTorch's memory planner adds to the arena


def one_call(delegate: Delegate, image: Shape, result: Shape) -> Any:
    """The record of a program that calls one delegate: a float32 tensor in, another out."""
    with quiet():
        from executorch.exir import schema

        return schema.Program(
            version=0,
            execution_plan=[_plan(schema, delegate, image, result)],
            constant_buffer=[schema.Buffer(b"")],
            backend_delegate_data=[schema.BackendDelegateInlineData(delegate.payload)],
            segments=[],
            constant_segment=schema.SubsegmentOffsets(0, []),
            mutable_data_segments=None,
            named_data=[],
        )


def serialize(program: Any, constants: Any = None) -> bytes:
    """The file of a program and of the named constants that its delegate reads."""
    with quiet():
        from executorch.exir._serialize._program import PTEFile, serialize_pte_binary

        file = PTEFile(program=program, mutable_data=None, named_data=constants)
        return bytes(serialize_pte_binary(file, extract_delegate_segments=True))


def _plan(schema: Any, delegate: Delegate, image: Shape, result: Shape) -> Any:
    reference = schema.BackendDelegateDataReference(schema.DataLocation.INLINE, 0)
    specs = [schema.CompileSpec(key, value) for key, value in delegate.compile_specs]
    call = schema.Instruction(schema.DelegateCall(0, [0, 1]))
    return schema.ExecutionPlan(
        name="forward",
        container_meta_type=schema.ContainerMetadata(PYTREE_IN, PYTREE_OUT),
        values=[_float_tensor(schema, image, 0), _float_tensor(schema, result, _arena(image))],
        inputs=[0],
        outputs=[1],
        chains=[schema.Chain([], [], [call], None)],
        operators=[],
        delegates=[schema.BackendDelegate(delegate.backend, reference, specs)],
        non_const_buffer_sizes=[0, _arena(image) + _arena(result) + delegate.slack],
    )


def _float_tensor(schema: Any, shape: Shape, offset: int) -> Any:
    from executorch.exir.scalar_type import ScalarType

    return schema.EValue(
        schema.Tensor(
            ScalarType.FLOAT,
            0,
            list(shape),
            list(range(len(shape))),
            False,
            0,
            0,
            schema.AllocationDetails(1, offset, 0),
            schema.TensorShapeDynamism.STATIC,
        )
    )


def _arena(shape: Shape) -> int:
    """Bytes of a planned float32 tensor."""
    size = 4 * math.prod(shape)
    return -(-size // BUFFER_ALIGNMENT) * BUFFER_ALIGNMENT


def read_bytes(path: Path) -> bytes:
    """The file, after checks that it is a whole ExecuTorch program; raises ArtifactError.

    The header says where the last segment ends, so a truncated file is caught here and never
    reaches native code.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such file") from None
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error.strerror})") from None
    if data[4:6] != FILE_MAGIC or data[HEADER_AT : HEADER_AT + 4] != HEADER_MAGIC:
        raise ArtifactError(f"{path}: not an ExecuTorch program (no ET identifier at byte 4)")
    base, length = (
        int.from_bytes(data[start : start + 8], "little")
        for start in (HEADER_AT + 16, HEADER_AT + 24)
    )
    if len(data) < base + length:
        raise ArtifactError(
            f"{path}: truncated, {len(data):,} of {base + length:,} bytes", "build it again"
        )
    return data


@dataclass(frozen=True, kw_only=True)
class Parsed:
    """A `.pte` taken apart: its program record, and the XNNPACK graphs of its delegates as JSON."""

    program: Any
    constant_sizes: dict[str, int]
    delegates: tuple[dict[str, Any], ...]


def deserialize(path: Path) -> Any:
    """The `PTEFile` record of a whole file; raises ArtifactError."""
    data = read_bytes(path)
    with quiet():
        from executorch.exir._serialize._program import deserialize_pte_binary

        with damage_is_an_artifact_error(path):
            return deserialize_pte_binary(data)


def parse(path: Path) -> Parsed:
    """Deserialize without running; raises ArtifactError."""
    file = deserialize(path)
    with quiet(), damage_is_an_artifact_error(path):
        named = file.named_data
        entries = {} if named is None else named.pte_data
        sizes = {key: len(named.buffers[entry.buffer_index]) for key, entry in entries.items()}
        payloads = [
            file.program.backend_delegate_data[d.processed.index].data
            for d in file.program.execution_plan[0].delegates
            if d.id == BACKEND_ID
        ]
        delegates = tuple(_payload_json(bytes(p), path) for p in payloads)
        used = {c.get("named_key") for d in delegates for c in d["constant_data"]}
        if missing := {key for key in used if key} - sizes.keys():
            raise ArtifactError(f"{path}: damaged, no constant is called {min(missing)!r}")
    return Parsed(program=file.program, constant_sizes=sizes, delegates=delegates)


@contextmanager
def damage_is_an_artifact_error(path: Path) -> Iterator[None]:
    """Whatever goes wrong inside is the file's fault; a missing package is not.

    executorch's readers check nothing that they follow, so flipped bits end in any exception:
    struct.error, IndexError, AttributeError, RecursionError, a failing flatc.
    """
    try:
        yield
    except (ExportError, ImportError):
        raise
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise ArtifactError(
            f"{path}: damaged ExecuTorch program ({reason})", "export again"
        ) from None


def _payload_json(payload: bytes, path: Path) -> dict[str, Any]:
    """An XNNPACK payload through the flatbuffer compiler and schema that executorch ships."""
    import executorch.backends.xnnpack.serialization as package
    from executorch.backends.xnnpack.serialization.xnnpack_graph_serialize import XNNHeader
    from executorch.exir._serialize._flatbuffer import _get_flatc_path

    header = XNNHeader.from_bytes(payload[: XNNHeader.EXPECTED_LENGTH])
    if not header.is_valid():
        raise ArtifactError(f"{path}: the XNNPACK delegate has no valid header")
    start = header.flatbuffer_offset
    with tempfile.TemporaryDirectory() as folder:
        schema, binary = Path(folder) / "schema.fbs", Path(folder) / "payload.bin"
        schema.write_bytes(resources.files(package).joinpath("schema.fbs").read_bytes())
        binary.write_bytes(payload[start : start + header.flatbuffer_size])
        arguments = ["--raw-binary", "--json", "--defaults-json", "--strict-json", "-o", folder]
        done = subprocess.run(
            [_get_flatc_path(), *arguments, str(schema), "--", str(binary)],
            capture_output=True,
            timeout=FLATC_SECONDS,
        )
        if done.returncode:  # its own words are a page about its options
            raise ArtifactError(f"{path}: the XNNPACK payload is damaged", "export again")
        parsed: dict[str, Any] = json.loads(_finite(binary.with_suffix(".json").read_text()))
    return parsed


def _finite(text: str) -> str:
    """flatc writes an open clamp bound as a bare `inf`, which JSON does not know."""
    return text.replace(": inf", ": Infinity").replace(": -inf", ": -Infinity")
