"""A `.mlpackage` on disk: made canonical when written, checked whole when read.

Written twice, the same model is the same bytes: the package's identifiers come from its paths
instead of a random source, the conversion date is left out, protobuf maps are ordered.

Core ML itself looks into a package only when an app loads it, so a reader here follows every
reference first: manifest to model, model to weight file, each constant to bytes of its size.
"""

from __future__ import annotations

import json
import math
import struct
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from coremltools.proto import MIL_pb2, Model_pb2
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from exporter.errors import ArtifactError

MANIFEST = "Manifest.json"
DATA = "Data"
DATE = "com.github.apple.coremltools.conversion_date"
MODEL_PATH = "@model_path/"  # in a program: the folder of the model file
# MIL data type -> numpy type, and the field that holds an immediate value of it.
TYPES = {
    MIL_pb2.FLOAT32: (np.float32, "floats"),
    MIL_pb2.FLOAT16: (np.float16, "bytes"),
    MIL_pb2.INT32: (np.int32, "ints"),
    MIL_pb2.INT8: (np.int8, "bytes"),
    MIL_pb2.UINT8: (np.uint8, "bytes"),
    MIL_pb2.BOOL: (np.bool_, "bools"),
}
# A blob's header in a weight file (coremltools' mlmodel/src/MILBlob/Blob/StorageFormat.hpp):
# sentinel, data type, size of the data in bytes, offset of the data from the start of the file.
BLOB = struct.Struct("<IIQQ")
BLOB_SENTINEL = 0xDEADBEEF


@dataclass(frozen=True, kw_only=True)
class Package:
    """A package that was read and found whole."""

    path: Path
    spec: Any  # Model_pb2.Model
    model_path: Path

    @property
    def function(self) -> Any:
        """The one function of the program."""
        return self.spec.mlProgram.functions["main"]

    @property
    def operations(self) -> list[Any]:
        """Its operations in order, constants among them."""
        return list(self.function.block_specializations[self.function.opset].operations)

    @cached_property
    def producers(self) -> Mapping[str, Any]:
        """Value name -> the operation that writes it."""
        return {out.name: op for op in self.operations for out in op.outputs}

    def source(self, operation: Any, name: str) -> Any:
        """The operation that writes one input of another."""
        source = None
        if name in operation.inputs:
            source = self.producers.get(operation.inputs[name].arguments[0].name)
        if source is None:
            raise ArtifactError(f"{self.path}: damaged program, a {operation.type} has no {name}")
        return source

    def constant(self, operation: Any, name: str) -> np.ndarray:
        """The numbers that an input or attribute of an operation is bound to."""
        if name in operation.attributes:
            return self.decode(operation.attributes[name])
        binding = operation.inputs[name].arguments[0]
        if binding.WhichOneof("binding") == "value":
            return self.decode(binding.value)
        return self.decode(self.producers[binding.name].attributes["val"])

    def decode(self, value: Any) -> np.ndarray:
        """A MIL value as an array, read from the weight file where it is there."""
        dtype, field = TYPES[value.type.tensorType.dataType]
        if value.WhichOneof("value") == "blobFileValue":
            held: Any = _blob(self, value)
        else:
            held = getattr(value.immediateValue.tensor, field).values
        array: np.ndarray
        array = np.frombuffer(held, dtype) if isinstance(held, bytes) else np.array(held, dtype)
        return array.reshape(_shape(value.type))


def canonicalize(path: Path, metadata: Mapping[str, str], spec: Any) -> None:
    """Rewrite a fresh package's manifest, and its model file with `spec` plus user metadata.

    Its files become readable as other files are; coremltools copies them from private temporaries.
    """
    manifest_path = path / MANIFEST
    manifest = json.loads(manifest_path.read_text())
    entries, root = manifest["itemInfoEntries"], manifest["rootModelIdentifier"]
    renamed = {old: str(uuid.uuid5(uuid.NAMESPACE_URL, e["path"])) for old, e in entries.items()}
    manifest["itemInfoEntries"] = {renamed[old]: entry for old, entry in entries.items()}
    manifest["rootModelIdentifier"] = renamed[root]
    manifest_path.write_text(json.dumps(manifest, indent=4, sort_keys=True) + "\n")
    spec.description.metadata.userDefined.pop(DATE, None)
    spec.description.metadata.userDefined.update(metadata)
    model = path / DATA / entries[root]["path"]
    model.write_bytes(spec.SerializeToString(deterministic=True))
    for file in path.rglob("*"):
        file.chmod(0o755 if file.is_dir() else 0o644)


