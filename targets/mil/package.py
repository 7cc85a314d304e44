"""A `.mlpackage` on disk, read and checked whole.

Core ML itself looks into a package only when an app loads it, so a reader here follows every
reference first: manifest to model, model to weight file, each constant to bytes of its size.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from coremltools.proto import Model_pb2
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from exporter.errors import ArtifactError
from targets.mil.values import from_bytes, immediate, read_blob, stored_bytes

MANIFEST = "Manifest.json"
DATA = "Data"
MODEL_PATH = "@model_path/"  # in a program: the folder of the model file
MAIN = "main"
CONSTANT = "const"
DETECTOR = ["mlProgram", "nonMaximumSuppression"]  # the parts of a pipeline that is read
LARGEST_MANIFEST = 1 << 20
LARGEST_MODEL = 1 << 30  # of the model file, which holds the program; weights are beside it
# What reading JSON that anyone may have written can raise.
MALFORMED = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)


@dataclass(frozen=True, kw_only=True)
class Package:
    """A package that was read and found whole."""

    path: Path
    spec: Any  # Model_pb2.Model, the ML program
    model_path: Path
    pipeline: Any = None  # Model_pb2.Model of a detector, whose boxes are suppressed afterwards

    @property
    def model(self) -> Any:
        """What the model file holds: the program, or the pipeline around it."""
        return self.spec if self.pipeline is None else self.pipeline

    @property
    def suppression(self) -> Any:
        """The pipeline's non-maximum suppression; None of a program that stands alone."""
        return None if self.pipeline is None else self.pipeline.pipeline.models[1]

    @property
    def metadata(self) -> Mapping[str, str]:
        """What writers left for readers."""
        return dict(self.model.description.metadata.userDefined)

    @property
    def function_name(self) -> str:
        """The function that an app gets which asks for none by name."""
        return self.spec.description.defaultFunctionName or MAIN

    @property
    def description(self) -> Any:
        """What that function takes and gives; of several functions each declares its own."""
        description = self.spec.description
        named = (f for f in description.functions if f.name == self.function_name)
        return next(named, description)

    @property
    def function(self) -> Any:
        """The program's function of that name."""
        return self.spec.mlProgram.functions[self.function_name]

    @property
    def block(self) -> Any:
        """Its one block: the operations, and the names of what it gives."""
        return self.function.block_specializations[self.function.opset]

    @property
    def operations(self) -> list[Any]:
        """The operations in order, constants among them."""
        return list(self.block.operations)

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
        """A tensor of numbers as an array, read from the weight file where it is there."""
        if value.WhichOneof("value") == "blobFileValue":
            return from_bytes(_blob(self, value), value.type)
        return immediate(value)


def read_package(path: Path) -> Package:
    """Raises ArtifactError for a package that is missing, damaged or not an ML program."""
    if not path.is_dir():
        raise ArtifactError(f"{path}: no such package" if not path.exists() else f"{path}: a file")
    model_path = _model_path(path)
    spec = Model_pb2.Model()
    try:
        if model_path.stat().st_size > LARGEST_MODEL:
            raise ArtifactError(f"{path}: {model_path.name} is larger than any ML program")
        spec.ParseFromString(model_path.read_bytes())
    except (DecodeError, OSError) as error:
        raise ArtifactError(f"{path}: damaged {model_path.name} ({error})") from None
    package = _opened(path, spec, model_path)
    _check_kind(package)
    _check_suppression(package)
    for function in package.spec.mlProgram.functions.values():
        _check_function(package, function)
    return package


def _opened(path: Path, model: Any, model_path: Path) -> Package:
    """A pipeline is looked into where it is that of a detector."""
    parts = model.pipeline.models if model.WhichOneof("Type") == "pipeline" else []
    if [part.WhichOneof("Type") for part in parts] != DETECTOR:
        return Package(path=path, spec=model, model_path=model_path)
    return Package(path=path, spec=parts[0], model_path=model_path, pipeline=model)


def _check_suppression(package: Package) -> None:
    """It must read what the program gives."""
    if package.suppression is None:
        return
    nms = package.suppression.nonMaximumSuppression
    read = {nms.confidenceInputFeatureName, nms.coordinatesInputFeatureName}
    if len(read) != 2 or not read <= {f.name for f in package.spec.description.output}:
        raise ArtifactError(f"{package.path}: damaged pipeline, nothing gives what it suppresses")


def _check_kind(package: Package) -> None:
    kind = package.spec.WhichOneof("Type")
    if kind != "mlProgram":
        raise ArtifactError(
            f"{package.path}: not an ML program, {f'but a {kind} model' if kind else 'but empty'}",
            "convert it again with coremltools' convert_to='mlprogram'" if kind else "",
        )
    if package.function_name not in package.spec.mlProgram.functions:
        raise ArtifactError(f"{package.path}: it has no function {package.function_name!r}")


