"""TorchScript: a traced `.pt` for libtorch, and its twin `.ptl` for the lite interpreter.

What is traced is a function, not a module: its weights become constants of the program, so the
archive is frozen from the start (`torch.jit.freeze` would only widen int8 weights to float), and
its one class has a fixed name, whatever else this process traced before. The batch stays open.
One result is returned as a tensor, several as a tuple in the order that `outputs.json` tells.

An int8 graph becomes integer arithmetic carried in floats: int8 weights on disk, and the golden's
rounding steps, so the logits equal the golden's bit for bit. It is there to check a model, and for
users of libtorch who want the phone's answers, not for speed.

torch writes paths of this machine and lines of our sources into every archive, for stack traces.
They are taken out again: equal models are equal bytes.
"""

from __future__ import annotations

import io
import json
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from exporter.errors import ArtifactError, UnsupportedError
from exporter.files import size, write_atomic
from exporter.graph import QuantizedGraph
from exporter.metadata import LABELS_FILE, METADATA_KEY, labels_text, metadata_text, spec_from_text
from exporter.spec import ModelSpec, Precision
from exporter.target import Contents, ExportOptions, LayerInfo, Runner, TensorInfo, require
from exporter.timing import TimedSession
from targets.torchscript_runner import TorchScriptRunner

METADATA_FILE = f"{METADATA_KEY}.json"
OUTPUTS_FILE = "outputs.json"  # in their order; a classifier has none: its logits say it all
LITE_SUFFIX = ".ptl"
EXTRA_FOLDER = "extra/"  # where torch.jit.load looks for extra files
DEBUG_SUFFIX = ".debug_pkl"  # maps the program to source files; optional when read
WRITER_RECORDS = ("version", ".data/serialization_id")  # PyTorchFileWriter adds them itself
DEPRECATED = r"\s*(.*torch\.jit|Lite Interpreter)"  # how torch begins its announcements
WEIGHTED = {"aten::_convolution": "convolution", "aten::linear": "linear"}


def check() -> None:
    """Raise MissingDependencyError without torch."""
    require("torchscript", "torch", cure="install mnv2-export again with its dependencies")


def check_options(precision: Precision, options: ExportOptions) -> None:
    """Refuse fp16."""
    del options  # none is TorchScript's
    if precision is Precision.FP16:
        raise UnsupportedError(
            "TorchScript artifacts are fp32 or int8: libtorch has no fast fp16 kernels for CPUs",
            "export fp32 or int8, or take another target for fp16",
        )


def emit(
    graph: QuantizedGraph, precision: Precision, options: ExportOptions, path: Path
) -> tuple[str, ...]:
    """Write the `.pt` and, beside it under the same stem, the `.ptl`."""
    check_options(precision, options)
    extra = {METADATA_FILE: metadata_text(graph, precision), LABELS_FILE: labels_text(graph.spec)}
    outputs = _outputs(graph)
    if outputs != (_logits(graph.spec),):
        records = [{"name": o.name, "shape": o.shape, "dtype": o.dtype} for o in outputs]
        extra[OUTPUTS_FILE] = json.dumps(records)
    program = _canonical(_trace(graph), extra)
    lite = _lite_archive(program)
    if lite is not None:
        write_atomic(path.with_suffix(LITE_SUFFIX), _canonical(lite, extra))
    write_atomic(path, program)
    return tuple(_notes(precision, path, lite is not None))


def load(path: Path) -> Runner:
    """Open a `.pt` in the TorchScript interpreter, a `.ptl` in the lite interpreter."""
    module, _, outputs = _open(path)
    if path.suffix == LITE_SUFFIX:
        from torch.jit.mobile import _load_for_lite_interpreter

        with _damage_is_an_artifact_error(path), _quiet():
            module = _load_for_lite_interpreter(str(path))  # type: ignore[no-untyped-call]
    return TorchScriptRunner(module=module, names=tuple(output.name for output in outputs))


def timed_session(threads: int) -> TimedSession:
    """A `.pt` on the clock; see `exporter.timing.Timed`."""
    from targets.torchscript_profile import TorchScriptSession

    return TorchScriptSession(threads)


def float_session(graph: QuantizedGraph, threads: int) -> TimedSession:
    """PyTorch itself on the clock; see `exporter.timing.FloatBaseline`."""
    from targets.torchscript_profile import EagerSession

    return EagerSession(graph, threads)


def describe(path: Path) -> Contents:
    """The program inside a `.pt` or `.ptl`, without running it."""
    module, spec, outputs = _open(path)
    nodes = list(_nodes(module.inlined_graph))
    kinds = Counter(n.kind().split("::")[1] for n in nodes if not n.kind().startswith("prim::"))
    interpreter = "lite interpreter" if path.suffix == LITE_SUFFIX else "TorchScript interpreter"
    image = (spec.resolution, spec.resolution)
    return Contents(
        format=f"TorchScript {path.suffix}",
        size_bytes=size(path),
        inputs=(
            TensorInfo(name="images", shape=("n", 3, *image), dtype="float32", note="normalized"),
        ),
        outputs=outputs,
        ops=dict(kinds.most_common()),
        delegation=f"{interpreter} on ATen's CPU kernels; nothing is delegated",
        layers=tuple(_layers(nodes)),
        spec=spec,
    )


def _outputs(graph: QuantizedGraph) -> tuple[TensorInfo, ...]:
    """The results in the order of the program's; the first dimension is open."""
    return tuple(
        TensorInfo(
            name=tensor.name,
            shape=("n", *tensor.shape[1:]),
            dtype=np.dtype(graph.result_dtype(tensor.name)).name,
        )
        for tensor in graph.outputs
    )


