"""The classifier that Keras users put behind MobileNetV2, folded into fully connected layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from exporter.checkpoints.keras_backbone import activation_of, axis_of, pair
from exporter.checkpoints.keras_graph import GraphError, Node
from exporter.checkpoints.keras_weights import Arrays
from exporter.spec import Activation, HeadLayer

# Nothing at inference.
DROPOUTS = frozenset(
    {
        "Dropout",
        "AlphaDropout",
        "GaussianDropout",
        "GaussianNoise",
        "SpatialDropout2D",
        "ActivityRegularization",
    }
)


@dataclass(kw_only=True, eq=False)
class Linear:
    """A fully connected layer in float64; `weight` is (outputs, inputs)."""

    name: str
    weight: np.ndarray
    bias: np.ndarray
    activation: Activation = Activation.NONE


@dataclass(kw_only=True, eq=False)
class Head:
    """The classifier behind the backbone, as it is built up layer by layer."""

    linears: list[Linear] = field(default_factory=list)
    dropout: float | None = None
    folded: list[str] = field(default_factory=list)
    softmax: str | None = None
    pooled: bool = False
    spatial: bool = True  # whether the features still have height and width axes
    pending: tuple[str, np.ndarray, np.ndarray] | None = None  # a norm before the next Linear

    def layers(self) -> tuple[HeadLayer, ...]:
        """The spec's view."""
        return tuple(
            HeadLayer(units=linear.weight.shape[0], activation=linear.activation)
            for linear in self.linears
        )


def read_head(
    after: list[Node], read: Callable[[Node], Arrays], check_pool: Callable[[Node], None]
) -> Head:
    """Fold the layers after the backbone into fully connected layers that end in logits.

    `check_pool` raises GraphError unless an AveragePooling2D covers the whole feature map.
    """
    head = Head()
    with np.errstate(all="ignore"):  # NaN and infinities are named later, tensor by tensor
        for node in after:
            if head.softmax is not None:
                raise GraphError(f"layer {node.name!r} follows the softmax of {head.softmax!r}")
            _read_layer(head, node, read, check_pool)
    if head.pending is not None:
        raise GraphError(f"batch norm {head.pending[0]!r} has no Dense next to it to fold into")
    if not head.linears:
        raise GraphError("the model has no classifier: no Dense layer follows the network")
    last = head.linears[-1]
    if last.activation is not Activation.NONE:
        raise GraphError(f"layer {last.name!r} ends in {last.activation}, not in logits or softmax")
    if last.weight.shape[0] < 2:
        raise GraphError(f"layer {last.name!r} has a single output; train it with one per class")
    return head


def _read_layer(
    head: Head, node: Node, read: Callable[[Node], Arrays], check_pool: Callable[[Node], None]
) -> None:
    kind = node.class_name
    if kind in DROPOUTS:
        if head.dropout is None and kind == "Dropout":
            head.dropout = float(node.config.get("rate", 0.0))
    elif not head.pooled:
        _read_pool(head, node, check_pool)
    elif kind in ("Flatten", "Reshape") and not head.linears and _is_flattening(node):
        head.spatial = False
    elif head.spatial:
        raise GraphError(f"layer {node.name!r} ({kind}) works on a map that was never flattened")
    elif kind == "Dense":
        _add_dense(head, node, read(node))
    elif kind == "BatchNormalization":
        _add_norm(head, node, read(node))
    elif kind in ("Activation", "ReLU", "Softmax"):
        _add_activation(head, node.name, activation_of(node), axis_of(node))
    else:
        raise GraphError(f"layer {node.name!r} ({kind}) in the classifier is not understood")


def _read_pool(head: Head, node: Node, check_pool: Callable[[Node], None]) -> None:
    """Global average pooling, or an average pooling over the whole map."""
    if node.class_name == "GlobalAveragePooling2D":
        head.pooled, head.spatial = True, bool(node.config.get("keepdims", False))
    elif node.class_name == "AveragePooling2D":
        check_pool(node)
        head.pooled = True
    else:
        raise GraphError(
            f"layer {node.name!r} ({node.class_name}) follows the network where "
            "GlobalAveragePooling2D belongs"
        )