def _check_function(package: Package, function: Any) -> None:
    if function.opset not in function.block_specializations:
        raise ArtifactError(f"{package.path}: no program for its opset {function.opset!r}")
    block = function.block_specializations[function.opset]
    inputs = [value.name for value in function.inputs]
    _check_block(package, block, set(inputs))
    results = [out.name for operation in block.operations for out in operation.outputs]
    if len({*inputs, *results}) != len(inputs) + len(results):  # who reads one could go in circles
        raise ArtifactError(f"{package.path}: damaged program, a value is written twice")


def _check_block(package: Package, block: Any, written: set[str]) -> None:
    """`written` are the values from outside; a block inside an operation reads them too."""
    for operation in block.operations:
        _check_operation(package, operation, written)
        for inner in operation.blocks:
            _check_block(package, inner, written | {value.name for value in inner.inputs})
        written.update(out.name for out in operation.outputs)
    if not written.issuperset(block.outputs):
        raise ArtifactError(f"{package.path}: damaged program, nothing writes one of its outputs")


def constant_bytes(constant: Any) -> int:
    """Bytes that a `const` or a `constexpr_*` operation stores."""
    return sum(stored_bytes(v.type) for v in values(constant) if v.type.HasField("tensorType"))


def _model_path(path: Path) -> Path:
    file = _inside(path, path, MANIFEST)
    try:
        if file.stat().st_size > LARGEST_MANIFEST:
            raise ArtifactError(f"{path}: {MANIFEST} is larger than any manifest")
        manifest = json.loads(file.read_text())
        entries = manifest["itemInfoEntries"]
        root = str(entries[manifest["rootModelIdentifier"]]["path"])
        named = [str(entry["path"]) for entry in entries.values()]
    except MALFORMED as error:
        raise ArtifactError(f"{path}: damaged {MANIFEST} ({error!r})") from None
    for name in named:
        _inside(path, path / DATA, name)
    return _inside(path, path / DATA, root)


def _inside(package: Path, folder: Path, name: str) -> Path:
    """An existing path below `folder`; a package must not reach out of itself."""
    relative = PurePosixPath(name)
    file = folder / relative
    try:
        within, exists = file.resolve().is_relative_to(package.resolve()), file.exists()
        plain = file.is_file() or file.is_dir()
    except (OSError, ValueError) as error:  # a zero byte, a name longer than any file's
        raise ArtifactError(f"{package}: refers to {name[:80]!r} ({error})") from None
    if relative.is_absolute() or ".." in relative.parts or not within:
        raise ArtifactError(f"{package}: refers to {name!r}, outside of itself")
    if not exists:
        raise ArtifactError(f"{package}: {name} is missing")
    if not plain:  # reading a pipe would never end
        raise ArtifactError(f"{package}: {name} is no file")
    return file


def _check_operation(package: Package, operation: Any, written: set[str]) -> None:
    if operation.type == CONSTANT:
        declared = [out.type for out in operation.outputs]
        if declared != [operation.attributes["val"].type]:
            names = ", ".join(repr(out.name) for out in operation.outputs)
            raise ArtifactError(
                f"{package.path}: damaged program, the constant {names} is declared to be of "
                "another type or shape than it has"
            )
    if twice := set(operation.attributes) & set(operation.inputs):
        raise ArtifactError(
            f"{package.path}: damaged program, a {operation.type!r} has {twice.pop()!r} twice"
        )
    for name, argument in operation.inputs.items():
        read = [b.name for b in argument.arguments if b.WhichOneof("binding") == "name"]
        if not argument.arguments or not written.issuperset(read):
            raise ArtifactError(
                f"{package.path}: damaged program, nothing writes the {name!r} of a "
                f"{operation.type!r} ({', '.join(map(repr, read))})"
            )
    for value in values(operation):
        if value.WhichOneof("value") == "blobFileValue":
            _blob(package, value)


def values(operation: Any) -> Iterator[Any]:
    """Constants that an operation holds: attributes, and inputs bound to a value."""
    yield from operation.attributes.values()
    for argument in operation.inputs.values():
        yield from (b.value for b in argument.arguments if b.WhichOneof("binding") == "value")


def _blob(package: Package, value: Any) -> bytes:
    """The bytes of a constant in its weight file, which must be as many as its type has."""
    blob = value.blobFileValue
    if not blob.fileName.startswith(MODEL_PATH):
        raise ArtifactError(f"{package.path}: refers to {blob.fileName!r}, outside of itself")
    name = blob.fileName.removeprefix(MODEL_PATH)
    file = _inside(package.path, package.model_path.parent, name)
    try:
        return read_blob(file, blob.offset, stored_bytes(value.type))
    except ArtifactError as error:
        raise ArtifactError(f"{package.path}: {error.message}", error.hint) from None
