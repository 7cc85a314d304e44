"""Parameters and multiply-adds of a spec, counted on its folded graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from exporter.fold import fold
from exporter.graph import Conv, Linear, multiply_adds
from exporter.models import make_network
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
    outputs: Mapping[str, tuple[int, ...]]  # shapes by name


def costs(spec: ModelSpec) -> Costs:
    """Count a network with random weights."""
    model = make_network(spec).eval()
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
        outputs={tensor.name: tensor.shape for tensor in graph.outputs},
    )


def _kind(op: Conv | Linear) -> str:
    if isinstance(op, Linear):
        return "linear"
    kernel = "x".join(str(k) for k in op.kernel)
    dilation = f" dilation {op.dilation[0]}" if op.dilation != (1, 1) else ""
    return f"{'depthwise' if op.depthwise else 'conv'} {kernel}{dilation}"
