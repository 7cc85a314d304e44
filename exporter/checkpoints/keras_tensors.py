"""Keras arrays in PyTorch's layout, under this tool's names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from exporter.checkpoints.detect import linear_names
from exporter.checkpoints.keras_graph import GraphError
from exporter.checkpoints.keras_head import Head
from exporter.checkpoints.keras_weights import Arrays
from exporter.spec import HeadLayer

NORM_TENSORS = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Tensors:
    """Tensors under our names, our names -> `<layer>/<array>`, and the head's layers."""

    tensors: dict[str, torch.Tensor]
    names: dict[str, str]
    head: tuple[HeadLayer, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Stored:
    """One layer's arrays and where they belong."""

    module: str  # ours
    layer: str  # Keras' name
    class_name: str
    arrays: Arrays


def backbone_tensors(layers: Iterable[Stored]) -> Tensors:
    """The tensors of every convolution and batch norm."""
    tensors: dict[str, torch.Tensor] = {}
    names: dict[str, str] = {}
    for stored in layers:
        if stored.class_name == "BatchNormalization":
            _add_norm(tensors, names, stored)
        else:
            tensors[f"{stored.module}.weight"] = _convolution(stored)
            names[f"{stored.module}.weight"] = f"{stored.layer}/kernel"
    return Tensors(tensors=tensors, names=names)


def head_tensors(backbone: Tensors, head: Head) -> Tensors:
    """The backbone's tensors with the head's; folding was in float64, the result is float32."""
    tensors, names = dict(backbone.tensors), dict(backbone.names)
    for module, linear in zip(linear_names(head.layers()), head.linears, strict=True):
        for leaf, array, kind in (
            ("weight", linear.weight, "kernel"),
            ("bias", linear.bias, "bias"),
        ):
            tensors[f"{module}.{leaf}"] = torch.from_numpy(np.ascontiguousarray(array)).float()
            names[f"{module}.{leaf}"] = f"{linear.name}/{kind}"
    return Tensors(tensors=tensors, names=names, head=head.layers())


def _convolution(stored: Stored) -> torch.Tensor:
    """(h, w, in, out) -> (out, in, h, w); depthwise (h, w, c, 1) -> (c, 1, h, w)."""
    kernel = stored.arrays.get("kernel")
    if kernel is None or kernel.ndim != 4:
        shape = None if kernel is None else kernel.shape
        raise GraphError(f"array '{stored.layer}/kernel' has shape {shape}, not four axes")
    axes = (2, 3, 0, 1) if stored.class_name == "DepthwiseConv2D" else (3, 2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(kernel.transpose(axes)))


def _add_norm(tensors: dict[str, torch.Tensor], names: dict[str, str], stored: Stored) -> None:
    mean = stored.arrays.get("moving_mean")
    if mean is None:
        raise GraphError(f"array '{stored.layer}/moving_mean' is missing")
    defaults = {"gamma": np.ones_like(mean), "beta": np.zeros_like(mean)}  # scale or center off
    for kind, leaf in NORM_TENSORS.items():
        names[f"{stored.module}.{leaf}"] = f"{stored.layer}/{kind}"
        array = stored.arrays.get(kind, defaults.get(kind))
        if array is not None:
            tensors[f"{stored.module}.{leaf}"] = torch.from_numpy(np.ascontiguousarray(array))
