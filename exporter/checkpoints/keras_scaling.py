"""What Keras models do to pixels before the network: scaling and augmentation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from exporter.checkpoints.keras_graph import GraphError, Node
from exporter.spec import Preprocess, ResizeRule

# Layers that only act while training. RandomCrop is not one: it crops at inference too.
AUGMENTATIONS = frozenset(
    {
        "AugMix",
        "CutMix",
        "GaussianNoise",
        "MixUp",
        "RandAugment",
        "RandomBrightness",
        "RandomColorDegeneration",
        "RandomColorJitter",
        "RandomContrast",
        "RandomElasticTransform",
        "RandomErasing",
        "RandomFlip",
        "RandomGaussianBlur",
        "RandomGrayscale",
        "RandomHeight",
        "RandomHue",
        "RandomInvert",
        "RandomPerspective",
        "RandomPosterization",
        "RandomRotation",
        "RandomSaturation",
        "RandomSharpness",
        "RandomShear",
        "RandomTranslation",
        "RandomWidth",
        "RandomZoom",
    }
)
DIGITS = 9  # 255 * (1 / 127.5) - 1 is 1 but for rounding
# Arithmetic with one constant, by the names that Keras 3 and TensorFlow's Keras 2 give it.
ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "TrueDivide": np.divide,
    "Divide": np.divide,
    "Multiply": np.multiply,
    "Subtract": np.subtract,
    "Add": np.add,
    "math.truediv": np.divide,
    "math.divide": np.divide,
    "math.multiply": np.multiply,
    "math.subtract": np.subtract,
    "math.add": np.add,
    "__operators__.add": np.add,
}


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """What the model does to pixels u in 0..255: `x = u * scale + bias` per channel."""

    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
    bias: tuple[float, float, float] = (0.0, 0.0, 0.0)
    layers: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    lambdas: tuple[str, ...] = ()


def read_scaling(before: list[Node]) -> Scaling:
    """Fold the layers before the backbone into one scale and bias per channel."""
    scale, bias = np.ones(3), np.zeros(3)
    layers, skipped, lambdas = [], [], []
    with np.errstate(all="ignore"):  # a zero or overflow is refused below
        for node in before:
            if node.class_name in AUGMENTATIONS:
                skipped.append(node.name)
            elif node.class_name == "Lambda":
                lambdas.append(node.name)
            elif node.class_name == "Cast" or node.config.get("function") == "cast":
                continue
            elif node.class_name == "Rescaling":
                factor, offset = _constant(node, "scale"), _constant(node, "offset")
                scale, bias = scale * factor, bias * factor + offset
                layers.append(node.name)
            else:
                scale, bias = _arithmetic(node, scale, bias)
                layers.append(node.name)
    if not all(math.isfinite(v) for v in (*scale, *bias)) or (scale <= 0).any():
        raise GraphError(f"layers {', '.join(layers)} scale pixels by {scale.tolist()}")
    return Scaling(
        scale=(float(scale[0]), float(scale[1]), float(scale[2])),
        bias=(float(bias[0]), float(bias[1]), float(bias[2])),
        layers=tuple(layers),
        skipped=tuple(skipped),
        lambdas=tuple(lambdas),
    )


def _arithmetic(node: Node, scale: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Apply one operation with a constant on its right."""
    known = str(node.config.get("function")) if node.class_name == "TFOpLambda" else node.class_name
    operation = ARITHMETIC.get(known)
    if operation is None or len(node.inputs) != 1 or len(node.arguments) != 2 or node.arguments[0]:
        raise GraphError(
            f"layer {node.name!r} ({node.class_name}) before the network is not understood; only "
            "Rescaling, arithmetic with a constant, and augmentation are"
        )
    constant = _numbers(node.arguments[1], node.name)
    if operation in (np.divide, np.multiply):
        return operation(scale, constant), operation(bias, constant)
    return scale, operation(bias, constant)


def _constant(node: Node, key: str) -> np.ndarray:
    return _numbers(node.config.get(key, 0.0 if key == "offset" else 1.0), node.name)


def _numbers(value: Any, name: str) -> np.ndarray:
    """One number or three, as an array of three."""
    if isinstance(value, dict):  # Keras 3: {"class_name": "__numpy__", "config": {"value": [...]}}
        inner = value.get("config")
        value = inner.get("value") if isinstance(inner, dict) else None
    array = np.asarray(value, dtype=object).reshape(-1)
    numeric = all(isinstance(v, int | float) for v in array)
    if not numeric or array.size not in (1, 3):
        raise GraphError(f"layer {name!r} computes with {value!r}, not with one number per channel")
    return np.broadcast_to(array.astype(np.float64), (3,)).copy()


def preprocess(scaling: Scaling, resolution: int) -> Preprocess:
    """Keras' stretch to the input size, then the model's own scaling."""
    scale, bias = np.asarray(scaling.scale), np.asarray(scaling.bias)
    low, high = np.round(bias, DIGITS), np.round(bias + 255.0 * scale, DIGITS)
    same = (low == low[0]).all() and (high == high[0]).all()
    mean, std = -bias / (255.0 * scale), 1.0 / (255.0 * scale)
    return Preprocess(
        resize_rule=ResizeRule.STRETCH,
        resize_size=resolution,
        crop_size=resolution,
        value_range=(float(low[0]), float(high[0])) if same else (0.0, 1.0),
        mean=(0.0, 0.0, 0.0) if same else (float(mean[0]), float(mean[1]), float(mean[2])),
        std=(1.0, 1.0, 1.0) if same else (float(std[0]), float(std[1]), float(std[2])),
    )
