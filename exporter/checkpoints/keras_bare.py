"""Keras weights without a model configuration: recognized by keras.applications' layer names.

Such a file does not say which activations its layers have, so only a single Dense layer behind
the network can be read without guessing.
"""

from __future__ import annotations

from typing import Any

import h5py

from exporter.checkpoints.keras_backbone import keras_parts
from exporter.checkpoints.keras_graph import WEIGHTED_CLASSES, GraphError
from exporter.checkpoints.keras_head import Head, Linear
from exporter.checkpoints.keras_tensors import Stored, Tensors, backbone_tensors, head_tensors
from exporter.checkpoints.keras_weights import (
    KINDS,
    Arrays,
    container,
    named_arrays,
    ordered_groups,
    vars_of,
)

HINT = "save the whole model with model.save('model.keras'), which records how layers connect"


def read(root: Any) -> Tensors:
    """The tensors of a weights-only file, with its one Dense layer as the head."""
    layers = named_arrays(root) or _ordered_arrays(root)
    modules = []
    for part in keras_parts():
        if part.module:
            if part.keras_name not in layers:
                raise GraphError(_missing(part.keras_name, layers), HINT)
            modules.append(
                Stored(
                    module=part.module,
                    layer=part.keras_name,
                    class_name=part.kind,
                    arrays=layers.pop(part.keras_name),
                )
            )
    head = _single_dense(layers)
    return head_tensors(backbone_tensors(modules), head)


def _missing(name: str, layers: dict[str, Arrays]) -> str:
    first = next(iter(layers), None)
    found = f"the file has {len(layers)} others, such as {first!r}" if first else "it has none"
    return f"not a MobileNetV2: no weights for layer {name!r}; {found}"


def _single_dense(layers: dict[str, Arrays]) -> Head:
    if not layers:
        raise GraphError(
            "the file has no classifier: no Dense layer beside the network",
            "give weights of a model that was trained to classify",
        )
    name, arrays = next(iter(layers.items()))
    if len(layers) > 1:
        raise GraphError(
            f"the head has {len(layers)} layers ({', '.join(layers)}), and a weights-only file "
            "does not say how they connect",
            HINT,
        )
    kernel, bias = arrays.get("kernel"), arrays.get("bias")
    if kernel is None or kernel.ndim != 2 or bias is None or bias.shape != kernel.shape[1:]:
        raise GraphError(f"layer {name!r} is no Dense layer with a bias", HINT)
    head = Head(pooled=True)
    head.linears.append(Linear(name=name, weight=kernel.T.astype("f8"), bias=bias.astype("f8")))
    return head


def _ordered_arrays(root: Any) -> dict[str, Arrays]:
    """Layers of a v3 file that names none: the n-th group of a class is the model's n-th layer."""
    layers: dict[str, Arrays] = {}
    wanted = list(keras_parts())
    for group in _containers(root):
        is_backbone = len(ordered_groups(group, "DepthwiseConv2D")) > 0
        for class_name in WEIGHTED_CLASSES:
            names = [p.keras_name for p in wanted if p.kind == class_name] if is_backbone else []
            for i, layer in enumerate(ordered_groups(group, class_name)):
                name = names[i] if i < len(names) else layer.name.strip("/")
                layers[name] = vars_of(layer, _kinds(layer, class_name))
    return layers


def _containers(group: Any) -> list[Any]:
    """Every v3 container at or below a group."""
    inside = container(group)
    if inside is None:
        return []
    below = [c for name in inside for c in _containers(inside[name]) if _is_group(inside[name])]
    return [inside, *below]


def _is_group(item: Any) -> bool:
    return isinstance(item, h5py.Group)


def _kinds(layer: Any, class_name: str) -> tuple[str, ...]:
    """A convolution of this network has no bias; a Dense layer has one if it stores two arrays."""
    return KINDS[class_name][: len(layer["vars"])]
