"""Whether a quantized program has the pattern that Core ML runs as integers (ML301 to ML304)."""

from __future__ import annotations

from collections.abc import Iterator

from exporter.findings import Finding
from targets.mil.lint.findings import found, listed
from targets.mil.lint.flow import VIEWS, Flow, Node

QUANTIZE, DEQUANTIZE = "quantize", "dequantize"
LAYERS = {"conv", "conv_transpose", "linear"}
# Activations that change no more than where a range ends, so they fuse with layer and quantize.
ACTIVATIONS = {"relu", "relu6", "clip", "leaky_relu", "prelu", "clamped_relu"}


def quantization_findings(flow: Flow) -> Iterator[Finding]:
    """None of a program that only compresses its weights."""
    if any(node.type == QUANTIZE for node in flow.nodes):
        yield from _unquantized_layers(flow)
        yield from _late_activations(flow)
        yield from _requantized(flow)
        yield from _unquantized_results(flow)


def _unquantized_layers(flow: Flow) -> Iterator[Finding]:
    names = [
        node.name for node in flow.nodes if node.type in LAYERS and origin(flow, node, "x") is None
    ]
    if names:
        yield found("ML301", listed(names))


def _late_activations(flow: Flow) -> Iterator[Finding]:
    names = []
    for node in flow.nodes:
        if node.type not in LAYERS:
            continue
        after = _only(flow, _only(flow, _only(flow, node, QUANTIZE), DEQUANTIZE), *ACTIVATIONS)
        if after is not None:
            names.append(f"{node.name} -> {after.type}")
    if names:
        yield found("ML302", listed(names))


def _requantized(flow: Flow) -> Iterator[Finding]:
    names = [
        node.name
        for node in flow.nodes
        if node.type == QUANTIZE and origin(flow, node, "input") is not None
    ]
    if names:
        yield found("ML303", listed(names))


def _unquantized_results(flow: Flow) -> Iterator[Finding]:
    """Only layers with another one behind them: the last may well give real values."""
    early = flow.flagged(lambda node: node.type in LAYERS, downstream=False)
    names = []
    for node in flow.nodes:
        if node.type in LAYERS and node in early and origin(flow, node, "x") is not None:
            readers = flow.only_readers(activated(flow, node).name)
            # A layer that reads it unquantized is told of by itself.
            if not all(r.type == QUANTIZE or r.type in LAYERS for r in readers) or not readers:
                names.append(node.name)
    if names:
        yield found("ML304", listed(names))


def origin(flow: Flow, node: Node, argument: str) -> Node | None:
    """The dequantize whose numbers an input holds, rearranged at most."""
    source = flow.source(node, argument)
    while source is not None and source.type in VIEWS:
        source = flow.source(source, "x")
    return source if source is not None and source.type == DEQUANTIZE else None


def _only(flow: Flow, node: Node | None, *types: str) -> Node | None:
    """The one reader of a node's result, if it is of one of these types."""
    readers = [] if node is None else flow.only_readers(node.name)
    return readers[0] if len(readers) == 1 and readers[0].type in types else None


def activated(flow: Flow, layer: Node) -> Node:
    """The activation behind a layer, where that is all that reads it; else the layer."""
    return _only(flow, layer, *ACTIVATIONS) or layer
