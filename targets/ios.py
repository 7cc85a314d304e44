"""Core ML: an ML program in an `.mlpackage`, for iOS 15 and later (int8: iOS 17 and later).

The program is written from the graph by coremltools' builder and passed through none of its
optimizations: there is nothing left to fuse, and they would move quantization away from where the
graph has it (`distributive_quantized_binary_op_scale_normalization` rescales every residual add).

A package takes an image, 8 bits per channel, and gives what a Core ML classifier gives, the label
and the probabilities, and the raw logits beside them.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from exporter.errors import ArtifactError, DataError, UnsupportedError
from exporter.files import size, staged
from exporter.graph import QuantizedGraph
from exporter.metadata import METADATA_KEY, metadata_text, spec_from_text
from exporter.spec import ChannelOrder, ModelSpec, Precision, Preprocess
from exporter.target import (
    CannotRunError,
    Contents,
    DeploymentTarget,
    ExportOptions,
    LayerInfo,
    Runner,
    TensorInfo,
    require,
)
from targets.coreml_sdk import IMAGE, LABEL, LOGITS, PROBABILITIES, coremltools, quiet

if TYPE_CHECKING:
    from targets.mil.package import Package

SUFFIX = ".mlpackage"
BEFORE_INT8 = (DeploymentTarget.IOS15, DeploymentTarget.IOS16)  # quantize came with iOS 17
# Specification version -> the oldest iOS and macOS that read it.
IOS_VERSIONS = {6: 15, 7: 16, 8: 17, 9: 18, 10: 26}
MACOS_VERSIONS = {6: 12, 7: 13, 8: 14, 9: 15, 10: 26}
WEIGHTED = {"conv": "convolution", "linear": "linear"}


def check() -> None:
    """Raise MissingDependencyError without coremltools."""
    require("ios", "coremltools", cure="install mnv2-export again with its dependencies")


def check_options(precision: Precision, options: ExportOptions) -> None:
    """Refuse int8 for an iOS that cannot run it."""
    target = options.deployment_target
    if precision is Precision.INT8 and target in BEFORE_INT8:
        raise UnsupportedError(
            f"Core ML runs int8 activations from iOS 17 on, and the deployment target is {target}",
            "pass --deployment-target iOS17 or later, or export fp16",
        )


def emit(
    graph: QuantizedGraph, precision: Precision, options: ExportOptions, path: Path
) -> tuple[str, ...]:
    """Write the package; `options.deployment_target` decides which program it may be."""
    # int8 programs compute in fp16 between their integers, as the Neural Engine does.
    real = np.float32 if precision is Precision.FP32 else np.float16
    return write(graph, precision, options, path, real)


def write(
    graph: QuantizedGraph,
    precision: Precision,
    options: ExportOptions,
    path: Path,
    real: type[np.floating[Any]],
) -> tuple[str, ...]:
    """`emit` with a choice of the real type: an int8 program typed fp32 is its exact twin."""
    check_options(precision, options)
    if path.suffix != SUFFIX:
        raise UnsupportedError(f"{path.name}: a Core ML package's name must end in {SUFFIX}")
    ct = coremltools()
    from targets.coreml_package import canonicalize
    from targets.coreml_program import build

    opset = getattr(ct.target, options.deployment_target.value)
    labels, notes = class_labels(graph.spec)
    order = graph.spec.preprocess.channel_order
    layout = ct.colorlayout.BGR if order is ChannelOrder.BGR else ct.colorlayout.RGB
    with quiet(), staged(path) as package:
        model = ct.convert(
            build(graph, real, opset),
            source="milinternal",
            convert_to="mlprogram",
            minimum_deployment_target=opset,
            pass_pipeline=ct.PassPipeline.EMPTY,
            inputs=[ct.ImageType(name=IMAGE, shape=graph.input.shape, color_layout=layout)],
            classifier_config=ct.ClassifierConfig(
                labels, predicted_feature_name=LABEL, predicted_probabilities_output=PROBABILITIES
            ),
            skip_model_load=True,
            package_dir=str(package),
        )
        spec = model.get_spec()
        _describe_features(spec.description, graph.spec, precision)
        canonicalize(package, {METADATA_KEY: metadata_text(graph, precision)}, spec)
    return (*notes, *_subnormal_note(graph, real))


def load(path: Path) -> Runner:
    """Check that the package is whole; run it where Core ML is, else raise CannotRunError."""
    package = _read(path)
    spec = _spec(package)
    if spec is None:
        raise ArtifactError(f"{path}: a Core ML package, but not written by this tool")
    if platform.system() != "Darwin":
        raise CannotRunError("Core ML runs on Apple systems only")
    wanted = MACOS_VERSIONS.get(package.spec.specificationVersion, 0)
    if int(platform.mac_ver()[0].split(".")[0]) < wanted:
        raise CannotRunError(f"this package needs macOS {wanted} or later")
    with quiet():
        model = coremltools().models.MLModel(str(path))
    return _Runner(model=model, contract=spec.preprocess)


def describe(path: Path) -> Contents:
    """What the package declares and holds, from its files alone."""
    package = _read(path)
    function, version = package.function, package.spec.specificationVersion
    oldest = IOS_VERSIONS.get(version, f"of specification {version}")
    kinds = Counter(o.type for o in package.operations if o.type != "const")
    return Contents(
        format=f"Core ML ML program, specification {version}",
        size_bytes=size(path),
        inputs=tuple(_feature(f) for f in package.spec.description.input),
        outputs=tuple(_feature(f) for f in package.spec.description.output),
        ops=dict(kinds.most_common()),
        delegation=f"ML program, opset {function.opset} (iOS {oldest}+); "
        "compute units are chosen by the OS",
        layers=tuple(_layers(package)),
        spec=_spec(package),
    )


def class_labels(spec: ModelSpec) -> tuple[list[str], tuple[str, ...]]:
    """Labels that are all different, and a note where that took a change.

    The probabilities are a dictionary by label, so of two classes that share one ("crane", the
    bird and the machine) one would vanish: both get their class number. The metadata and every
    other target keep the labels as they were.
    """
    labels = [spec.label(i) for i in range(spec.classes)]
    shared = {label for label, count in Counter(labels).items() if count > 1}
    unique = [f"{x} (class {i})" if x in shared else x for i, x in enumerate(labels)]
    if len(set(unique)) != len(unique):
        twice = next(x for x, count in Counter(unique).items() if count > 1)
        raise UnsupportedError(
            f"Core ML needs different labels, and {twice!r} remains twice",
            "rename the labels that occur more than once",
        )
    if not shared:
        return unique, ()
    example = next(x for x, label in zip(unique, labels, strict=True) if label in shared)
    return unique, (f"labels that occur twice carry their class number: {example!r}",)


def to_pixels(images: np.ndarray, contract: Preprocess) -> np.ndarray:
    """The 8-bit RGB pixels (n, r, r, 3) of normalized float32 (n, 3, r, r) images.

    Core ML takes pixels and normalizes them itself. Raises DataError for an image that no 8-bit
    pixels normalize to.
    """
    scale, bias = (v.reshape(1, 3, 1, 1) for v in contract.affine())
    codes = np.clip(np.rint((images.astype(np.float64) - bias) / scale), 0, 255)
    if np.abs(codes * scale + bias - images).max(initial=0.0) > 0.01 * scale.max():
        raise DataError("Core ML takes 8-bit pixels, and these images were not made of such")
    pixels = codes.astype(np.uint8).transpose(0, 2, 3, 1)
    bgr = contract.channel_order is ChannelOrder.BGR
    return np.ascontiguousarray(pixels[..., ::-1] if bgr else pixels)


@dataclass(frozen=True, kw_only=True)
class _Runner:
    """macOS only, and never run by this repository's own tests, which have no Mac."""

    model: Any
    contract: Preprocess

    def __call__(self, images: np.ndarray) -> np.ndarray:
        from PIL import Image

        # A PIL image is RGB; Core ML reorders it for a model that declares BGR.
        pictures = [Image.fromarray(p) for p in to_pixels(images, self.contract)]
        logits = [np.asarray(self.model.predict({IMAGE: p})[LOGITS]) for p in pictures]
        return np.concatenate([x.reshape(1, -1) for x in logits]).astype(np.float32)

    def layers(self, images: np.ndarray) -> Mapping[str, np.ndarray]:
        """Empty: Core ML shows nothing but its results."""
        del images
        return {}


