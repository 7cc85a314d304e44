"""What `inspect` shows of a Core ML package: its interface, operations and findings."""

from __future__ import annotations

from collections import Counter
from typing import Any

from coremltools.proto import FeatureTypes_pb2 as types

from exporter.files import size
from exporter.metadata import METADATA_KEY, spec_from_text
from exporter.target import Contents, TensorInfo
from targets.mil.lint import lint
from targets.mil.package import Package
from targets.mil.summary import declared_features, layers, particulars, requirement

# Names of what a feature may be besides images and arrays.
FEATURES = {
    "stringType": "string",
    "int64Type": "int64",
    "doubleType": "float64",
    "dictionaryType": "dictionary of label to float64",
    "sequenceType": "sequence",
    "stateType": "state",
}


def contents_of(package: Package) -> Contents:
    """From its files alone; a pipeline is shown as an app sees it."""
    inputs, outputs = declared_features(package)
    kinds = Counter(o.type for o in package.operations if o.type != "const")
    held = "ML program"
    if package.suppression is not None:
        held = "pipeline of an ML program and non-maximum suppression"
        kinds["nonMaximumSuppression"] += 1
    return Contents(
        format=f"Core ML {held}, specification {package.spec.specificationVersion}",
        size_bytes=size(package.path),
        inputs=tuple(feature_info(f) for f in inputs),
        outputs=tuple(feature_info(f) for f in outputs),
        ops=dict(kinds.most_common()),
        delegation=f"ML program, {requirement(package)}; compute units are chosen by the OS"
        + ("" if package.suppression is None else "; boxes are suppressed after it"),
        layers=tuple(layers(package)),
        spec=spec_from_text(package.metadata.get(METADATA_KEY)),
        notes=particulars(package),
        findings=lint(package),
    )


def feature_info(feature: Any) -> TensorInfo:
    """An input or output that a model describes."""
    kind, held = feature.type.WhichOneof("Type"), feature.type
    if kind == "imageType":
        image = held.imageType
        color = _enum_name(types.ImageFeatureType.ColorSpace, image.colorSpace)
        shape = (image.height, image.width, 3)
        note = "image; the program normalizes it"
        return TensorInfo(name=feature.name, shape=shape, dtype=f"uint8 {color}", note=note)
    if kind == "multiArrayType":
        array = held.multiArrayType
        dtype = _enum_name(types.ArrayFeatureType.ArrayDataType, array.dataType).lower()
        ranges = array.shapeRange.sizeRanges
        shape = tuple(array.shape) or tuple(_size(r) for r in ranges)
        return TensorInfo(name=feature.name, shape=shape, dtype=dtype)
    note = "optional" if held.isOptional else ""
    return TensorInfo(name=feature.name, shape=(), dtype=FEATURES.get(kind, kind), note=note)


def _size(bounds: Any) -> int | str:
    """A dimension that is one number only, or a name for it."""
    return int(bounds.lowerBound) if bounds.lowerBound == bounds.upperBound else "n"


def _enum_name(kind: Any, number: int) -> str:
    """A name of the file format, or the number that it does not know."""
    return kind.Name(number) if number in kind.values() else f"type {number}"