def _logits(spec: ModelSpec) -> TensorInfo:
    """A classifier's one result."""
    return TensorInfo(name="logits", shape=("n", spec.classes), dtype="float32")


def _trace(graph: QuantizedGraph) -> bytes:
    import torch
    from torch.backends import cudnn

    from targets.torchscript_network import network

    example = torch.zeros(graph.input.shape)
    # A trace stores these process-wide switches; pinned, they cannot change the bytes (and on a GPU
    # TF32 would round).
    pinned = cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
    with _quiet(), torch.no_grad(), pinned:
        jit: Any = torch.jit
        function = jit.trace(network(graph), example, check_trace=False)
        sdk: Any = torch._C
        sdk._jit_pass_inline(function.graph)  # a scripted part would tell our module's name
        archive: bytes = function.save_to_buffer()
    return archive


def _lite_archive(program: bytes) -> bytes | None:
    """The program with bytecode for the lite interpreter; None where torch cannot write it."""
    import torch

    with _quiet():
        module = torch.jit.load(io.BytesIO(program))  # type: ignore[no-untyped-call]
        try:
            archive: bytes = module._save_to_buffer_for_lite_interpreter()
        except (AttributeError, RuntimeError):
            return None
    return archive


def _canonical(archive: bytes, extra: Mapping[str, str]) -> bytes:
    """The archive without debug records and with extra files; tensors stay 64-byte aligned."""
    from torch._C import PyTorchFileReader, PyTorchFileWriter

    reader = PyTorchFileReader(io.BytesIO(archive))
    copied = {
        name: reader.get_record(name)
        for name in reader.get_all_records()
        if not name.endswith(DEBUG_SUFFIX) and name not in WRITER_RECORDS
    }
    copied |= {EXTRA_FOLDER + name: text.encode() for name, text in extra.items()}
    buffer = io.BytesIO()
    writer = PyTorchFileWriter(buffer)  # names the archive "archive", whatever the file is called
    for name, data in copied.items():
        writer.write_record(name, data, len(data))
    writer.write_end_of_file()
    return buffer.getvalue()


def _notes(precision: Precision, path: Path, lite: bool) -> Iterator[str]:
    if precision is Precision.INT8:
        yield "int8 here is exact integer arithmetic in floats: for checking and size, not speed"
    if lite:
        name = path.with_suffix(LITE_SUFFIX).name
        yield f"{name} beside it is for the lite interpreter; PyTorch has deprecated both formats"
    else:
        yield "no .ptl: this torch cannot write for the lite interpreter"


def _open(path: Path) -> tuple[Any, ModelSpec, tuple[TensorInfo, ...]]:
    """The module, its spec and its results; `torch.jit.load` runs no pickled Python."""
    import torch

    extra: dict[str, Any] = {METADATA_FILE: "", OUTPUTS_FILE: ""}
    with _damage_is_an_artifact_error(path), _quiet():
        with zipfile.ZipFile(path) as archive:  # torch does not look at checksums
            if (bad := archive.testzip()) is not None:
                raise ValueError(f"checksum of {bad}")
        jit: Any = torch.jit
        module = jit.load(path, map_location="cpu", _extra_files=extra)
    metadata, outputs = (
        text.decode(errors="replace") if isinstance(text, bytes) else text
        for text in extra.values()
    )
    if not metadata:
        raise ArtifactError(f"{path}: TorchScript, but not written by this tool")
    spec = spec_from_text(metadata)
    if spec is None:
        raise ArtifactError(f"{path}: its {METADATA_FILE} is not readable", "export it again")
    return module, spec, _recorded(path, outputs) if outputs else (_logits(spec),)


def _recorded(path: Path, text: str) -> tuple[TensorInfo, ...]:
    """What `emit` wrote about the results."""
    try:
        return tuple(
            TensorInfo(name=r["name"], shape=tuple(r["shape"]), dtype=r["dtype"])
            for r in json.loads(text)
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"{path}: its {OUTPUTS_FILE} is not readable ({error})", "export it again"
        ) from None


def _nodes(block: Any) -> Iterator[Any]:
    """Every node, those inside loops and branches too."""
    for node in block.nodes():
        yield node
        for inner in node.blocks():
            yield from _nodes(inner)


def _layers(nodes: list[Any]) -> Iterator[LayerInfo]:
    """Convolutions and linear layers with their weights and biases."""
    from targets.torchscript_network import graph_name

    for node in nodes:
        if node.kind() in WEIGHTED:
            yield LayerInfo(
                name=graph_name(node.output().debugName()),
                op=WEIGHTED[node.kind()],
                size_bytes=sum(_constant_bytes(value) for value in node.inputs()),
            )


def _constant_bytes(value: Any) -> int:
    node = value.node()
    if node.kind() == "aten::to":  # an int8 weight, widened by the program
        return _constant_bytes(next(node.inputs()))
    if node.kind() != "prim::Constant" or value.type().kind() != "TensorType":
        return 0
    return int(value.toIValue().nbytes)


@contextmanager
def _damage_is_an_artifact_error(path: Path) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, RuntimeError, ValueError, OSError) as error:
        if not path.exists():
            raise ArtifactError(f"{path}: no such file") from None
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "unreadable"
        raise ArtifactError(f"{path}: damaged or not TorchScript ({reason})") from None


@contextmanager
def _quiet() -> Iterator[None]:
    """torch 2.13 announces the deprecation on every call; `emit` says it once, in its notes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", DEPRECATED, DeprecationWarning)
        yield
