"""Runs a Core ML package: with Core ML on macOS, with the reference evaluator anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from exporter.errors import DataError
from exporter.spec import ChannelOrder, Preprocess
from targets.coreml_sdk import IMAGE, LABEL, LOGITS, PROBABILITIES
from targets.mil.features import side_lengths
from targets.mil.program import Program

UNCLAMPED = "_unclamped"  # suffix of a layer's result before its clamp
QUANTIZED = "_quantized"  # suffix of a tensor's int8 codes in a program


@dataclass(frozen=True, kw_only=True)
class EvaluatorRunner:
    """The reference evaluator on a program that this tool wrote."""

    program: Program
    contract: Preprocess

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Float32 (n, 3, r, r), normalized -> float32 (n, classes)."""
        logits = [self.program(**self._fed(image))[LOGITS] for image in images]
        return np.concatenate([x.reshape(1, -1) for x in logits]).astype(np.float32)

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
        return {name.replace("_", "."): value for name, value in codes.items()}

    def _fed(self, image: np.ndarray) -> dict[str, np.ndarray]:
        ((name, feature),) = self.program.inputs.items()
        if side_lengths(feature) is None:
            return {name: image[None]}
        return {name: to_pixels(image[None], self.contract)[0]}


@dataclass(frozen=True, kw_only=True)
class CoreMLRunner:
    """Core ML itself. macOS only, and never run by this repository's own tests, on no Mac."""

    model: Any  # coremltools.models.MLModel
    contract: Preprocess

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Float32 (n, 3, r, r), normalized -> float32 (n, classes)."""
        from PIL import Image

        # A PIL image is RGB; Core ML reorders it for a model that declares BGR.
        pictures = [Image.fromarray(p) for p in to_pixels(images, self.contract)]
        logits = [np.asarray(self.model.predict({IMAGE: p})[LOGITS]) for p in pictures]
        return np.concatenate([x.reshape(1, -1) for x in logits]).astype(np.float32)

    def layers(self, images: np.ndarray) -> Mapping[str, np.ndarray]:
        """Empty: Core ML shows nothing but its results."""
        del images
        return {}


def _is_foreign(value: str) -> bool:
    """Whether a value of a float program is no tensor of the graph.

    Its "input" is pixels plus an offset, the scale being in the weights.
    """
    foreign = value in ("input", PROBABILITIES) or value.startswith((IMAGE, LABEL))
    return foreign or value.endswith(UNCLAMPED)


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
