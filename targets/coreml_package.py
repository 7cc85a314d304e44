"""A `.mlpackage` written and made canonical: written twice, the same model is the same bytes.

The package's identifiers come from its paths instead of a random source, the conversion date is
left out, protobuf maps are ordered.
"""

from __future__ import annotations

import contextlib
import gc
import json
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from exporter.graph import QuantizedGraph
from exporter.metadata import METADATA_KEY, metadata_text
from exporter.spec import ChannelOrder, ModelSpec, Precision
from targets.coreml_pipeline import (
    CONFIDENCE_THRESHOLD,
    IOU_THRESHOLD,
    native_suppression,
    pipeline,
)
from targets.coreml_program import build
from targets.coreml_sdk import (
    CONFIDENCE,
    COORDINATES,
    IMAGE,
    LABEL,
    LABELS,
    LOGITS,
    PROBABILITIES,
    coremltools,
    quiet,
)
from targets.mil.package import DATA, MANIFEST

DATE = "com.github.apple.coremltools.conversion_date"
PREVIEW = "com.apple.coreml.model.preview.type"
PREVIEW_PARAMETERS = "com.apple.coreml.model.preview.parameters"
SEGMENTED = {
    LOGITS: "One number per class, row and column, in the order of the labels",
    "lowres_logits": "The logits before they are enlarged to the image's size",
    LABELS: "The number of the likeliest class of every pixel",
}
DETECTED = {
    "class_logits": "One number per anchor and class, the background first; sigmoid makes scores",
    "box_offsets": "dx, dy, dw, dh of every anchor",
    "scores": "One score in 0 to 1 per anchor and class, the background first",
    "boxes": "x1, y1, x2, y2 of every anchor, in fractions of the image",
    "detections": "x1, y1, x2, y2, score, class, best first; a score of -1 is no detection",
    CONFIDENCE: "One score in 0 to 1 per box and class, without the background",
    COORDINATES: "Center x, center y, width, height of every box, in fractions of the image",
    IOU_THRESHOLD: "Of two boxes of a class that overlap more, the better one stays",
    CONFIDENCE_THRESHOLD: "Boxes of no higher score are left out",
}


def write_package(
    graph: QuantizedGraph,
    precision: Precision,
    real: type[np.floating[Any]],
    oldest: str,
    labels: list[str] | None,
    path: Path,
    *,
    pixels: bool = True,
) -> None:
    """A model of images; without `pixels`, of normalized tensors. With `labels` a classifier.

    `oldest` is coremltools' name of the oldest system that the package is for.
    """
    ct = coremltools()
    opset = getattr(ct.target, oldest)
    with quiet(), _frozen():
        model = ct.convert(
            build(graph, real, opset, pixels=pixels, classifier=labels is not None),
            source="milinternal",
            convert_to="mlprogram",
            minimum_deployment_target=opset,
            pass_pipeline=ct.PassPipeline.EMPTY,
            inputs=[_input(graph, image=pixels)],
            classifier_config=labels and _classifier(labels),
            skip_model_load=True,
            package_dir=str(path),
        )
        spec = model.get_spec()
        native = native_suppression(graph)
        if native is not None:
            spec = pipeline(spec, native, graph.spec)
        _describe_features(spec.description, graph.spec, precision)
        metadata = {METADATA_KEY: metadata_text(graph, precision)}
        canonicalize(path, metadata | _preview(graph, pixels=pixels), spec)


@contextlib.contextmanager
def _frozen() -> Iterator[None]:
    """`convert` collects garbage, and would look at every object of torch and of itself for it."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _input(graph: QuantizedGraph, *, image: bool) -> Any:
    ct, shape = coremltools(), graph.input.shape
    if not image:
        return ct.TensorType(name=IMAGE, shape=shape, dtype=np.float32)
    order = graph.spec.preprocess.channel_order
    layout = ct.colorlayout.BGR if order is ChannelOrder.BGR else ct.colorlayout.RGB
    return ct.ImageType(name=IMAGE, shape=shape, color_layout=layout)


def _classifier(labels: list[str]) -> Any:
    return coremltools().ClassifierConfig(
        labels, predicted_feature_name=LABEL, predicted_probabilities_output=PROBABILITIES
    )


def _preview(graph: QuantizedGraph, *, pixels: bool) -> dict[str, str]:
    """What Xcode needs to know to draw results on a picture; nothing where it cannot."""
    names = {tensor.name for tensor in graph.outputs}
    if native_suppression(graph) is not None:
        return {PREVIEW: "objectDetector"}
    if not pixels or graph.spec.segmentation is None or not names & {LOGITS, LABELS}:
        return {}
    labels = [graph.spec.label(i) for i in range(graph.spec.classes)]
    return {
        PREVIEW: "imageSegmenter",
        PREVIEW_PARAMETERS: json.dumps({"labels": labels}, separators=(",", ":")),
    }


def _describe_features(description: Any, spec: ModelSpec, precision: Precision) -> None:
    """The sentences that Xcode shows."""
    side = spec.resolution
    description.metadata.shortDescription = (
        f"{spec.network} {spec.width:g} at {side} px, {spec.classes} classes, {precision}"
    )
    pixels = description.input[0].type.WhichOneof("Type") == "imageType"
    sentences = {
        IMAGE: f"{side} x {side} pixels, resized and cropped as the metadata says"
        + ("" if pixels else ", and normalized"),
        LABEL: "The most probable label",
        f"{LABEL}_probs": "The probability of every label",
        LOGITS: "One number per class, in the order of the labels; softmax makes probabilities",
        **(SEGMENTED if spec.segmentation is not None else {}),
        **DETECTED,
    }
    for feature in (*description.input, *description.output):
        feature.shortDescription = sentences[feature.name]


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
