"""A QuantizedGraph on disk: one safetensors file, structure in its header, byte-reproducible."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from exporter.errors import ArtifactError, ExportError
from exporter.files import write_atomic
from exporter.graph import Op, QParams, QuantizedGraph, Tensor, Weight
from exporter.spec import ModelSpec
from exporter.tasks import DetectionSpec
from exporter.validate import validate

FORMAT_VERSION = 1
METADATA_KEY = "mnv2_export_graph"  # one key: safetensors does not order several
OPS: dict[str, type] = {op.__name__: op for op in get_args(Op)}


def save_graph(graph: QuantizedGraph, path: Path) -> None:
    """Write `path` atomically; equal graphs give equal bytes."""
    header, arrays = pack(graph)
    text = json.dumps(header, sort_keys=True, separators=(",", ":"))
    write_atomic(path, save(arrays, metadata={METADATA_KEY: text}))


def load_graph(path: Path) -> QuantizedGraph:
    """Read and validate; raises ArtifactError for a file that is not such a graph."""
    try:
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get(METADATA_KEY)
            if text is None:
                raise ArtifactError(f"{path}: a safetensors file, but not a graph of this tool")
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return unpack(json.loads(text), arrays, path)
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such file") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise ArtifactError(f"{path}: damaged graph file ({error})", "build again") from None


def pack(graph: QuantizedGraph) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The structure as plain values for JSON, and the arrays by name."""
    arrays: dict[str, np.ndarray] = {}
    header = {
        "format_version": FORMAT_VERSION,
        "spec": graph.spec.to_json(),
        "tensors": [_tensor_to_json(t) for t in graph.tensors.values()],
        "ops": [_op_to_json(op, arrays) for op in graph.ops],
    }
    return header, arrays


def unpack(header: dict[str, Any], arrays: dict[str, np.ndarray], path: Path) -> QuantizedGraph:
    """The inverse of `pack`, validated; raises ArtifactError, naming the file it is from."""
    try:
        if header["format_version"] != FORMAT_VERSION:
            raise ArtifactError(
                f"{path}: graph format {header['format_version']}, this version reads "
                f"{FORMAT_VERSION}",
                "build again with this version of mnv2-export",
            )
        graph = QuantizedGraph(
            spec=ModelSpec.from_json(header["spec"]),
            ops=tuple(_op_from_json(o, arrays) for o in header["ops"]),
            tensors={t["name"]: _tensor_from_json(t) for t in header["tensors"]},
        )
        validate(graph)
    except (
        KeyError,
        TypeError,
        ValueError,
        IndexError,
        OverflowError,
        AttributeError,
        AssertionError,
    ) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ArtifactError(f"{path}: damaged graph file ({reason})", "build again") from None
    except ArtifactError:
        raise
    except ExportError as error:
        raise ArtifactError(f"{path}: damaged graph file ({error})", "build again") from None
    return graph


def _tensor_to_json(tensor: Tensor) -> dict[str, Any]:
    data: dict[str, Any] = {"name": tensor.name, "shape": list(tensor.shape)}
    if tensor.qparams is not None:
        data |= {"scale": tensor.qparams.scale, "zero_point": tensor.qparams.zero_point}
    return data


def _tensor_from_json(data: dict[str, Any]) -> Tensor:
    qparams = None
    if "scale" in data:
        qparams = QParams(scale=float(data["scale"]), zero_point=int(data["zero_point"]))
    return Tensor(name=data["name"], shape=tuple(data["shape"]), qparams=qparams)


def _op_to_json(op: Op, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Plain fields as they are; arrays move to `arrays` under "<output>:<field>"."""
    data: dict[str, Any] = {"op": type(op).__name__}
    for field in dataclasses.fields(op):
        value = getattr(op, field.name)
        if isinstance(value, Weight):
            arrays[f"{op.output}:weight"] = np.ascontiguousarray(value.values)
            if value.scale is not None:
                arrays[f"{op.output}:weight_scale"] = np.ascontiguousarray(value.scale)
        elif isinstance(value, np.ndarray):
            arrays[f"{op.output}:{field.name}"] = np.ascontiguousarray(value)
        elif field.name == "clamp":
            # JSON has no infinity: an open upper bound is null.
            data["clamp"] = value and [b if np.isfinite(b) else None for b in value]
        elif isinstance(value, DetectionSpec):
            data[field.name] = dataclasses.asdict(value)
        else:
            data[field.name] = list(value) if isinstance(value, tuple) else value
    return data


def _op_from_json(data: dict[str, Any], arrays: dict[str, np.ndarray]) -> Op:
    fields = dict(data)
    kind = OPS[fields.pop("op")]
    output = fields["output"]
    for name, value in fields.items():
        if isinstance(value, list):
            fields[name] = tuple(value)
    if fields.get("clamp"):
        low, high = fields["clamp"]
        fields["clamp"] = (low, float("inf") if high is None else high)
    if isinstance(fields.get("spec"), dict):
        fields["spec"] = DetectionSpec.from_json(fields["spec"])
    for field in dataclasses.fields(kind):
        stored = f"{output}:{field.name}"
        if field.name == "weight":
            scale = arrays.get(f"{output}:weight_scale")
            fields["weight"] = Weight(values=arrays[stored], scale=scale)
        elif stored in arrays:
            fields[field.name] = arrays[stored]
    op: Op = kind(**fields)
    return op