def read_package(path: Path) -> Package:
    """Raises ArtifactError for a package that is missing, damaged or not an ML program."""
    if not path.is_dir():
        raise ArtifactError(f"{path}: no such package" if not path.exists() else f"{path}: a file")
    model_path = _model_path(path)
    spec = Model_pb2.Model()
    try:
        spec.ParseFromString(model_path.read_bytes())
    except (DecodeError, OSError) as error:
        raise ArtifactError(f"{path}: damaged {model_path.name} ({error})") from None
    if spec.WhichOneof("Type") != "mlProgram" or "main" not in spec.mlProgram.functions:
        raise ArtifactError(f"{path}: not an ML program")
    package = Package(path=path, spec=spec, model_path=model_path)
    if package.function.opset not in package.function.block_specializations:
        raise ArtifactError(f"{path}: no program for its opset {package.function.opset!r}")
    written = {value.name for value in package.function.inputs}
    for operation in package.operations:
        _check_operation(package, operation, written)
        written.update(out.name for out in operation.outputs)
    return package


def constant_bytes(constant: Any) -> int:
    """Bytes that a `const` or a `constexpr_*` operation stores."""
    return sum(value_bytes(v.type) for v in _values(constant) if v.type.HasField("tensorType"))


def value_bytes(value_type: Any) -> int:
    """Size of a tensor of a MIL type; strings, such as names, count as nothing."""
    tensor = value_type.tensorType
    dtype, _ = TYPES.get(tensor.dataType, (None, ""))
    return 0 if dtype is None else math.prod(_shape(value_type)) * np.dtype(dtype).itemsize


def _model_path(path: Path) -> Path:
    try:
        manifest = json.loads((path / MANIFEST).read_text())
        entries = manifest["itemInfoEntries"]
        root = entries[manifest["rootModelIdentifier"]]["path"]
        named = [entry["path"] for entry in entries.values()]
    except FileNotFoundError:
        raise ArtifactError(f"{path}: {MANIFEST} is missing") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{path}: damaged {MANIFEST} ({error!r})") from None
    for name in named:
        _inside(path, path / DATA, name)
    return _inside(path, path / DATA, root)


def _inside(package: Path, folder: Path, name: str) -> Path:
    """An existing path below `folder`; a package must not reach out of itself."""
    relative = PurePosixPath(name)
    file = folder / relative
    within = file.resolve().is_relative_to(package.resolve())
    if relative.is_absolute() or ".." in relative.parts or not within:
        raise ArtifactError(f"{package}: refers to {name!r}, outside of itself")
    if not file.exists():
        raise ArtifactError(f"{package}: {name} is missing")
    return file


def _check_operation(package: Package, operation: Any, written: set[str]) -> None:
    for name, argument in operation.inputs.items():
        read = [b.name for b in argument.arguments if b.WhichOneof("binding") == "name"]
        if not argument.arguments or not written.issuperset(read):
            raise ArtifactError(
                f"{package.path}: damaged program, nothing writes the {name!r} of a "
                f"{operation.type!r} ({', '.join(map(repr, read))})"
            )
    for value in _values(operation):
        if value.WhichOneof("value") == "blobFileValue":
            _blob(package, value)


def _values(operation: Any) -> Iterator[Any]:
    """Constants that an operation holds: attributes, and inputs bound to a value."""
    yield from operation.attributes.values()
    for argument in operation.inputs.values():
        yield from (b.value for b in argument.arguments if b.WhichOneof("binding") == "value")


def _shape(value_type: Any) -> tuple[int, ...]:
    return tuple(int(d.constant.size) for d in value_type.tensorType.dimensions)


def _blob(package: Package, value: Any) -> bytes:
    """The bytes of a constant in its weight file, which must be as many as its type has."""
    blob, wanted = value.blobFileValue, value_bytes(value.type)
    if not blob.fileName.startswith(MODEL_PATH):
        raise ArtifactError(f"{package.path}: refers to {blob.fileName!r}, outside of itself")
    name = blob.fileName.removeprefix(MODEL_PATH)
    file = _inside(package.path, package.model_path.parent, name)
    try:
        with file.open("rb") as weights:
            weights.seek(blob.offset)
            sentinel, _, count, start = BLOB.unpack(weights.read(BLOB.size))
            weights.seek(start)
            data = weights.read(wanted)
    except (OSError, OverflowError, ValueError, struct.error):
        sentinel, count, data = 0, 0, b""
    if sentinel != BLOB_SENTINEL or not count == wanted == len(data):
        raise ArtifactError(f"{package.path}: {name} is damaged or truncated at {blob.offset}")
    return data
