"""Core ML's operations brought back to the layers of the graph, by the names of their results."""

from __future__ import annotations

from collections.abc import Iterable

from exporter.devices.apple_benchmark import Operation
from exporter.graph import QuantizedGraph
from exporter.latency.blocks import CONVERT, OTHER, layers_in
from exporter.latency.operation_times import OperationTime, layer_table
from exporter.latency.records import LayerTime

# What a program appends to a tensor's name for what it needs on the way to it.
PARTS = ("_unclamped", "_real", "_weight")
MOVED = ("quantize", "dequantize", "cast")  # kinds of operations that compute nothing
INSIDE = "__"  # between a tensor's name and what a head computes on the way to it


def layers(
    operations: Iterable[Operation], median_ms: float, graph: QuantizedGraph
) -> tuple[LayerTime, ...]:
    """A row for each layer; the operations' shares of the median are their times."""
    names = _layers_by_name(graph)
    run = [
        OperationTime(
            layer=_layer(operation, names),
            name=f"{operation.kind}{f' on the {operation.unit}' if operation.unit else ''}",
            ms=operation.share * median_ms,
        )
        for operation in operations
    ]
    return layer_table([run], graph)


def _layers_by_name(graph: QuantizedGraph) -> dict[str, str]:
    """Also of what only gives a layer's result another shape or name: a program writes that one."""
    owners = {op.output: op.output for op in layers_in(graph)}
    for op in graph.ops:
        if op.output not in owners and op.inputs and op.inputs[0] in owners:
            owners[op.output] = owners[op.inputs[0]]
    return {_in_a_program(name): layer for name, layer in owners.items()}


def _layer(operation: Operation, names: dict[str, str]) -> str:
    if operation.kind in MOVED:
        return CONVERT
    name = operation.output.split(INSIDE)[0]
    for part in PARTS:
        name = name.removesuffix(part)
    return names.get(name, OTHER)


def _in_a_program(name: str) -> str:
    """Names there are identifiers (`exporter.graph` separates by dots)."""
    return name.replace(".", "_")
