"""A graph that ends in what an app wants: the same layers, float or int8, with other results.

Networks are folded, quantized and trained as they end in weights (`fold.fold_core`). What follows
has none: scores and boxes, suppression of overlapping ones, an enlarged map and its labels.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from exporter.detection.anchors import make_anchors
from exporter.errors import GraphError
from exporter.graph import (
    QMAX,
    QMIN,
    ArgMax,
    DecodeBoxes,
    Dequantize,
    Nms,
    Op,
    Output,
    Permute,
    QParams,
    QuantizedGraph,
    Resize,
    Sigmoid,
    Tensor,
)
from exporter.outputs import Ends, NmsMode, Outputs
from exporter.spec import ModelSpec
from exporter.validate import validate

CLASS_HEADS, BOX_HEADS = "classifiers", "regressors"
JOINED = ".joined"
DECODED, SUPPRESSED, RESIZED, LABELED = "decode", "nms", "resized", "argmax"
SCORE_SCALE = 1.0 / 256.0  # of scores in 0..1, from code -128 on
TIE_MARGIN = 1e-3  # of a code; float32 noise in a sigmoid is far below
SCALE_GROWTH = np.arange(0.0, 0.02, 1e-5)  # of the scores' scale, until no entry is near a tie


def with_ends(core: QuantizedGraph, ends: Ends) -> QuantizedGraph:
    """`core` as `fold_core` and quantizing give it, ending in `ends`; validated.

    Raises UnsupportedError for results that the model does not have.
    """
    spec = core.spec
    ends.check(spec.task, spec.classes)
    if spec.detection is not None:
        graph = core if ends.outputs is Outputs.RAW else _decoded(core, ends.nms)
    elif spec.segmentation is not None:
        graph = core if ends.outputs is Outputs.LOWRES_LOGITS else _enlarged(core, ends.outputs)
    else:
        graph = core
    if graph is not core:
        validate(graph)
    return graph


def _decoded(core: QuantizedGraph, nms: NmsMode) -> QuantizedGraph:
    """Scores map by map, while an int8 graph still has codes; boxes from all offsets together."""
    spec, detection = core.spec, core.spec.detection
    assert detection is not None
    editor = _Editor(core)
    for op in editor.readers_of_predictors():
        editor.insert_sigmoid(op)
    boxes = editor.append(
        DecodeBoxes(
            input=BOX_HEADS + JOINED,
            output=DECODED,
            anchors=make_anchors(detection, spec.resolution),
            center_variance=detection.center_variance,
            size_variance=detection.size_variance,
        )
    )
    scores = CLASS_HEADS + JOINED
    if nms is NmsMode.NONE:
        return editor.finish({"scores": scores, "boxes": boxes})
    native = nms is NmsMode.NATIVE
    found = editor.append(
        Nms(boxes=boxes, scores=scores, output=SUPPRESSED, spec=detection, native=native)
    )
    return editor.finish({"detections": found})


def _enlarged(core: QuantizedGraph, outputs: Outputs) -> QuantizedGraph:
    """The small map at the input's size, and the class of every pixel where that is asked for."""
    side = core.spec.resolution
    editor = _Editor(core)
    small = core.producer(core.output.name).inputs[0]
    x = editor.append(Resize(input=small, output=RESIZED, size=(side, side)))
    if outputs is Outputs.LABELS:
        x = editor.append(ArgMax(input=x, output=LABELED))
    return editor.finish({str(outputs): x})


class _Editor:
    """A graph without its Outputs, that grows."""

    def __init__(self, core: QuantizedGraph) -> None:
        self.spec: ModelSpec = core.spec
        self.ops: list[Op] = [op for op in core.ops if not isinstance(op, Output)]
        self.tensors = {op.output: core.tensors[op.output] for op in self.ops}

    def readers_of_predictors(self) -> list[Op]:
        """What reads the last convolution of each class head."""
        predictors = {
            op.output
            for op in self.ops
            if op.output.startswith(CLASS_HEADS + ".") and op.output.endswith(".1")
        }
        readers = [op for op in self.ops if predictors.intersection(op.inputs)]
        if not readers or len(readers) != len(predictors):
            raise GraphError("the graph is no detector's: its class heads are not read one by one")
        return readers

    def insert_sigmoid(self, reader: Op) -> None:
        """Scores between a predictor and what reads it."""
        if not isinstance(reader, Dequantize | Permute):
            raise GraphError(f"{reader.output!r} holds codes where real values are joined")
        source = reader.input
        scores = Sigmoid(input=source, output=f"{source}.sigmoid")
        tensor = self.tensors[source]
        qparams = None if tensor.qparams is None else score_qparams(tensor.qparams)
        place = self.ops.index(reader)
        self.ops[place : place + 1] = [scores, dataclasses.replace(reader, input=scores.output)]
        self.tensors[scores.output] = Tensor(
            name=scores.output, shape=tensor.shape, qparams=qparams
        )

    def append(self, op: Resize | ArgMax | DecodeBoxes | Nms) -> str:
        """An operation at the end; codes keep their parameters."""
        sources = [self.tensors[name] for name in op.inputs]
        shape = op.output_shape(*(tensor.shape for tensor in sources))
        qparams = sources[0].qparams if isinstance(op, Resize) else None
        self.ops.append(op)
        self.tensors[op.output] = Tensor(name=op.output, shape=shape, qparams=qparams)
        return op.output

    def finish(self, results: dict[str, str]) -> QuantizedGraph:
        """With Outputs by name, each of a tensor."""
        for name, source in results.items():
            self.ops.append(Output(input=source, output=name))
            self.tensors[name] = dataclasses.replace(self.tensors[source], name=name)
        return QuantizedGraph(spec=self.spec, ops=tuple(self.ops), tensors=self.tensors)


def score_qparams(source: QParams) -> QParams:
    """For the sigmoid of codes: 1/256 from -128, a little more where an entry would be a tie.

    On a tie float32 noise decides, and runtimes would give different scores.
    """
    codes = np.arange(QMIN, QMAX + 1) - source.zero_point
    real = (codes.astype(np.float32) * np.float32(source.scale)).astype(np.float64)
    scores = 1.0 / (1.0 + np.exp(-real))
    for growth in SCALE_GROWTH:
        scale = float(np.float32(SCORE_SCALE * (1.0 + growth)))
        steps = scores / scale
        if np.abs(steps - np.floor(steps) - 0.5).min() >= TIE_MARGIN:
            return QParams(scale=scale, zero_point=QMIN)
    raise GraphError("no scale keeps the scores from rounding ties")
