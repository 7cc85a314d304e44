"""Checks that a chain of Keras layers is `keras.applications.MobileNetV2`, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from exporter.checkpoints.keras_graph import INPUT, GraphError, Node
from exporter.models.blocks import same_padding
from exporter.models.mobilenetv2 import INVERTED_RESIDUALS
from exporter.spec import Activation


@dataclass(frozen=True, kw_only=True)
class Part:
    """One expected layer: a Keras class, our module, and what its configuration must say."""

    kind: str
    module: str = ""  # "" for layers without weights
    keras_name: str = ""
    kernel: int = 1
    stride: int = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Backbone:
    """The layers of a MobileNetV2 inside a model, matched to our modules."""

    modules: dict[str, Node]  # our module -> the layer that holds its weights
    first: Node
    last: Node
    bn_eps: float
    pads: tuple[tuple[Node, int], ...]  # explicit paddings and the number of halvings before them


def keras_parts() -> Iterator[Part]:
    """The layers of MobileNetV2 in order, with the names that keras.applications gives them."""
    yield Part(kind="Conv2D", module="features.0.0", keras_name="Conv1", kernel=3, stride=2)
    yield Part(kind="BatchNormalization", module="features.0.1", keras_name="bn_Conv1")
    yield Part(kind="ReLU")
    strides = [s if i == 0 else 1 for _, _, n, s in INVERTED_RESIDUALS for i in range(n)]
    repeats = [i > 0 for _, _, n, _ in INVERTED_RESIDUALS for i in range(n)]
    for block, (stride, residual) in enumerate(zip(strides, repeats, strict=True)):
        yield from _block_parts(block, stride, residual)
    last = len(strides) + 1
    yield Part(kind="Conv2D", module=f"features.{last}.0", keras_name="Conv_1")
    yield Part(kind="BatchNormalization", module=f"features.{last}.1", keras_name="Conv_1_bn")
    yield Part(kind="ReLU")


def _block_parts(block: int, stride: int, residual: bool) -> Iterator[Part]:
    keras, ours = f"block_{block}_" if block else "expanded_conv_", f"features.{block + 1}.conv."
    norm = "BatchNormalization"
    at = 0
    if block:
        yield Part(kind="Conv2D", module=f"{ours}0.0", keras_name=f"{keras}expand")
        yield Part(kind=norm, module=f"{ours}0.1", keras_name=f"{keras}expand_BN")
        yield Part(kind="ReLU")
        at = 1
    yield Part(
        kind="DepthwiseConv2D",
        module=f"{ours}{at}.0",
        keras_name=f"{keras}depthwise",
        kernel=3,
        stride=stride,
    )
    yield Part(kind=norm, module=f"{ours}{at}.1", keras_name=f"{keras}depthwise_BN")
    yield Part(kind="ReLU")
    yield Part(kind="Conv2D", module=f"{ours}{at + 1}", keras_name=f"{keras}project")
    yield Part(kind=norm, module=f"{ours}{at + 2}", keras_name=f"{keras}project_BN")
    if residual:
        yield Part(kind="Add")


def main_path(output: Node) -> list[Node]:
    """From the input's first layer to the output, through the long arm of every residual Add."""
    path = []
    node = output
    while node.class_name != INPUT:
        path.append(node)
        if len(node.inputs) == 2 and node.class_name == "Add":
            node = node.inputs[1]
        elif len(node.inputs) == 1:
            node = node.inputs[0]
        else:
            raise GraphError(f"layer {node.name!r} ({node.class_name}) joins several paths")
    return path[::-1]


def match(path: list[Node]) -> tuple[Backbone, list[Node], list[Node]]:
    """The backbone, the layers before it and the layers after it; GraphError names a misfit."""
    start = next((i for i, n in enumerate(path) if n.class_name in ("Conv2D", "ZeroPadding2D")), -1)
    if start < 0:
        raise GraphError("no convolution is on the path from input to output")
    matcher = _Matcher(path, start)
    for part in keras_parts():
        matcher.take(part)
    first, last = path[start], path[matcher.at - 1]
    return (
        Backbone(
            modules=matcher.modules,
            first=first,
            last=last,
            bn_eps=matcher.bn_eps,
            pads=tuple(matcher.pads),
        ),
        path[:start],
        path[matcher.at :],
    )


