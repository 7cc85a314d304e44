"""Small detectors and segmenters for tests of what targets make of them: float and int8 graphs."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
from graphs import random_network, sample_images

from exporter.ends import with_ends
from exporter.fold import fold_core
from exporter.graph import Concat, QParams, QuantizedGraph
from exporter.outputs import OFFERED, Ends, NmsMode, Outputs
from exporter.published import default_spec
from exporter.quantize import quantize
from exporter.spec import ModelSpec, PaddingStyle
from exporter.tasks import DetectionSpec, SegmentationSpec, Task
from exporter.validate import validate

# Scores of random weights are flat: many candidates, close to each other.
CROWDED = DetectionSpec(score_threshold=0.3, candidates=60, iou_threshold=0.3, max_detections=70)
PUBLISHED = ("ssdlite-320", "deeplab-513")


def _detector(side: int, width: float = 0.1, padding: PaddingStyle = PaddingStyle.TORCH):
    spec = default_spec(Task.DETECTION, width=width, resolution=side, classes=4)
    return dataclasses.replace(spec, padding=padding, detection=CROWDED)


def _segmenter(
    side: int,
    width: float = 0.1,
    padding: PaddingStyle = PaddingStyle.TORCH,
    settings: SegmentationSpec | None = None,
):
    spec = default_spec(Task.SEGMENTATION, width=width, resolution=side, classes=5)
    settings = settings or SegmentationSpec()
    return dataclasses.replace(spec, padding=padding, segmentation=settings)


SPECS: dict[str, ModelSpec] = {
    "ssdlite-64": _detector(64),
    "ssdlite-96-same": _detector(96, 0.35, PaddingStyle.SAME),
    "deeplab-65": _segmenter(65),
    "deeplab-97-same": _segmenter(97, 0.35, PaddingStyle.SAME),
    "deeplab-65-stride-8": _segmenter(65, settings=SegmentationSpec(output_stride=8)),
    "deeplab-65-full-aspp": _segmenter(65, settings=SegmentationSpec(full_aspp=True)),
    "ssdlite-320": default_spec(Task.DETECTION),
    "deeplab-513": default_spec(Task.SEGMENTATION),
}
NETWORKS = [name for name in SPECS if name not in PUBLISHED]
DETECTORS = [name for name in NETWORKS if SPECS[name].task is Task.DETECTION]


def ends_of(name: str) -> list[Ends]:
    """Everything that a network can be asked for, without suppression."""
    return [Ends(outputs=outputs) for outputs in OFFERED[SPECS[name].task]]


def suppressing(mode: NmsMode) -> Ends:
    """A detector's rows of detections."""
    return Ends(outputs=Outputs.DECODED, nms=mode)


@functools.cache
def cores(name: str) -> tuple[QuantizedGraph, QuantizedGraph]:
    """(float graph, int8 graph) as they end in weights."""
    spec = SPECS[name]
    core = fold_core(random_network(spec))
    return core, quantize(core, sample_images(spec, 1 if name in PUBLISHED else 4, seed=0))


def float_graph(name: str, ends: Ends) -> QuantizedGraph:
    """The float graph of a network with these results."""
    return with_ends(cores(name)[0], ends)


def int8_graph(name: str, ends: Ends) -> QuantizedGraph:
    """The int8 graph of a network with these results."""
    return with_ends(cores(name)[1], ends)


def with_unequal_concat(graph: QuantizedGraph) -> QuantizedGraph:
    """A segmenter whose concatenation has to requantize one input.

    Its first input comes from a resize, which keeps its parameters; so do the layer's before it.
    """
    joined = next(op for op in graph.ops if isinstance(op, Concat))
    last = joined.inputs[-1]
    tensors = dict(graph.tensors)
    for name in (last, joined.output):
        q = graph.qparams(name)
        scale = float(np.float32(q.scale * (1.3 if name == last else 0.9)))
        changed = QParams(scale=scale, zero_point=q.zero_point + 5)
        tensors[name] = dataclasses.replace(tensors[name], qparams=changed)
    changed_graph = dataclasses.replace(graph, tensors=tensors)
    validate(changed_graph)
    return changed_graph


def chain(count: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (count, 4) that each overlap the next, and falling scores (count, 2).

    At an IoU threshold of 0.5 every other one stays, one round of suppression after the other.
    """
    left = np.arange(count) * 0.02
    boxes = np.stack([left, left * 0, left + 0.07, left * 0 + 1], 1).astype(np.float32)
    scores = np.zeros((count, 2), np.float32)
    scores[:, 1] = np.linspace(0.9, 0.5, count)
    return boxes, scores
