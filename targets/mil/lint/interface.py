"""Whether what a package declares to an app is what its program takes and gives (ML105)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from coremltools.proto import FeatureTypes_pb2

from exporter.findings import Finding
from targets.mil.lint.findings import found, listed
from targets.mil.lint.flow import Flow, dimensions, type_name

ARRAYS = FeatureTypes_pb2.ArrayFeatureType
IMAGES = FeatureTypes_pb2.ImageFeatureType
ARRAY_TYPES = {  # a double array is converted; the others are what they are
    ARRAYS.FLOAT32: ("fp32",),
    ARRAYS.DOUBLE: ("fp32", "fp64"),
    ARRAYS.INT32: ("int32",),
    ARRAYS.FLOAT16: ("fp16",),
    ARRAYS.INT8: ("int8",),
}
CHANNELS = {IMAGES.RGB: 3, IMAGES.BGR: 3, IMAGES.GRAYSCALE: 1, IMAGES.GRAYSCALE_FLOAT16: 1}


def features(flow: Flow) -> tuple[list[Any], list[Any]]:
    """Declared inputs and outputs of a function; of several functions each declares its own."""
    description = flow.package.spec.description
    for held in description.functions:
        if held.name == flow.name:
            return [*held.input, *held.state], list(held.output)
    return [*description.input, *description.state], list(description.output)


def interface_findings(flow: Flow) -> Iterator[Finding]:
    """Names first, then the shape and element type of each."""
    inputs, outputs = features(flow)
    taken = {value.name: value.type for value in flow.function.inputs}
    results = {name: kind for node in flow.nodes for name, kind in node.outputs()}
    given = {name: results.get(name, taken.get(name)) for name in flow.block.outputs}
    yield from _compare("input", inputs, taken)
    yield from _compare("output", outputs, given)


def _compare(side: str, declared: list[Any], held: Mapping[str, Any]) -> Iterator[Finding]:
    names = [feature.name for feature in declared]
    if missing := [name for name in names if name not in held]:
        yield found("ML105", f"the program has no {side} {listed(missing)}")
    if silent := [name for name in held if name not in names]:
        yield found("ML105", f"{side} {listed(silent)} of the program is not declared")
    for feature in declared:
        if (value := held.get(feature.name)) is not None:
            for reason in _differences(feature.type, value):
                yield found("ML105", f"{side} {feature.name!r}: {reason}")


def _differences(declared: Any, value: Any) -> Iterator[str]:
    """Why a declared feature is not the program's value; strings and dictionaries pass."""
    kind, shape, dtype = declared.WhichOneof("Type"), dimensions(value), type_name(value)
    if kind == "stateType":
        kind, declared = "multiArrayType", declared.stateType
        declared = _as_feature(declared.arrayType)
    if kind == "imageType":
        yield from _image_differences(declared.imageType, shape, dtype)
    elif kind == "multiArrayType":
        array = declared.multiArrayType
        accepted = ARRAY_TYPES.get(array.dataType, (dtype,))
        if dtype not in accepted:
            yield f"declared {ARRAYS.ArrayDataType.Name(array.dataType)}, {dtype} in the program"
        flexible = array.WhichOneof("ShapeFlexibility") is not None
        if array.shape and not flexible and not _fits(tuple(array.shape), shape):
            yield f"declared {list(array.shape)}, {_text(shape)} in the program"


def _as_feature(array: Any) -> Any:
    feature = FeatureTypes_pb2.FeatureType()
    feature.multiArrayType.CopyFrom(array)
    return feature


def _image_differences(image: Any, shape: tuple[int | None, ...], dtype: str) -> Iterator[str]:
    color = IMAGES.ColorSpace.Name(image.colorSpace)
    if dtype not in ("fp32", "fp16"):
        yield f"an image, {dtype or 'no tensor'} in the program"
    fixed = image.WhichOneof("SizeFlexibility") is None
    size = (image.height, image.width) if fixed else (None, None)
    expected = (1, CHANNELS.get(image.colorSpace), *size)
    if len(shape) != 4 or not _fits(expected, shape):
        yield f"a {color} image {image.width} wide, {image.height} high, {_text(shape)} inside"


def _fits(declared: tuple[int | None, ...], shape: tuple[int | None, ...]) -> bool:
    if len(declared) != len(shape):
        return False
    return all(None in pair or len(set(pair)) == 1 for pair in zip(declared, shape, strict=True))


def _text(shape: tuple[int | None, ...]) -> str:
    return "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"
