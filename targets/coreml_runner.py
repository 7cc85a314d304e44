"""Runs a Core ML package: with Core ML on macOS, with the reference evaluator anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from exporter.detection.records import COLUMNS, pack
from exporter.errors import DataError
from exporter.results import CLASS, DETECTIONS, SCORE, joined
from exporter.spec import ChannelOrder, ModelSpec, Preprocess
from exporter.target import one_result
from exporter.threads import side_by_side
from targets.coreml_sdk import (
    CONFIDENCE,
    COORDINATES,
    IMAGE,
    LABEL,
    PROBABILITIES,
    RAW_CONFIDENCE,
    RAW_COORDINATES,
)
from targets.mil.features import side_lengths
from targets.mil.program import Program

UNCLAMPED = "_unclamped"  # suffix of a layer's result before its clamp
QUANTIZED = "_quantized"  # suffix of a tensor's int8 codes in a program
INSIDE = "__"  # in the name of a value that is no tensor of the graph


@dataclass(frozen=True, kw_only=True)
class EvaluatorRunner:
    """The reference evaluator on a program that this tool wrote.

    Where Core ML's own suppression follows the program, the graph's takes its place.
    """

    program: Program
    spec: ModelSpec

    def results(self, images: np.ndarray) -> Mapping[str, np.ndarray]:
        """Float32 (n, 3, r, r), normalized -> every output by the graph's name of it."""
        return joined(side_by_side(self._results, images))

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """The one result of a model that has one."""
        return one_result(self.results(images))

    def layers(self, images: np.ndarray) -> Mapping[str, np.ndarray]:
        """int8 codes where the program has them, real values in a float program."""
        values: dict[str, np.ndarray] = {}

        def keep(name: str, value: Any) -> None:
            if isinstance(value, torch.Tensor):
                values[name] = value.numpy()

        for image in images[:1]:
            self.program.run(self._fed(image), trace=keep)
        codes = {k.removesuffix(QUANTIZED): v for k, v in values.items() if k.endswith(QUANTIZED)}
        if not codes:
            codes = {k: v for k, v in values.items() if not _is_foreign(k)}
        return {self._graph_name(name): value for name, value in codes.items()}

    def _graph_name(self, name: str) -> str:
        """Results have the names that the graph gives them, which may have underscores."""
        return name if name in self.program.outputs else name.replace("_", ".")

    def _results(self, image: np.ndarray) -> dict[str, np.ndarray]:
        given = self.program(**self._fed(image))
        if self.program.package.suppression is None:
            return {name: _typed(v) for name, v in given.items() if isinstance(v, np.ndarray)}
        boxes = torch.from_numpy(corners(given[RAW_COORDINATES]))
        scores = _with_background(given[RAW_CONFIDENCE], self.spec.classes)
        return {DETECTIONS: pack(boxes, torch.from_numpy(scores), self.spec).numpy()[None]}

    def _fed(self, image: np.ndarray) -> dict[str, np.ndarray]:
        ((name, feature),) = self.program.inputs.items()
        if side_lengths(feature) is None:
            return {name: image[None]}
        return {name: to_pixels(image[None], self.spec.preprocess)[0]}


@dataclass(frozen=True, kw_only=True)
class CoreMLRunner:
    """Core ML itself. macOS only, and never run by this repository's own tests, on no Mac."""

    model: Any  # coremltools.models.MLModel
    spec: ModelSpec

    def results(self, images: np.ndarray) -> Mapping[str, np.ndarray]:
        """Float32 (n, 3, r, r), normalized -> every output by the graph's name of it."""
        from PIL import Image

        # A PIL image is RGB; Core ML reorders it for a model that declares BGR.
        pictures = [Image.fromarray(p) for p in to_pixels(images, self.spec.preprocess)]
        return joined(self._results(self.model.predict({IMAGE: picture})) for picture in pictures)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """The one result of a model that has one."""
        return one_result(self.results(images))

    def layers(self, images: np.ndarray) -> Mapping[str, np.ndarray]:
        """Empty: Core ML shows nothing but its results."""
        del images
        return {}

    def _results(self, given: Mapping[str, Any]) -> dict[str, np.ndarray]:
        if CONFIDENCE in given:
            return {DETECTIONS: self._rows(given[CONFIDENCE], given[COORDINATES])[None]}
        return {name: _typed(v) for name, v in given.items() if isinstance(v, np.ndarray)}

    def _rows(self, confidence: np.ndarray, coordinates: np.ndarray) -> np.ndarray:
        """(places, 6): what Core ML's suppression left, a box with its best class, best first."""
        assert self.spec.detection is not None
        rows = np.zeros((self.spec.detection.max_detections, COLUMNS), np.float32)
        rows[:, SCORE] = -1.0
        scores = confidence.max(1)
        best = np.argsort(-scores, kind="stable")[: len(rows)]
        places = rows[: len(best)]
        places[:, :SCORE] = corners(coordinates)[best]
        places[:, SCORE], places[:, CLASS] = scores[best], confidence.argmax(1)[best] + 1
        return rows


def corners(coordinates: np.ndarray) -> np.ndarray:
    """(m, 4) center x, center y, width, height -> x1, y1, x2, y2."""
    center, half = coordinates[:, :2], coordinates[:, 2:] * np.float32(0.5)
    return np.concatenate([center - half, center + half], 1)


def _with_background(confidence: np.ndarray, classes: int) -> np.ndarray:
    """(anchors, classes): a first column for the background, and no unused classes."""
    background = np.zeros((len(confidence), 1), np.float32)
    return np.concatenate([background, confidence[:, : classes - 1]], 1)


def _typed(value: np.ndarray) -> np.ndarray:
    """Core ML has no bytes to give: a map of labels comes in larger integers."""
    return value.astype(np.float32 if value.dtype.kind == "f" else np.uint8)


def _is_foreign(value: str) -> bool:
    """Whether a value of a float program is no tensor of the graph.

    Its "input" is pixels plus an offset, the scale being in the weights.
    """
    foreign = value in ("input", PROBABILITIES) or value.startswith((IMAGE, LABEL))
    raw = value in (RAW_CONFIDENCE, RAW_COORDINATES)
    return foreign or raw or INSIDE in value or value.endswith(UNCLAMPED)


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
