"""Two programs compared: what ships, and its twin that computes in float32.

A program in fp16 cannot be held to the last bit of its results, but it can be held to its twin: the
same operations, wired the same way, over constants that are the twin's, halved where they are real
and byte for byte where they are integers. What is then proved of the twin's results is proved of
the program and the weights that ship; what remains is the rounding of fp16.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from coremltools.proto import MIL_pb2

from exporter.errors import ExportError
from targets.mil.package import CONSTANT, Package
from targets.mil.values import element_type

FLOATS = (MIL_pb2.FLOAT16, MIL_pb2.FLOAT32)
CAST = "cast"


@dataclass(kw_only=True)
class Comparison:
    """What was compared, and every difference in a few words."""

    operations: int = 0
    constants: int = 0
    differences: list[str] = field(default_factory=list)


def compare(shipped: Package, twin: Package) -> Comparison:
    """Compare two packages from disk; casts between float types are looked through."""
    found = Comparison()
    found.differences += _interface(shipped, twin)
    ours, theirs = _Flow(package=shipped), _Flow(package=twin)
    for a, b in zip(ours.computing, theirs.computing, strict=False):
        if a.type != b.type:
            where = a.outputs[0].name
            found.differences.append(f"{where} is a {a.type}, the twin has a {b.type} there")
            return found
        found.operations += 1
        found.differences += _operation(found, ours, theirs, a, b)
    if len(ours.computing) != len(theirs.computing):
        counts = f"{len(ours.computing)} operations, the twin has {len(theirs.computing)}"
        found.differences.append(f"the program has {counts}")
    results = [[flow.named(name) for name in flow.package.block.outputs] for flow in (ours, theirs)]
    if results[0] != results[1]:
        found.differences.append("the program gives other values")
    return found


TOOLS = "com.github.apple."  # prefix of metadata that names versions of converters


def file_differences(shipped: Package, again: Package) -> list[str]:
    """What of a package is not byte for byte that of another, writers' versions aside."""
    wrong = []
    files = [_other_files(package) for package in (shipped, again)]
    for name in sorted(files[0].keys() | files[1].keys()):
        held = [side[name].read_bytes() if name in side else None for side in files]
        if held[0] != held[1]:
            wrong.append(f"{name} is not what the graph gives")
    if _plain(shipped) != _plain(again):
        wrong.append(f"{shipped.model_path.name} is not what the graph gives")
    return wrong


def _other_files(package: Package) -> dict[str, Path]:
    """All files but the model's own, by their path inside the package."""
    files = (file for file in package.path.rglob("*") if not file.is_dir())
    return {
        file.relative_to(package.path).as_posix(): file
        for file in files
        if file != package.model_path
    }


def _plain(package: Package) -> bytes:
    """The model file's contents without what a converter says of itself."""
    spec = type(package.model)()
    spec.CopyFrom(package.model)
    for key in [k for k in spec.description.metadata.userDefined if k.startswith(TOOLS)]:
        del spec.description.metadata.userDefined[key]
    return _text(spec)


class _Flow:
    """A program without its constants and casts; values are numbered in the order of writing."""

    def __init__(self, *, package: Package) -> None:
        self.package = package
        self.computing: list[Any] = []
        self.numbers: dict[str, tuple[int, int]] = {
            value.name: (-1, index) for index, value in enumerate(package.function.inputs)
        }
        for operation in package.operations:
            if self._is_float_cast(operation):
                source = operation.inputs["x"].arguments[0].name
                self.numbers[operation.outputs[0].name] = self.numbers[source]
            elif operation.type != CONSTANT:
                for index, out in enumerate(operation.outputs):
                    self.numbers[out.name] = (len(self.computing), index)
                self.computing.append(operation)

    def _is_float_cast(self, operation: Any) -> bool:
        if operation.type != CAST or operation.inputs["x"].arguments[0].name not in self.numbers:
            return False
        source = operation.inputs["x"].arguments[0].name
        producer = self.package.producers.get(source)
        if producer is None:
            inputs = {value.name: value for value in self.package.function.inputs}
            declared = inputs[source]
        else:
            declared = next(out for out in producer.outputs if out.name == source)
        types = (v.type.tensorType.dataType for v in (declared, operation.outputs[0]))
        return all(data_type in FLOATS for data_type in types)

    def named(self, name: str) -> tuple[int, int] | None:
        """The number of a value that is computed; None for a constant."""
        return self.numbers.get(name)

    def values(self, operation: Any, key: str) -> list[tuple[int, int] | Any]:
        """What an input is bound to: numbers of values, or the MIL constants themselves."""
        if key in operation.attributes:
            return [operation.attributes[key]]
        bound = []
        for binding in operation.inputs[key].arguments:
            if binding.WhichOneof("binding") == "value":
                bound.append(binding.value)
            elif binding.name in self.numbers:
                bound.append(self.numbers[binding.name])
            else:
                bound.append(self.package.producers[binding.name].attributes["val"])
        return bound


