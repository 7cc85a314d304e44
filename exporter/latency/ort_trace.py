"""Which layer each node computes, in a trace of ONNX Runtime's profiler.

Our nodes have the names of the tensors they write, with what more a layer needs behind a slash, and
ONNX Runtime keeps the names of nodes that it fuses or lays out anew. It may run branches in another
order than the graph's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from exporter.errors import ArtifactError
from exporter.graph import Conv, Linear, Output, QuantizedGraph
from exporter.latency.blocks import CONVERT, OTHER, Layer, layers_in
from exporter.latency.operation_times import OperationTime

NODE, RUN = "Node", "model_run"
SUFFIX = "_kernel_time"
RENAMED = re.compile(r"(_token_\d+|_nchwc)+$")  # what ONNX Runtime puts behind our names
MULTIPLYING = ("Conv", "Gemm", "MatMul")  # kinds of nodes end so, such as QLinearConv
MOVING = frozenset({
    "Cast", "DequantizeLinear", "Flatten", "QuantizeLinear", "ReorderInput", "ReorderOutput",
    "Reshape", "Transpose",
})  # fmt: skip
US = 1e-3  # milliseconds of a microsecond


def ort_operations(data: bytes, graph: QuantizedGraph) -> tuple[tuple[OperationTime, ...], ...]:
    """Every steady run's nodes with their layers; raises ArtifactError for a damaged trace."""
    try:
        events = json.loads(data)
        owners = _owners(graph)
        runs = [_operations(run, owners) for run in _runs(events)]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArtifactError(f"damaged trace of ONNX Runtime ({error})", "profile again") from None
    if not runs:
        raise ArtifactError("a trace of ONNX Runtime without a run", "profile again")
    return tuple(runs[1:] or runs)


def _runs(events: Sequence[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    """Nodes of one inference, and last the event around all of it, which is written last."""
    run: list[Mapping[str, Any]] = []
    for event in events:
        if event["cat"] == NODE and event["name"].endswith(SUFFIX):
            run.append(event)
        elif event["name"] == RUN:
            yield [*run, event]
            run = []


def _operations(
    run: Sequence[Mapping[str, Any]], owners: Mapping[str, Layer]
) -> tuple[OperationTime, ...]:
    *nodes, around = run
    nodes = _outermost(nodes)
    found = [
        OperationTime(
            layer=_layer(_tensor(node["name"]), node["args"]["op_name"], owners),
            name=node["args"]["op_name"],
            ms=node["dur"] * US,
        )
        for node in nodes
    ]
    rest = (around["dur"] - sum(node["dur"] for node in nodes)) * US
    found.append(OperationTime(layer=OTHER, name="around the nodes", ms=max(rest, 0.0)))
    return tuple(found)


def _outermost(nodes: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Without the nodes inside a loop: the loop's own time has theirs."""
    loops = [(n["ts"], n["ts"] + n["dur"], n) for n in nodes if n["args"]["op_name"] == "Loop"]
    return [
        node
        for node in nodes
        if not any(a <= node["ts"] < b and node is not loop for a, b, loop in loops)
    ]


def _tensor(name: str) -> str:
    """The graph's tensor that a node's name begins with."""
    return RENAMED.sub("", name.removesuffix(SUFFIX)).partition("/")[0]


def _layer(tensor: str, kind: str, owners: Mapping[str, Layer]) -> str:
    """A node that multiplies is its convolution's, whatever was fused into it and named it."""
    layer = owners.get(tensor)
    if layer is None or (kind in MOVING and layer.output != tensor):
        return CONVERT if kind in MOVING else OTHER
    if kind.endswith(MULTIPLYING):
        while layer is not None and not isinstance(layer, Conv | Linear):
            written = [owners[name] for name in layer.inputs if name in owners]
            # Of an addition's operands, the one computed last is what it was fused with.
            layer = max(written, key=list(owners.values()).index, default=None)
    return tensor if layer is None else layer.output


def _owners(graph: QuantizedGraph) -> dict[str, Layer]:
    """Layers by the tensors they write; a float result is written by the layer before it."""
    owners = {layer.output: layer for layer in layers_in(graph)}
    for op in graph.ops:
        if isinstance(op, Output) and op.input in owners:
            owners[op.output] = owners[op.input]
    return owners
