"""The arrays inside a Keras HDF5 file, by layer; three layouts.

`h5`: one group per top-level layer, arrays named `<layer>/kernel` (Keras 2: `<layer>/kernel:0`).
`v3`: groups named by class and count, `layers/conv2d_1/vars/0`; newer files also name the layer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np

from exporter.checkpoints.keras_graph import WEIGHTED_CLASSES, GraphError, Node

CONTAINERS = ("layers", "_layer_checkpoint_dependencies")  # Keras 3, and Keras 2.12 and 2.13
MAX_ARRAY_BYTES = 1 << 30  # the largest real one, at width 4, has 26 MB
KINDS = {
    "Conv2D": ("kernel", "bias"),
    "DepthwiseConv2D": ("kernel", "bias"),
    "Dense": ("kernel", "bias"),
    "BatchNormalization": ("gamma", "beta", "moving_mean", "moving_variance"),
}
Arrays = dict[str, np.ndarray]


def container(group: Any) -> Any:
    """The group that holds a v3 model's layers, or None for another layout."""
    for name in CONTAINERS:
        if name in group:
            return group[name]
    return None


class WeightReader:
    """Reads the arrays of one layer after another; walks each group of the file once."""

    def __init__(self, root: Any) -> None:
        self.root = root
        self.groups: dict[str, list[tuple[list[str], Any]]] = {}
        self.ordered: dict[tuple[str, str], list[Any]] = {}

    def read(self, node: Node) -> Arrays:
        """A layer's arrays by kind; GraphError names the layer when they are not there."""
        numbered = container(self.root) is not None
        arrays = self._read_v3(node) if numbered else self._read_h5(node)
        if not arrays:
            raise GraphError(f"layer {node.name!r} has no weights in the file")
        return arrays

    def _read_h5(self, node: Node) -> Arrays:
        """Top-level layers are found by group, nested ones by the array's last two names."""
        top, leaf = node.address[0].name, node.address[-1].name
        arrays: Arrays = {}
        for parts, dataset in self._group(top):
            if len(node.address) == 1 or (len(parts) >= 2 and parts[-2] == leaf):
                kind = _kind(parts[-1])
                if kind in arrays:
                    raise GraphError(f"two layers named {leaf!r} are inside {top!r}")
                arrays[kind] = read_array(dataset)
        return arrays

    def _read_v3(self, node: Node) -> Arrays:
        """Follow the address down: the n-th weighted sibling of a class is its n-th group."""
        group = self.root
        for step in node.address:
            groups = self._ordered(container(group), step.class_name)
            if step.ordinal >= len(groups):
                return {}
            group = groups[step.ordinal]
        stated = group["vars"].attrs.get("name")
        if stated is not None and _text(stated) != node.name:
            raise GraphError(
                f"group {group.name!r} is for layer {_text(stated)!r}, not {node.name!r}"
            )
        return vars_of(group, kinds_of(node.class_name, node.config))

    def _ordered(self, inside: Any, class_name: str) -> list[Any]:
        if inside is None:
            return []
        key = (inside.name, class_name)
        if key not in self.ordered:
            self.ordered[key] = ordered_groups(inside, class_name)
        return self.ordered[key]

    def _group(self, top: str) -> list[tuple[list[str], Any]]:
        if top not in self.groups:
            found = list(_datasets(self.root[top])) if top in self.root else []
            self.groups[top] = [(path.split("/"), dataset) for path, dataset in found]
        return self.groups[top]


def kinds_of(class_name: str, config: dict[str, Any]) -> tuple[str, ...]:
    """Which arrays a layer of this configuration has, in Keras' order."""
    absent = {
        "bias": not config.get("use_bias", True),
        "gamma": not config.get("scale", True),
        "beta": not config.get("center", True),
    }
    return tuple(kind for kind in KINDS[class_name] if not absent.get(kind, False))


def snake_case(class_name: str) -> str:
    """Keras' own rule for the group names of the v3 layout."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", class_name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def named_arrays(root: Any) -> dict[str, Arrays]:
    """Layer name -> arrays, for a file without a configuration that names its layers."""
    layers: dict[str, Arrays] = {}
    for path, dataset in _datasets(root):
        parts = path.split("/")
        if len(parts) >= 2 and parts[-2] == "vars":
            name = root[path].parent.attrs.get("name")
            kinds = KINDS.get(_class_of(parts[-3]), ())
            if name is None or not parts[-1].isdecimal() or int(parts[-1]) >= len(kinds):
                continue
            layer, kind = _text(name), kinds[int(parts[-1])]
        elif len(parts) >= 2:
            layer, kind = parts[-2], _kind(parts[-1])
        else:
            continue
        layers.setdefault(layer, {})[kind] = read_array(dataset)
    return layers


def ordered_groups(inside: Any, class_name: str) -> list[Any]:
    """The groups of a class inside a v3 container that hold weights, in the model's order."""
    pattern = re.compile(re.escape(snake_case(class_name)) + r"(?:_(\d+))?$")
    found = [(int(m[1] or 0), name) for name in inside if (m := pattern.match(name))]
    return [inside[name] for _, name in sorted(found) if _holds_weights(inside[name], class_name)]


def read_array(dataset: Any) -> np.ndarray:
    """A float array; GraphError for quantized or odd element types."""
    if dataset.dtype.kind != "f":
        raise GraphError(f"array {dataset.name!r} is {dataset.dtype}, not floating point")
    if dataset.nbytes > MAX_ARRAY_BYTES:
        raise GraphError(f"array {dataset.name!r} claims {dataset.nbytes:,} bytes")
    return np.asarray(dataset[()])


def vars_of(group: Any, kinds: tuple[str, ...]) -> Arrays:
    """The numbered arrays of a v3 layer group, by kind."""
    numbered = group["vars"]
    if sorted(numbered) != [str(i) for i in range(len(kinds))]:
        raise GraphError(
            f"group {group.name!r} holds arrays {sorted(numbered)}, expected {len(kinds)} "
            f"({', '.join(kinds)})"
        )
    return {kind: read_array(numbered[str(i)]) for i, kind in enumerate(kinds)}


def _holds_weights(group: Any, class_name: str) -> bool:
    """Whether a group holds arrays: its own, or those of weighted layers below it."""
    if not isinstance(group, h5py.Group):
        return False
    if class_name in WEIGHTED_CLASSES:
        return "vars" in group and len(group["vars"]) > 0
    weighted = tuple(snake_case(name) for name in WEIGHTED_CLASSES)
    return any(
        any(re.sub(r"_\d+$", "", part) in weighted for part in path.split("/"))
        for path, _ in _datasets(group)
    )


def _datasets(group: Any) -> Iterator[tuple[str, Any]]:
    """Every array below a group with its path, in name order."""
    found: list[tuple[str, Any]] = []

    def visit(path: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found.append((path, item))

    group.visititems(visit)
    yield from found


def _kind(name: str) -> str:
    """`kernel` for `kernel:0` and for Keras 2's `depthwise_kernel:0`."""
    return name.partition(":")[0].removeprefix("depthwise_")


def _class_of(group_name: str) -> str:
    plain = re.sub(r"_\d+$", "", group_name)
    return next((c for c in WEIGHTED_CLASSES if snake_case(c) == plain), "")


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