def _describe_features(description: Any, spec: ModelSpec, precision: Precision) -> None:
    """The sentences that Xcode shows."""
    side = spec.resolution
    description.metadata.shortDescription = (
        f"MobileNetV2 {spec.width:g} at {side} px, {spec.classes} classes, {precision}"
    )
    sentences = {
        IMAGE: f"{side} x {side} pixels, resized and cropped as the metadata says",
        LABEL: "The most probable label",
        f"{LABEL}_probs": "The probability of every label",
        LOGITS: "One number per class, in the order of the labels; softmax makes probabilities",
    }
    for feature in (*description.input, *description.output):
        feature.shortDescription = sentences[feature.name]


def _subnormal_note(graph: QuantizedGraph, real: type[np.floating[Any]]) -> Iterator[str]:
    from targets.coreml_program import subnormal_channels

    if real is not np.float16 or not graph.quantized:
        return
    count, worst = subnormal_channels(graph)
    if worst >= 0.5:  # of one int8 step: less than that is lost in rounding anyway
        yield (
            f"{count} channels have weight scales below fp16's normal range: on hardware that "
            f"takes those for zero an activation can change by up to {worst:.1f} int8 steps"
        )


def _read(path: Path) -> Package:
    coremltools()
    from targets.mil.package import read_package

    return read_package(path)


def _spec(package: Package) -> ModelSpec | None:
    return spec_from_text(package.spec.description.metadata.userDefined.get(METADATA_KEY))


def _feature(feature: Any) -> TensorInfo:
    from coremltools.proto import FeatureTypes_pb2 as types

    kind, held = feature.type.WhichOneof("Type"), feature.type
    if kind == "imageType":
        image = held.imageType
        color = types.ImageFeatureType.ColorSpace.Name(image.colorSpace)
        shape = (image.height, image.width, 3)
        note = "image; the program normalizes it"
        return TensorInfo(name=feature.name, shape=shape, dtype=f"uint8 {color}", note=note)
    if kind == "multiArrayType":
        array = held.multiArrayType
        dtype = types.ArrayFeatureType.ArrayDataType.Name(array.dataType).lower()
        return TensorInfo(name=feature.name, shape=tuple(array.shape), dtype=dtype)
    dtype = "string" if kind == "stringType" else "dictionary of string to float64"
    return TensorInfo(name=feature.name, shape=(), dtype=dtype)


def _layers(package: Package) -> Iterator[LayerInfo]:
    """Convolutions and linear layers with the bytes of their constants."""
    from targets.coreml_program import graph_name
    from targets.mil.package import constant_bytes

    for operation in package.operations:
        if operation.type in WEIGHTED:
            constants = (package.source(operation, k) for k in ("weight", "bias"))
            yield LayerInfo(
                name=graph_name(operation.outputs[0].name),
                op=WEIGHTED[operation.type],
                size_bytes=sum(map(constant_bytes, constants)),
            )
