"""What is on a picture and what a detector finds on it, in fractions of the picture's sides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from exporter.detection.anchors import make_anchors
from exporter.detection.boxes import decode_float32
from exporter.detection.nms import exact_nms
from exporter.errors import UnsupportedError
from exporter.spec import ModelSpec

COLUMNS = 6  # of a packed detection: x1, y1, x2, y2, score, class


@dataclass(frozen=True, kw_only=True, eq=False)
class Objects:
    """The labeled objects of one picture."""

    boxes: np.ndarray  # float32 (m, 4): x1, y1, x2, y2 in 0..1
    classes: np.ndarray  # int64 (m,), from 1 on: 0 is the background
    ignored: np.ndarray  # bool (m,): crowds and difficult ones, neither hits nor misses


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """What a detector says about one picture, best first."""

    boxes: np.ndarray  # float32 (k, 4): x1, y1, x2, y2 in 0..1, where the network put them
    scores: np.ndarray  # float32 (k,)
    classes: np.ndarray  # int64 (k,), from 1 on


def found_in(results: Mapping[str, np.ndarray], spec: ModelSpec) -> list[Found]:
    """The detections of every picture from a model's results, whichever outputs it has.

    "class_logits" and "box_offsets" are decoded here, "scores" and "boxes" go through NMS, and
    "detections" are taken as they are. Raises UnsupportedError for anything else.
    """
    if spec.detection is None:
        raise TypeError(f"the spec is of a model for {spec.task}")
    if "detections" in results:
        return [unpack(rows) for rows in results["detections"]]
    if "class_logits" in results:
        scores = torch.sigmoid(torch.from_numpy(results["class_logits"])).numpy()
        anchors = make_anchors(spec.detection, spec.resolution)
        variances = spec.detection.center_variance, spec.detection.size_variance
        boxes = decode_float32(results["box_offsets"], anchors, *variances)
    elif "scores" in results:
        scores, boxes = results["scores"], results["boxes"]
    else:
        raise UnsupportedError(f"no detections in the outputs {', '.join(results)}")
    return [
        unpack(pack(torch.from_numpy(b), torch.from_numpy(s), spec).numpy())
        for b, s in zip(boxes, scores, strict=True)
    ]


def pack(boxes: torch.Tensor, scores: torch.Tensor, spec: ModelSpec) -> torch.Tensor:
    """Boxes (anchors, 4) and scores (anchors, classes) -> (max_detections, 6), best first.

    Rows after the last detection are zeros with a score of -1.
    """
    assert spec.detection is not None
    found = exact_nms(boxes, scores, spec.detection)
    return torch.cat([found.boxes, found.scores[:, None], found.classes[:, None]], 1)


def unpack(rows: np.ndarray) -> Found:
    """Float32 (places, 6) as `pack` gives them; places that nothing took are dropped."""
    taken = rows[rows[:, 4] >= 0.0]
    return Found(boxes=taken[:, :4], scores=taken[:, 4], classes=taken[:, 5].astype(np.int64))
