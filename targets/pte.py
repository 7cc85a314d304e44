"""The ExecuTorch program around one delegate: written, checked for truncation, and read back."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from exporter.errors import ArtifactError, ExportError
from exporter.graph import QuantizedGraph, Shape
from exporter.outputs import Outputs
from exporter.tasks import Task
from targets.executorch_sdk import quiet

BACKEND_ID = "XnnpackBackend"
NAMES_METHOD = "get_output_names"
RUNTIME_SLACK = 64  # bytes that ExecuTorch's memory planner adds to an arena for XNNPACK
FILE_MAGIC = b"ET"
HEADER_MAGIC = b"eh00"
FLATC_SECONDS = 60
HEADER_AT = 8  # after the flatbuffer's root offset and file identifier


def write_program(graph: QuantizedGraph, *, fold_pads: bool = True) -> bytes:
    """The `.pte` of a graph: a method "forward" that calls one XNNPACK delegate.

    Nothing lies outside of it but an argmax or non-maximum suppression, if the graph ends in one.
    `fold_pads=False` keeps uneven padding as an operation of its own, as the stock lowering does.
    """
    with quiet():
        from targets.pte_heads import check_outside, forward
        from targets.xnnpack import XnnpackWriter

        check_outside(graph)
        writer = XnnpackWriter(graph, fold_pads=fold_pads)
        payload, constants = writer.write()
        delegate = Delegate(backend=BACKEND_ID, payload=payload, slack=RUNTIME_SLACK)
        plan = forward(graph, delegate, writer.results)
        return serialize(program_of(plan, stated_names(graph), payload), constants)


def stated_names(graph: QuantizedGraph) -> tuple[str, ...]:
    """The results' names that a program carries; of a classifier's one result it carries none."""
    if graph.spec.task is Task.CLASSIFICATION:
        return ()
    return tuple(tensor.name for tensor in graph.outputs)


@dataclass(frozen=True, kw_only=True)
class Delegate:
    """A backend and what it is given when a program is loaded."""

    backend: str
    payload: bytes
    compile_specs: tuple[tuple[str, bytes], ...] = ()
    slack: int = 0  # bytes that ExecuTorch's memory planner adds to the arena


def one_call(
    delegate: Delegate,
    image: Shape,
    *results: Shape,
    names: Sequence[str] = (),
    whole: Sequence[bool] | None = None,
) -> Any:
    """The record of a program that calls one delegate: a float32 tensor in, float32 tensors out.

    `names` are those of the results, for programs that state them; `whole` results are int32.
    """
    with quiet():
        from executorch.exir.scalar_type import ScalarType

        from targets.pte_plan import Plan

        plan = Plan()
        kinds = [ScalarType.INT if w else ScalarType.FLOAT for w in whole or [False] * len(results)]
        source = plan.tensor(image)
        targets = [plan.tensor(shape, kind) for shape, kind in zip(results, kinds, strict=True)]
        plan.delegate(delegate, [source, *targets])
        return program_of(plan.finish([source], targets), names, delegate.payload)


def program_of(plan: Any, names: Sequence[str], payload: bytes | None = None) -> Any:
    """The record of a program with one method, the names of what it gives, and a delegate's data.

    Names are a constant method, which every language of the runtime can call.
    """
    from executorch.exir import schema

    from targets.pte_plan import constant_method

    data = [] if payload is None else [schema.BackendDelegateInlineData(payload)]
    return schema.Program(
        version=0,
        execution_plan=[plan, constant_method(NAMES_METHOD, names)] if names else [plan],
        constant_buffer=[schema.Buffer(b"")],
        backend_delegate_data=data,
        segments=[],
        constant_segment=schema.SubsegmentOffsets(0, []),
        mutable_data_segments=None,
        named_data=[],
    )


def result_names(program: Any) -> tuple[str, ...]:
    """The names of what "forward" returns, as the program states them; classifiers state none."""
    for plan in program.execution_plan:
        if plan.name == NAMES_METHOD:
            return tuple(plan.values[i].val.string_val for i in plan.outputs)
    count = len(program.execution_plan[0].outputs)
    return (str(Outputs.LOGITS),) if count == 1 else tuple(f"output {i}" for i in range(count))


def kernel_calls(plan: Any) -> list[str]:
    """The kernels that a method calls outside of its delegates, in order."""
    operators = [f"{o.name}.{o.overload}" if o.overload else o.name for o in plan.operators]
    steps = [i.instr_args for chain in plan.chains for i in chain.instructions]
    return [operators[step.op_index] for step in steps if hasattr(step, "op_index")]


def serialize(program: Any, constants: Any = None) -> bytes:
    """The file of a program and of the named constants that its delegate reads."""
    with quiet():
        from executorch.exir._serialize._program import PTEFile, serialize_pte_binary

        file = PTEFile(program=program, mutable_data=None, named_data=constants)
        return bytes(serialize_pte_binary(file, extract_delegate_segments=True))


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
