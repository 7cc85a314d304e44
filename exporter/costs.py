"""Parameters and multiply-adds of a spec, counted on its folded graph."""

from __future__ import annotations

from dataclasses import dataclass

from exporter.fold import fold
from exporter.graph import Conv, Linear, multiply_adds
from exporter.models import MobileNetV2
from exporter.spec import ModelSpec


@dataclass(frozen=True, kw_only=True)
class LayerCost:
    """One fused layer."""

    name: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int  # weights and bias after folding
    multiply_adds: int


@dataclass(frozen=True, kw_only=True)
class Costs:
    """A network's totals; `parameters` counts batch norm's scale and shift, as papers do."""

    parameters: int
    multiply_adds: int
    layers: tuple[LayerCost, ...]


def costs(spec: ModelSpec) -> Costs:
    """Count a network with random weights."""
    model = MobileNetV2(spec).eval()
    graph = fold(model)
    layers = tuple(
        LayerCost(
            name=op.output,
            kind=_kind(op),
            output_shape=graph.tensors[op.output].shape,
            parameters=int(op.weight.values.size + op.bias.size),
            multiply_adds=multiply_adds(op, graph),
        )
        for op in graph.weighted()
    )
    return Costs(
        parameters=sum(p.numel() for p in model.parameters()),
        multiply_adds=sum(layer.multiply_adds for layer in layers),
        layers=layers,
    )


def _kind(op: Conv | Linear) -> str:
    if isinstance(op, Linear):
        return "linear"
    kernel = "x".join(str(k) for k in op.kernel)
    return f"depthwise {kernel}" if op.depthwise else f"conv {kernel}"