def _is_flattening(node: Node) -> bool:
    shape = node.config.get("target_shape")
    return node.class_name == "Flatten" or (isinstance(shape, list | tuple) and len(shape) == 1)


def _add_dense(head: Head, node: Node, arrays: Arrays) -> None:
    weight = arrays["kernel"].astype(np.float64)
    if weight.ndim != 2:
        raise GraphError(f"layer {node.name!r} has a kernel of shape {weight.shape}")
    weight = weight.T
    bias = arrays["bias"].astype(np.float64) if "bias" in arrays else np.zeros(weight.shape[0])
    if bias.shape != weight.shape[:1]:
        raise GraphError(f"layer {node.name!r} has a bias of shape {bias.shape}")
    if head.pending is not None:
        name, scale, shift = head.pending
        _same_size(name, scale.size, node.name, weight.shape[1])
        bias, weight = bias + weight @ shift, weight * scale
        head.folded.append(name)
        head.pending = None
    if head.linears and head.linears[-1].weight.shape[0] != weight.shape[1]:
        _same_size(head.linears[-1].name, head.linears[-1].bias.size, node.name, weight.shape[1])
    head.linears.append(Linear(name=node.name, weight=weight, bias=bias))
    _add_activation(head, node.name, activation_of(node), -1)


def _add_norm(head: Head, node: Node, arrays: Arrays) -> None:
    """Fold into the linear layer before it, else keep it for the one after it."""
    if axis_of(node) not in (-1, 1):
        raise GraphError(f"layer {node.name!r} normalizes axis {axis_of(node)}")
    if head.pending is not None:
        raise GraphError(f"batch norms {head.pending[0]!r} and {node.name!r} follow each other")
    mean = arrays["moving_mean"].astype(np.float64)
    variance = arrays["moving_variance"].astype(np.float64)
    if (variance < 0).any() or not np.isfinite(variance).all() or not np.isfinite(mean).all():
        raise GraphError(f"layer {node.name!r} holds negative, NaN or infinite statistics")
    gamma = arrays.get("gamma", np.ones_like(mean)).astype(np.float64)
    scale = gamma / np.sqrt(variance + float(node.config.get("epsilon", 1e-3)))
    shift = arrays.get("beta", np.zeros_like(mean)).astype(np.float64) - mean * scale
    last = head.linears[-1] if head.linears else None
    if last is not None and last.activation is Activation.NONE:
        _same_size(node.name, scale.size, last.name, last.bias.size)
        last.weight, last.bias = last.weight * scale[:, None], last.bias * scale + shift
        head.folded.append(node.name)
    else:
        head.pending = (node.name, scale, shift)


def _add_activation(head: Head, name: str, activation: Activation | str, axis: int) -> None:
    """Put an activation on the last Linear; the final softmax is noted and dropped."""
    if activation is Activation.NONE:
        return
    last = head.linears[-1] if head.linears else None
    free = last is not None and last.activation is Activation.NONE and head.pending is None
    if activation == "softmax" and free and axis in (-1, 1):
        head.softmax = name
    elif isinstance(activation, Activation) and free and last is not None:
        last.activation = activation
    elif activation == "sigmoid":
        raise GraphError(
            f"layer {name!r} ends in a sigmoid; train it with one output per class and softmax"
        )
    else:
        raise GraphError(f"layer {name!r} applies {str(activation)!r} where it cannot be exported")


def _same_size(left: str, left_size: int, right: str, right_size: int) -> None:
    if left_size != right_size:
        raise GraphError(
            f"layers {left!r} and {right!r} do not fit: {left_size} and {right_size} features"
        )


def check_whole_map(node: Node, map_size: int) -> None:
    """An AveragePooling2D that covers exactly the feature map is global average pooling."""
    size = pair(node.config.get("pool_size", 2))
    strides = pair(node.config.get("strides") or size)
    if size != (map_size, map_size) or node.config.get("padding", "valid") != "valid":
        raise GraphError(
            f"layer {node.name!r} pools {size} with strides {strides}, not the whole "
            f"{map_size} x {map_size} map"
        )
