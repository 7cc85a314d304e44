"""A hardly trained network: its logits lie little above the rounding noise of its layers."""

from __future__ import annotations

import copy
import dataclasses
import functools
from pathlib import Path

import graphs
import numpy as np
import torch
from PIL import Image
from torch import nn

from exporter import golden
from exporter.checkpoints import save_checkpoint
from exporter.fold import fold
from exporter.graph import QuantizedGraph, Weight
from exporter.models import MobileNetV2
from exporter.spec import ModelSpec, PaddingStyle
from exporter.vectors import make_vectors, vector_images

IMAGES = 16
CONTRAST = 0.3
SHARED = 14  # directions of the features in which images differ the most
FAULTY_LAYER = 4  # the golden vectors reach its bound
WRONG_EPS = 1e-3


def weak_spec() -> ModelSpec:
    """Small, and padded as torch does."""
    return graphs.make_spec(0.35, 32, PaddingStyle.TORCH, graphs.ONE_LAYER)


def flat_pixels(seed: int) -> np.ndarray:
    """Uint8 (n, r, r, 3), pictures of little contrast."""
    pixels = graphs.sample_pixels(weak_spec(), IMAGES, seed).transpose(0, 2, 3, 1)
    return np.rint(128 + CONTRAST * (pixels.astype(float) - 128)).astype(np.uint8)


def save_photos(folder: Path) -> Path:
    """The pictures as files."""
    folder.mkdir()
    for index, pixels in enumerate(flat_pixels(seed=1)):
        Image.fromarray(pixels).save(folder / f"{index:02}.png")
    return folder


def save_weak(path: Path) -> Path:
    """The network as a checkpoint."""
    save_checkpoint(path, weak_spec(), weak_model().state_dict())
    return path


@functools.cache
def weak_model() -> MobileNetV2:
    """A random network whose classifier is blind to all but the faintest of its features."""
    model = graphs.random_model(weak_spec(), seed=1)
    folded = fold(model)
    seen: dict[str, np.ndarray] = {}
    golden.run(folded, weak_images(folded), trace=seen.__setitem__)
    classifier = list(folded.weighted())[-1]
    features = seen[classifier.input].astype(np.float64)  # (n, features)
    loud = np.linalg.svd(features, full_matrices=False)[2][:SHARED]
    weight = classifier.weight.values.astype(np.float64)
    (layer,) = (m for m in model.modules() if isinstance(m, nn.Linear))
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight - (weight @ loud.T) @ loud))
        layer.bias.zero_()
    return model


def weak_images(graph: QuantizedGraph) -> np.ndarray:
    """Golden vectors of flat pictures, float32 (n, 3, r, r)."""
    return vector_images(make_vectors(flat_pixels(seed=1)), graph)


# --- faults: each gives the network with one mistake in it -----------------------------------


def clamp(graph: QuantizedGraph) -> QuantizedGraph:
    """One ReLU6 ends at 5.9."""
    layer = list(graph.weighted())[FAULTY_LAYER]
    return graphs.replace_op(graph, dataclasses.replace(layer, clamp=(0.0, 5.9)))


def swap(graph: QuantizedGraph) -> QuantizedGraph:
    """Two channels of one layer change places."""
    layer = list(graph.weighted())[FAULTY_LAYER]
    order = [1, 0, *range(2, len(layer.bias))]
    weight = Weight(values=layer.weight.values[order])
    return graphs.replace_op(
        graph, dataclasses.replace(layer, weight=weight, bias=layer.bias[order])
    )


def eps(_graph: QuantizedGraph) -> QuantizedGraph:
    """Batch norm is folded with another epsilon."""
    model = copy.deepcopy(weak_model())
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = WRONG_EPS
    return fold(model)
