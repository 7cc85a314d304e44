"""What of a program `inspect` shows: its layers, and which iOS it asks for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from exporter.target import LayerInfo
from targets.coreml_program import graph_name
from targets.mil.lint.findings import listed
from targets.mil.lint.flow import Flow, Node, flows
from targets.mil.lint.interface import features
from targets.mil.lint.versions import OPSETS, release, runs_from
from targets.mil.package import Package, constant_bytes

STATE = "stateType"
WEIGHTED = {"conv": "convolution", "linear": "linear"}


def declared_features(package: Package) -> tuple[list[Any], list[Any]]:
    """Inputs, without states, and outputs of the function that runs unless another is named.

    Of a pipeline its own.
    """
    if package.pipeline is not None:
        described = package.pipeline.description
        return list(described.input), list(described.output)
    inputs, outputs = features(_entry(package))
    return [f for f in inputs if f.type.WhichOneof("Type") != STATE], outputs


def particulars(package: Package) -> tuple[str, ...]:
    """What an ordinary program has not: states and further functions, by name."""
    inputs, _ = features(_entry(package))
    states = [f.name for f in inputs if f.type.WhichOneof("Type") == STATE]
    others = [f.name for f in flows(package) if f.name != package.function_name]
    notes = [f"keeps states between calls: {listed(states)}"] if states else []
    if others:
        notes.append(f"shown is the function {package.function_name!r}; others: {listed(others)}")
    return tuple(notes)


def requirement(package: Package) -> str:
    """The operation set with the iOS that reads it, and the iOS that had the operations first."""
    opset = package.function.opset
    declared = [release(version) for version, name in OPSETS.items() if name == opset]
    text = f"opset {opset} ({declared[0]}+)" if declared else f"opset {opset} (unknown)"
    oldest = runs_from(package, flows(package))
    if oldest is None or not declared:
        return text
    first = release(oldest)
    return text if first == declared[0] else f"{text}, its operations exist since {first}"


def layers(package: Package) -> Iterator[LayerInfo]:
    """Convolutions and linear layers with the bytes of their constants."""
    flow = _entry(package)
    for node in flow.nodes:
        if node.type in WEIGHTED:
            yield LayerInfo(
                name=graph_name(node.name),
                op=WEIGHTED[node.type],
                size_bytes=sum(_stored(flow, node, name) for name in ("weight", "bias")),
            )


def _stored(flow: Flow, node: Node, argument: str) -> int:
    """0 for a bias that is not there, and for weights that are computed."""
    source = flow.source(node, argument)
    return constant_bytes(source.op) if source is not None and source.constant else 0


def _entry(package: Package) -> Flow:
    return next(flow for flow in flows(package) if flow.name == package.function_name)
