"""A detector as a Core ML pipeline: the ML program, then Core ML's own non-maximum suppression.

Vision makes `VNRecognizedObjectObservation`s of what such a model gives, and an app may change both
thresholds with every call. The suppression takes the best class of every box, where the graph's
takes every class above the threshold.
"""

from __future__ import annotations

from typing import Any

from coremltools.proto import FeatureTypes_pb2, Model_pb2

from exporter.errors import UnsupportedError
from exporter.graph import Nms, QuantizedGraph
from exporter.spec import ModelSpec
from targets.coreml_sdk import CONFIDENCE, COORDINATES, RAW_CONFIDENCE, RAW_COORDINATES

IOU_THRESHOLD, CONFIDENCE_THRESHOLD = "iouThreshold", "confidenceThreshold"
THRESHOLDS = (IOU_THRESHOLD, CONFIDENCE_THRESHOLD)
BOX = 4  # numbers of a box
ANY_NUMBER = -1  # upper bound of how many boxes are left


def native_suppression(graph: QuantizedGraph) -> Nms | None:
    """The suppression that is left to the runtime, where the graph asks for that."""
    return next((op for op in graph.ops if isinstance(op, Nms) and op.native), None)


def pipeline(program: Any, op: Nms, spec: ModelSpec) -> Any:
    """`program` gives raw confidence and coordinates of every anchor; the pipeline what is left."""
    held = {feature.name: feature for feature in program.description.output}
    columns = int(held[RAW_CONFIDENCE].type.multiArrayType.shape[1])
    whole = Model_pb2.Model(specificationVersion=program.specificationVersion)
    suppression = _suppression(op, spec, held, columns)
    suppression.specificationVersion = program.specificationVersion
    whole.pipeline.models.extend([program, suppression])
    whole.pipeline.names.extend(["detector", "suppression"])
    whole.description.input.extend(program.description.input)
    whole.description.input.extend(_thresholds())
    whole.description.output.extend(suppression.description.output)
    return whole


def _suppression(op: Nms, spec: ModelSpec, held: dict[str, Any], columns: int) -> Any:
    model = Model_pb2.Model()
    model.description.input.extend([held[RAW_CONFIDENCE], held[RAW_COORDINATES], *_thresholds()])
    for name, width in ((CONFIDENCE, columns), (COORDINATES, BOX)):
        _array_of_rows(model.description.output.add(name=name), width)
    nms = model.nonMaximumSuppression
    nms.pickTop.perClass = True
    nms.stringClassLabels.vector.extend(box_labels(spec, columns))
    nms.iouThreshold = op.spec.iou_threshold
    nms.confidenceThreshold = op.spec.score_threshold
    nms.confidenceInputFeatureName = RAW_CONFIDENCE
    nms.coordinatesInputFeatureName = RAW_COORDINATES
    nms.iouThresholdInputFeatureName = IOU_THRESHOLD
    nms.confidenceThresholdInputFeatureName = CONFIDENCE_THRESHOLD
    nms.confidenceOutputFeatureName = CONFIDENCE
    nms.coordinatesOutputFeatureName = COORDINATES
    return model


def _thresholds() -> list[Any]:
    """Optional numbers; the model's own apply where an app gives none."""
    features = []
    for name in THRESHOLDS:
        feature = Model_pb2.FeatureDescription(name=name)
        feature.type.isOptional = True
        feature.type.doubleType.SetInParent()
        features.append(feature)
    return features


def _array_of_rows(feature: Any, width: int) -> None:
    """Any number of rows of a fixed width."""
    array = feature.type.multiArrayType
    array.dataType = FeatureTypes_pb2.ArrayFeatureType.FLOAT32
    array.shapeRange.sizeRanges.add(lowerBound=0, upperBound=ANY_NUMBER)
    array.shapeRange.sizeRanges.add(lowerBound=width, upperBound=width)


def box_labels(spec: ModelSpec, columns: int) -> list[str]:
    """One different label per column: the classes without the background, then unused ones."""
    labels = [spec.label(i) for i in range(1, spec.classes)]
    labels += [f"unused {i}" for i in range(len(labels), columns)]
    if len(set(labels)) != len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise UnsupportedError(
            f"Core ML's suppression needs different labels, and {twice!r} is there twice",
            "rename the labels that occur more than once, or pass --nms graph",
        )
    return labels
