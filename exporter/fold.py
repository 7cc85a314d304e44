"""A trained network with batch norm becomes a float QuantizedGraph without it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from exporter.graph import (
    RELU,
    RELU6,
    Add,
    Clamp,
    Conv,
    Input,
    Linear,
    Op,
    Output,
    Pool,
    QuantizedGraph,
    Reshape,
    Shape,
    Tensor,
    Weight,
)
from exporter.models import ConvBNReLU6, InvertedResidual, MobileNetV2
from exporter.models.blocks import conv_padding
from exporter.validate import validate

CLAMPS: dict[type[nn.Module], Clamp] = {nn.ReLU: RELU, nn.ReLU6: RELU6}


@dataclass(kw_only=True)
class _Builder:
    """Operations and tensors collected so far."""

    ops: list[Op] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)

    def emit(self, op: Op, shape: Shape) -> str:
        self.ops.append(op)
        self.tensors[op.output] = Tensor(name=op.output, shape=shape)
        return op.output

    def apply(self, op: Conv | Linear | Add | Pool | Reshape | Output) -> str:
        return self.emit(op, op.output_shape(self.tensors[op.inputs[0]].shape))


def fold(model: MobileNetV2) -> QuantizedGraph:
    """Walk the network once; batch norm goes into the convolutions in float64, rounded once.

    Raises GraphError when a folded weight is not finite.
    """
    spec = model.spec
    graph = _Builder()
    x = graph.emit(Input(output="input"), (1, 3, spec.resolution, spec.resolution))
    for index, block in enumerate(model.features):
        name = f"features.{index}"
        if isinstance(block, InvertedResidual):
            x = _inverted_residual(graph, block, x, name)
        elif isinstance(block, ConvBNReLU6):
            x = _conv_bn(graph, block[0], block[1], RELU6, x, name)
        else:
            raise TypeError(f"{name} is a {type(block).__name__}")
    x = graph.apply(Pool(input=x, output="pool"))
    x = graph.apply(Reshape(input=x, output="flatten", shape=graph.tensors[x].shape[:2]))
    x = _head(graph, model.classifier, x)
    graph.apply(Output(input=x, output="logits"))
    folded = QuantizedGraph(spec=spec, ops=tuple(graph.ops), tensors=graph.tensors)
    validate(folded)
    return folded


def _inverted_residual(graph: _Builder, block: InvertedResidual, x: str, name: str) -> str:
    y = x
    *activated, project, norm = block.conv
    for i, layer in enumerate(activated):
        assert isinstance(layer, ConvBNReLU6)
        y = _conv_bn(graph, layer[0], layer[1], RELU6, y, f"{name}.conv.{i}")
    y = _conv_bn(graph, project, norm, None, y, f"{name}.conv.{len(activated)}")
    return graph.apply(Add(a=x, b=y, output=f"{name}.add")) if block.residual else y


def _conv_bn(
    graph: _Builder, conv: nn.Module, norm: nn.Module, clamp: Clamp | None, x: str, name: str
) -> str:
    if not isinstance(conv, nn.Conv2d) or not isinstance(norm, nn.BatchNorm2d):
        raise TypeError(f"{name} is not a convolution followed by batch norm")
    weight, bias = fold_batch_norm(conv, norm)
    height, width = graph.tensors[x].shape[2:]
    return graph.apply(
        Conv(
            input=x,
            output=name,
            weight=Weight(values=weight),
            bias=bias,
            stride=(conv.stride[0], conv.stride[1]),
            padding=conv_padding(conv, height, width),
            dilation=(conv.dilation[0], conv.dilation[1]),
            groups=conv.groups,
            clamp=clamp,
        )
    )


def fold_batch_norm(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[np.ndarray, np.ndarray]:
    """Float32 weight (o, i, kh, kw) and bias (o,) of the convolution that equals conv then norm."""
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        raise TypeError("batch norm without running statistics cannot be folded")
    with torch.no_grad():
        factor = norm.weight.double() / torch.sqrt(variance.double() + norm.eps)
        weight = conv.weight.double() * factor.view(-1, 1, 1, 1)
        start = 0.0 if conv.bias is None else conv.bias.double()
        bias = (start - mean.double()) * factor + norm.bias.double()
    return weight.float().numpy(), bias.float().numpy()


def _head(graph: _Builder, classifier: nn.Sequential, x: str) -> str:
    layers = [layer for layer in classifier if not isinstance(layer, nn.Dropout)]
    linears = [i for i, layer in enumerate(layers) if isinstance(layer, nn.Linear)]
    for position, i in enumerate(linears):
        linear = layers[i]
        follower = layers[i + 1] if i + 1 < len(layers) else None
        name = "classifier" if i == linears[-1] else f"classifier.{position}"
        assert isinstance(linear, nn.Linear)
        x = graph.apply(
            Linear(
                input=x,
                output=name,
                weight=Weight(values=linear.weight.detach().float().numpy().copy()),
                bias=linear.bias.detach().float().numpy().copy(),
                clamp=None if follower is None else CLAMPS.get(type(follower)),
            )
        )
    return x