def _interface(shipped: Package, twin: Package) -> Iterator[str]:
    """Everything outside the program: inputs, outputs, metadata, versions."""
    for name in ("specificationVersion", "isUpdatable"):
        if getattr(shipped.spec, name) != getattr(twin.spec, name):
            yield f"{name} is {getattr(shipped.spec, name)}, not {getattr(twin.spec, name)}"
    if shipped.function.opset != twin.function.opset:
        yield f"the opset is {shipped.function.opset}, not {twin.function.opset}"
    functions = [sorted(package.spec.mlProgram.functions) for package in (shipped, twin)]
    if functions[0] != functions[1]:
        yield f"the functions are {functions[0]}, not {functions[1]}"
    descriptions = [package.spec.description for package in (shipped, twin)]
    for a, b in zip(
        (*descriptions[0].input, *descriptions[0].output),
        (*descriptions[1].input, *descriptions[1].output),
        strict=False,
    ):
        if a != b:
            yield f"the model describes {a.name!r} differently"
    held = [
        {k: v for k, v in package.metadata.items() if TOOLS not in k} for package in (shipped, twin)
    ]
    if held[0] != held[1]:
        yield "the metadata differs"
    if shipped.suppression != twin.suppression:
        yield "the suppression of boxes differs"
    inputs = [[_declared(v) for v in package.function.inputs] for package in (shipped, twin)]
    if inputs[0] != inputs[1]:
        yield "the program's inputs differ"


def _operation(found: Comparison, ours: _Flow, theirs: _Flow, a: Any, b: Any) -> Iterator[str]:
    """Differences of two operations of one type."""
    where = f"{a.type} {a.outputs[0].name}"
    keys = [sorted({*op.inputs, *op.attributes} - {"name"}) for op in (a, b)]
    if keys[0] != keys[1]:
        yield f"{where}: has {', '.join(keys[0])}, the twin has {', '.join(keys[1])}"
        return
    for key in keys[0]:
        bound = ours.values(a, key), theirs.values(b, key)
        if len(bound[0]) != len(bound[1]):
            yield f"{where}: {key} has {len(bound[0])} parts, not {len(bound[1])}"
        for x, y in zip(*bound, strict=False):
            if isinstance(x, tuple) or isinstance(y, tuple):
                if x != y:
                    yield f"{where}: {key} is another value than the twin's"
                continue
            found.constants += 1
            if difference := _constant(ours.package, theirs.package, x, y):
                yield f"{where}: {key} {difference}"
    if [_text(block) for block in a.blocks] != [_text(block) for block in b.blocks]:
        yield f"{where}: has other blocks inside"
    for x, y in zip(a.outputs, b.outputs, strict=False):
        if not _halved(_declared(x), _declared(y)):
            yield f"{where}: declares another shape or type"


def _text(message: Any) -> bytes:
    """A message as bytes that equal messages share."""
    text: bytes = message.SerializeToString(deterministic=True)
    return text


def _declared(value: Any) -> tuple[int, bytes]:
    """The element type of a declared value, and all else of its type."""
    declared = type(value.type)()
    declared.CopyFrom(value.type)
    data_type = 0
    if declared.WhichOneof("type") == "tensorType":
        data_type = declared.tensorType.dataType
        declared.tensorType.dataType = 0
    return data_type, _text(declared)


def _halved(a: tuple[int, bytes], b: tuple[int, bytes]) -> bool:
    same_type = a[0] == b[0] or (a[0], b[0]) == (MIL_pb2.FLOAT16, MIL_pb2.FLOAT32)
    return same_type and a[1] == b[1]


def _constant(shipped: Package, twin: Package, a: Any, b: Any) -> str:
    """How a constant differs from the twin's, halved where only the twin is float32."""
    numbers = [v.type.WhichOneof("type") == "tensorType" for v in (a, b)]
    types = [v.type.tensorType.dataType for v in (a, b)]
    if not all(numbers) or MIL_pb2.STRING in types:
        return "" if _text(a) == _text(b) else f"is not the twin's{_first_list_difference(a, b)}"
    try:
        ours, theirs = shipped.decode(a), twin.decode(b)
    except ExportError as error:
        return error.message
    if not _halved((types[0], b""), (types[1], b"")) or ours.shape != theirs.shape:
        kinds = [element_type(t).name for t in types]
        return f"is {kinds[0]} {list(ours.shape)}, the twin's is {kinds[1]} {list(theirs.shape)}"
    with np.errstate(over="ignore"):
        theirs = theirs.astype(ours.dtype)
    different = int((_bits(ours) != _bits(theirs)).sum())
    return f"has {different} of {ours.size} numbers that are not the twin's" if different else ""


def _first_list_difference(a: Any, b: Any) -> str:
    lists = [v.immediateValue.list.values for v in (a, b)]
    texts = [[s for v in held for s in v.immediateValue.tensor.strings.values] for held in lists]
    for index, (x, y) in enumerate(zip(*texts, strict=False)):
        if x != y:
            return f" (number {index} is {x!r}, not {y!r})"
    return ""


def _bits(array: np.ndarray) -> np.ndarray:
    """The same memory as integers: -0.0 is not 0.0, and a NaN is itself."""
    return np.ascontiguousarray(array).reshape(-1).view(f"u{array.dtype.itemsize}")
