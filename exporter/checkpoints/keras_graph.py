"""A Keras model's configuration as one flat chain of layers, nested models unfolded.

Reads both dialects: Keras 2 writes `inbound_nodes` as [[["name", 0, 0, {...}]]], Keras 3 as
{"args": [...], "kwargs": {...}} with `keras_history` inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

MODEL_CLASSES = ("Functional", "Model", "Sequential")
WEIGHTED_CLASSES = ("Conv2D", "DepthwiseConv2D", "BatchNormalization", "Dense")
MAX_DEPTH = 16  # of nested models; real ones have two or three
INPUT = "InputLayer"


class GraphError(Exception):
    """A model that is not understood: what and where in it, and perhaps what to do."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, kw_only=True)
class Step:
    """One component of a layer's address: its place among weighted siblings of its class."""

    name: str
    class_name: str
    ordinal: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Node:
    """One layer call: what it computes, on which nodes, with which constant arguments."""

    name: str
    class_name: str
    config: dict[str, Any] = field(default_factory=dict)
    inputs: tuple[Node, ...] = ()
    arguments: tuple[Any, ...] = ()  # None where an input stands, else a constant
    address: tuple[Step, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Call:
    """An entry of `inbound_nodes`: names of the inputs, and all arguments in order."""

    inputs: tuple[str, ...]
    arguments: tuple[Any, ...]


def parse(model: dict[str, Any]) -> tuple[Node, list[tuple[int | None, ...]]]:
    """The output node, and the input shapes (h, w, c) met on the way, outermost first."""
    shapes: list[tuple[int | None, ...]] = []
    entry = Node(name="the input", class_name=INPUT)
    output = _unfold(model, entry, (), shapes)
    return output, shapes


def has_weights(layer: dict[str, Any]) -> bool:
    """Whether a layer, or any layer of a nested model, is of a class that holds weights."""
    if layer.get("class_name") in MODEL_CLASSES:
        return any(has_weights(inner) for inner in _layers(layer))
    return layer.get("class_name") in WEIGHTED_CLASSES


def _unfold(
    model: dict[str, Any],
    entry: Node,
    parents: tuple[Step, ...],
    shapes: list[tuple[int | None, ...]],
) -> Node:
    if len(parents) > MAX_DEPTH:
        raise GraphError(f"models are nested more than {MAX_DEPTH} deep")
    class_name = str(model.get("class_name"))
    if class_name not in MODEL_CLASSES or not isinstance(model.get("config"), dict | list):
        raise GraphError(f"the model is a {class_name!r}, neither Functional nor Sequential")
    steps = _steps(_layers(model), parents)
    if class_name == "Sequential":
        if not shapes:
            _add_shape(model.get("config"), "build_input_shape", shapes)
        for layer, address in zip(_layers(model), steps, strict=True):
            entry = _apply(layer, (entry,), (None,), address, shapes)
        return entry
    return _unfold_functional(model, entry, steps, shapes)


def _unfold_functional(
    model: dict[str, Any],
    entry: Node,
    steps: list[tuple[Step, ...]],
    shapes: list[tuple[int | None, ...]],
) -> Node:
    """Layers in dependency order; the configuration usually lists them so already."""
    inputs = _ends(model, "input_layers")
    outputs = _ends(model, "output_layers")
    if len(inputs) != 1 or len(outputs) != 1:
        raise GraphError(f"the model has {len(inputs)} inputs and {len(outputs)} outputs")
    done: dict[str, Node] = {}
    waiting = list(zip(_layers(model), steps, strict=True))
    while waiting:
        blocked = []
        for layer, address in waiting:
            call = _call(layer)
            if all(name in done for name in call.inputs):
                sources = tuple(done[name] for name in call.inputs) or (entry,)
                arguments = call.arguments or (None,)
                done[address[-1].name] = _apply(layer, sources, arguments, address, shapes)
            else:
                blocked.append((layer, address))
        if len(blocked) == len(waiting):
            raise GraphError(f"layer {blocked[0][1][-1].name!r} has an input that nothing computes")
        waiting = blocked
    if outputs[0] not in done:
        raise GraphError(f"the output layer {outputs[0]!r} is not in the model")
    return done[outputs[0]]


def _apply(
    layer: dict[str, Any],
    inputs: tuple[Node, ...],
    arguments: tuple[Any, ...],
    address: tuple[Step, ...],
    shapes: list[tuple[int | None, ...]],
) -> Node:
    class_name, config = str(layer.get("class_name")), _config(layer)
    if inputs[0].class_name == INPUT:
        for key in ("batch_shape", "batch_input_shape"):
            _add_shape(config, key, shapes)
    if class_name == INPUT:
        return inputs[0]
    if class_name in MODEL_CLASSES:
        if len(inputs) != 1:
            raise GraphError(f"the nested model {address[-1].name!r} has {len(inputs)} inputs")
        return _unfold(layer, inputs[0], address, shapes)
    return Node(
        name=address[-1].name,
        class_name=class_name,
        config=config,
        inputs=inputs,
        arguments=arguments,
        address=address,
    )


def _steps(layers: list[dict[str, Any]], parents: tuple[Step, ...]) -> list[tuple[Step, ...]]:
    """Each layer's address."""
    counts: dict[str, int] = {}
    addresses = []
    for layer in layers:
        class_name = str(layer.get("class_name"))
        name = str(_config(layer).get("name", layer.get("name")))
        step = Step(name=name, class_name=class_name, ordinal=counts.get(class_name, 0))
        counts[class_name] = step.ordinal + has_weights(layer)
        addresses.append((*parents, step))
    return addresses


def _call(layer: dict[str, Any]) -> _Call:
    """The one call of a layer; InputLayer has none."""
    calls = layer.get("inbound_nodes") or []
    if not isinstance(calls, list) or (len(calls) != 1 and layer.get("class_name") != INPUT):
        count = len(calls) if isinstance(calls, list) else 0
        raise GraphError(f"layer {_config(layer).get('name')!r} is used {count} times, not once")
    if not calls:
        return _Call(inputs=(), arguments=())
    call = calls[0]
    if isinstance(call, dict):
        keywords = call.get("kwargs") or {}
        values = [*(call.get("args") or []), *(keywords[k] for k in ("x2",) if k in keywords)]
        return _collect(values, _history)
    if isinstance(call, list) and call and isinstance(call[0], str):
        call = [call]  # Keras 2 writes operations without the inner list
    keywords = call[0][3] if call and isinstance(call[0], list) and len(call[0]) > 3 else {}
    constants = [keywords["y"]] if isinstance(keywords, dict) and "y" in keywords else []
    return _collect([*call, *constants], _reference)


def _collect(values: list[Any], name_of: Any) -> _Call:
    """Split arguments into input names and constants; lists of tensors are flattened."""
    inputs: list[str] = []
    arguments: list[Any] = []
    for value in values:
        nested = isinstance(value, list) and bool(value) and all(name_of(v) for v in value)
        for item in value if nested else [value]:
            name = name_of(item)
            arguments.append(None if name else item)
            inputs += [name] if name else []
    if not inputs:
        raise GraphError("a layer is called without an input")
    return _Call(inputs=tuple(inputs), arguments=tuple(arguments))


def _history(value: Any) -> str | None:
    """The producer of a Keras 3 tensor."""
    if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
        return str(value["config"]["keras_history"][0])
    return None


def _reference(value: Any) -> str | None:
    """The producer of a Keras 2 tensor: ["name", node, tensor, ...]."""
    if isinstance(value, list) and len(value) >= 3 and isinstance(value[0], str):
        return value[0]
    return None


def _ends(model: dict[str, Any], key: str) -> list[str]:
    """Names in `input_layers` or `output_layers`, which may be one triple or a list of them."""
    value = _config(model).get(key)
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list) and value and isinstance(value[0], str):
        value = [value]
    if not isinstance(value, list):
        raise GraphError(f"the configuration has no {key!r}")
    return [str(entry[0]) for entry in value]


def _layers(model: dict[str, Any]) -> list[dict[str, Any]]:
    """The layers of a model; the oldest Sequential configurations are the list itself."""
    config = model.get("config")
    layers = config if isinstance(config, list) else _config(model).get("layers")
    if not isinstance(layers, list) or not all(isinstance(layer, dict) for layer in layers):
        raise GraphError("the configuration lists no layers")
    return layers


def _config(layer: dict[str, Any]) -> dict[str, Any]:
    config = layer.get("config")
    return config if isinstance(config, dict) else {}


def _add_shape(config: Any, key: str, shapes: list[tuple[int | None, ...]]) -> None:
    """Append the (h, w, c) of an image input that `config[key]` states."""
    value = config.get(key) if isinstance(config, dict) else None
    if isinstance(value, dict):  # Keras 2.13: {"class_name": "__tuple__", "items": [...]}
        value = value.get("items")
    if isinstance(value, Sequence) and len(value) == 4:
        sizes = tuple(v if isinstance(v, int) else None for v in value[1:])
        shapes.append(sizes)