class _Matcher:
    """Walks the path once, consuming the layers that each part accounts for."""

    def __init__(self, path: list[Node], start: int) -> None:
        self.path, self.at = path, start
        self.modules: dict[str, Node] = {}
        self.pads: list[tuple[Node, int]] = []
        self.epsilons: dict[float, str] = {}
        self.halvings = 0
        self.block_input: Node | None = None  # what a residual Add must add

    @property
    def bn_eps(self) -> float:
        if len(self.epsilons) != 1:
            named = ", ".join(f"{eps:g} ({name})" for eps, name in self.epsilons.items())
            raise GraphError(f"batch norms with different epsilons: {named}")
        return next(iter(self.epsilons))

    def take(self, part: Part) -> None:
        """Consume the layers of one part."""
        pad = self._next_if("ZeroPadding2D") if part.stride == 2 else None
        node = self._next_if(part.kind, *(("Activation",) if part.kind == "ReLU" else ()))
        if node is None:
            raise GraphError(self._misfit(part))
        if part.kind == "BatchNormalization":
            self._check_norm(node)
        elif part.kind == "ReLU":
            if activation_of(node) is not Activation.RELU6:
                raise GraphError(f"layer {node.name!r} is no ReLU6")
        elif part.kind == "Add":
            if node.inputs[0] is not self.block_input:
                raise GraphError(f"layer {node.name!r} does not add the input of its block")
        else:
            self._check_conv(node, part, pad)
        if part.module:
            self.modules[part.module] = node
        if self._ends_block(part):
            self.block_input = node

    def _ends_block(self, part: Part) -> bool:
        """A block ends with its projection's norm, or with the Add that follows it."""
        add_follows = self.at < len(self.path) and self.path[self.at].class_name == "Add"
        projected = part.keras_name.endswith("project_BN") and not add_follows
        return projected or part.kind == "Add"

    def _next_if(self, *kinds: str) -> Node | None:
        if self.at < len(self.path) and self.path[self.at].class_name in kinds:
            self.at += 1
            return self.path[self.at - 1]
        return None

    def _misfit(self, part: Part) -> str:
        wanted = f"{part.keras_name!r} ({part.kind})" if part.keras_name else f"a {part.kind}"
        if self.at >= len(self.path):
            return f"the model ends where MobileNetV2 has {wanted}"
        node = self.path[self.at]
        return f"layer {node.name!r} ({node.class_name}) stands where MobileNetV2 has {wanted}"

    def _check_norm(self, node: Node) -> None:
        if axis_of(node) not in (-1, 3):
            raise GraphError(f"layer {node.name!r} normalizes axis {axis_of(node)}, not channels")
        self.epsilons.setdefault(float(node.config.get("epsilon", 1e-3)), node.name)

    def _check_conv(self, node: Node, part: Part, pad: Node | None) -> None:
        config = node.config
        expected = {
            "kernel_size": (part.kernel, part.kernel),
            "strides": (part.stride, part.stride),
            "dilation_rate": (1, 1),
        }
        for key, value in expected.items():
            if pair(config.get(key, (1, 1))) != value:
                raise GraphError(f"layer {node.name!r} has {key} {config.get(key)}, not {value}")
        plain = {"use_bias": False, "data_format": "channels_last", "groups": 1}
        plain |= {"depth_multiplier": 1} if part.kind == "DepthwiseConv2D" else {}
        for key, wanted in plain.items():
            if config.get(key, wanted) not in (wanted, None):
                raise GraphError(f"layer {node.name!r} has {key} {config[key]}, not {wanted}")
        if activation_name(config.get("activation")) != "linear":
            raise GraphError(f"layer {node.name!r} has an activation of its own")
        if part.kernel > 1 and str(config.get("padding")) != ("valid" if pad else "same"):
            raise GraphError(f"layer {node.name!r} has padding {config.get('padding')!r}")
        if pad is not None:
            self.pads.append((pad, self.halvings))
        self.halvings += part.stride == 2


def check_pads(backbone: Backbone, resolution: int) -> None:
    """Explicit paddings equal TensorFlow's SAME at this resolution, else GraphError names one.

    Keras bakes them when the model is built, and for an input of unknown size assumes even maps.
    """
    for node, halvings in backbone.pads:
        size = resolution
        for _ in range(halvings):
            size = -(-size // 2)
        same = same_padding(size, 3, 2)
        rows, columns = _sides(node.config["padding"])
        if rows != same or columns != same:
            raise GraphError(
                f"layer {node.name!r} pads {rows} and {columns}, but at {resolution} px its "
                f"{size} px map needs {same} (TensorFlow's SAME)"
            )


def activation_name(value: Any) -> str:
    """The name of an activation in a configuration; Keras 3 may wrap it in an object."""
    if isinstance(value, dict):
        value = value.get("config") if isinstance(value.get("config"), str) else value["class_name"]
    return "linear" if value is None else str(value)


def activation_of(node: Node) -> Activation | str:
    """The activation that a layer applies; an unknown one as Keras names it."""
    if node.class_name == "ReLU":
        config = node.config
        if config.get("negative_slope") or config.get("threshold"):
            return "leaky or thresholded ReLU"
        limit = config.get("max_value")
        known = {None: Activation.RELU, 6.0: Activation.RELU6}
        return known.get(limit, f"ReLU up to {limit}") if not isinstance(limit, dict) else "ReLU"
    name = "softmax" if node.class_name == "Softmax" else None
    name = name or activation_name(node.config.get("activation"))
    plain = {"linear": Activation.NONE, "relu": Activation.RELU, "relu6": Activation.RELU6}
    return plain.get(name, name)


def axis_of(node: Node) -> int:
    """The axis of a normalization or softmax; Keras 2 writes it as a list."""
    axis = node.config.get("axis", -1)
    axis = axis[0] if isinstance(axis, list) and axis else axis
    return axis if isinstance(axis, int) else -1


def pair(value: Any) -> tuple[int, int]:
    """An int or a pair, as a pair."""
    if isinstance(value, list | tuple) and len(value) == 2:
        return int(value[0]), int(value[1])
    return int(value), int(value)


def _sides(padding: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    """((top, bottom), (left, right)) of a ZeroPadding2D, which may be given as one or two ints."""
    if isinstance(padding, int):
        return (padding, padding), (padding, padding)
    rows, columns = padding
    return pair(rows), pair(columns)
