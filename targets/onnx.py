"""ONNX for ONNX Runtime: emitted from the graph, run and described from the file.

onnx_model.py writes the model and onnx_runner.py runs it. Detectors that suppress overlapping boxes
inside take one picture at a time; all else takes any batch.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.errors import ArtifactError, UnsupportedError
from exporter.files import write_atomic
from exporter.graph import Nms, QuantizedGraph
from exporter.metadata import METADATA_KEY, spec_from_text
from exporter.spec import Precision
from exporter.target import (
    CannotRunError,
    Contents,
    ExportOptions,
    LayerInfo,
    Runner,
    TensorInfo,
    require,
)
from exporter.timing import TimedSession
from targets.onnx_model import build
from targets.onnx_runner import OnnxRunner

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto

CPU_INFO = Path("/proc/cpuinfo")
X86 = {"x86_64", "amd64", "i386", "i686"}
VNNI = {"avx512_vnni", "avx_vnni"}
INTEGER_KERNELS = {"QLinearConv", "QLinearAdd", "QLinearGlobalAveragePool", "QGemm"}
NATIVE_NMS = (
    "overlapping boxes are removed by NonMaxSuppression, the runtime's own: it divides where the "
    "plain formula multiplies, so a pair within a rounding of the threshold may fall otherwise"
)


def check() -> None:
    """Raise MissingDependencyError unless onnx and onnxruntime are installed."""
    require("onnx", "onnx", "onnxruntime", cure="install mnv2-export again with its dependencies")


def check_options(precision: Precision, options: ExportOptions) -> None:
    """Refuse a batch of nothing; every precision takes every other."""
    del precision
    if options.batch is not None and options.batch < 1:
        raise UnsupportedError(f"batch {options.batch} is not a positive number")


def emit(
    graph: QuantizedGraph, precision: Precision, options: ExportOptions, path: Path
) -> tuple[str, ...]:
    """Write the `.onnx` file; options.batch None leaves the first dimension open."""
    check_options(precision, options)
    if graph.quantized != (precision is Precision.INT8):
        raise UnsupportedError(f"a graph of {graph.precision} cannot become {precision} ONNX")
    suppression = next((op for op in graph.ops if isinstance(op, Nms)), None)
    if suppression is not None and options.batch != 1:
        batch = "an open batch" if options.batch is None else f"a batch of {options.batch}"
        raise UnsupportedError(
            f"non-maximum suppression takes one picture at a time, not {batch}",
            "leave --batch out, or choose --nms none",
        )
    model = build(graph, precision, options.batch)
    write_atomic(path, model.SerializeToString(deterministic=True))
    return (NATIVE_NMS,) if suppression is not None and suppression.native else ()


def load(path: Path) -> Runner:
    """Open the file in ONNX Runtime, where its integers are exact on this CPU."""
    model = _read(path)
    if any(node.op_type in INTEGER_KERNELS for node in model.graph.node):
        _require_exact_integers()
    return OnnxRunner(model, path)


def timed_session(threads: int) -> TimedSession:
    """An `.onnx` on the clock; see `exporter.timing.Timed`."""
    from targets.onnx_profile import OnnxSession

    return OnnxSession(threads)


def describe(path: Path) -> Contents:
    """What the file holds, from its own records."""
    model = _read(path)
    notes = [f"opset {d.version}" + f" of {d.domain}" * bool(d.domain) for d in model.opset_import]
    if any(c.data_type == c.FLOAT16 for c in model.graph.initializer):
        notes.append("weights are stored as float16 and widened to float32 on loading")
    properties = {p.key: p.value for p in model.metadata_props}
    return Contents(
        format="ONNX",
        size_bytes=path.stat().st_size,
        inputs=tuple(_tensor_info(v, _quantization(model, v.name)) for v in model.graph.input),
        outputs=tuple(_tensor_info(v, _quantization(model, v.name)) for v in model.graph.output),
        ops=dict(Counter(node.op_type for node in model.graph.node)),
        delegation=_delegation(model),
        layers=tuple(_layers(model)),
        spec=spec_from_text(properties.get(METADATA_KEY)),
        notes=tuple(notes),
    )


def _read(path: Path) -> ModelProto:
    """A model that parses and passes onnx's checker."""
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        model = onnx.load_model_from_string(path.read_bytes())
        onnx.checker.check_model(model)
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such file") from None
    except (OSError, DecodeError, UnicodeDecodeError, onnx.checker.ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise ArtifactError(f"{path}: damaged ONNX file ({reason})", "export again") from None
    if not model.graph.input or not model.graph.output:
        raise ArtifactError(f"{path}: an ONNX file without an input or an output", "export again")
    return model


def _require_exact_integers() -> None:
    """Refuse a CPU whose kernels the golden's rules do not describe.

    MLAS rounds QLinearAdd by its SIMD instruction set, and the golden has x86's rounding. Its
    uint8 x int8 kernels before VNNI add pairs of products in int16, which saturates.
    """
    machine = platform.machine()
    if machine.lower() not in X86:
        raise CannotRunError(
            f"this CPU is {machine or 'unknown'}: ONNX Runtime's integer addition is established "
            "on x86 only"
        )
    flags = CPU_INFO.read_text().split() if CPU_INFO.exists() else []
    if not VNNI.intersection(flags):
        raise CannotRunError(
            "this x86 CPU has no VNNI (or does not say so): ONNX Runtime's int8 kernels may "
            "saturate in 16 bits here and would not show what a phone computes"
        )


def _tensor_info(value: ValueInfoProto, note: str) -> TensorInfo:
    from onnx import helper

    tensor = value.type.tensor_type
    return TensorInfo(
        name=value.name,
        shape=tuple(d.dim_param or d.dim_value for d in tensor.shape.dim),
        dtype=str(helper.tensor_dtype_to_np_dtype(tensor.elem_type)),
        note=note,
    )


def _quantization(model: ModelProto, name: str) -> str:
    """How the float tensor `name` at an end of the model becomes codes or comes from them."""
    from onnx import numpy_helper

    constants = {c.name: c for c in model.graph.initializer}
    for node in model.graph.node:
        ends = {"QuantizeLinear": node.input[:1], "DequantizeLinear": node.output[:1]}
        if name in ends.get(node.op_type, ()) and constants.keys() >= set(node.input[1:]):
            scale, zero_point = (numpy_helper.to_array(constants[n]) for n in node.input[1:])
            verb = "quantized" if node.op_type == "QuantizeLinear" else "dequantized"
            return f"{verb} inside: {zero_point.dtype}, scale {scale}, zero point {zero_point}"
    return ""


def _delegation(model: ModelProto) -> str:
    """Which nodes compute in integers: those between QuantizeLinear and DequantizeLinear."""
    codes: set[str] = set()
    integers, floats = 0, Counter[str]()
    for node in model.graph.node:
        begins, ends = node.op_type == "QuantizeLinear", node.op_type == "DequantizeLinear"
        if begins or (codes.intersection(node.input) and not ends):
            codes.update(node.output)
        if begins or not codes.intersection(node.output):
            floats[node.op_type] += 1
        else:
            integers += 1
    listed = ", ".join(f"{count} {kind}" for kind, count in sorted(floats.items()))
    mixed = f"{integers} integer ops in ONNX Runtime, " if integers else ""
    return f"runs as {mixed}{floats.total()} float ops: {listed}"


def _layers(model: ModelProto) -> Iterator[LayerInfo]:
    """Nodes with the constants that only they read; a widened constant counts for its reader."""
    sizes = {c.name: _size(c.raw_data, c.ByteSize()) for c in model.graph.initializer}
    readers = Counter(name for node in model.graph.node for name in node.input)
    for node in model.graph.node:
        size = sum(sizes.get(name, 0) for name in node.input if readers[name] == 1)
        if node.op_type == "Cast" and node.input[0] in sizes:
            sizes[node.output[0]] = size
        else:
            name = node.output[0].partition("/")[0]  # "features.0/unclamped" is of features.0
            yield LayerInfo(name=name, op=node.op_type, size_bytes=size)


def _size(raw: bytes, serialized: int) -> int:
    """Bytes of a constant's values; typed fields of foreign files count as serialized."""
    return len(raw) or serialized
