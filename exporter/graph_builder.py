"""Operations collected one by one, with their shapes; what `fold` writes a graph with."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from exporter.graph import (
    RELU6,
    Add,
    Clamp,
    Conv,
    Input,
    Op,
    QuantizedGraph,
    Shape,
    Tensor,
    Weight,
)
from exporter.models import ConvBNReLU6, InvertedResidual
from exporter.models.blocks import conv_padding
from exporter.spec import ModelSpec
from exporter.validate import validate


@dataclass(kw_only=True)
class GraphBuilder:
    """Operations and tensors so far; every method returns the name of the tensor it writes."""

    spec: ModelSpec
    ops: list[Op] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)

    def input(self) -> str:
        """The image."""
        side = self.spec.resolution
        return self._emit(Input(output="input"), (1, 3, side, side))

    def apply(self, op: Op) -> str:
        """Any operation but the input."""
        assert not isinstance(op, Input)
        return self._emit(op, op.output_shape(*(self.shape(name) for name in op.inputs)))

    def shape(self, name: str) -> Shape:
        """Of a tensor that was written."""
        return self.tensors[name].shape

    def finish(self) -> QuantizedGraph:
        """The graph, validated; raises GraphError, as for a folded weight that is not finite."""
        graph = QuantizedGraph(spec=self.spec, ops=tuple(self.ops), tensors=self.tensors)
        validate(graph)
        return graph

    def features(self, blocks: nn.Module, x: str) -> str:
        """The backbone, block by block, under the names of its state dict."""
        for index, block in enumerate(blocks.children()):
            name = f"features.{index}"
            if isinstance(block, InvertedResidual):
                x = self._inverted_residual(block, x, name)
            else:
                x = self.conv_bn_relu6(block, x, name)
        return x

    def conv_bn_relu6(self, block: nn.Module, x: str, name: str) -> str:
        """A ConvBNReLU6 as one convolution with a clamp."""
        if not isinstance(block, ConvBNReLU6):
            raise TypeError(f"{name} is a {type(block).__name__}")
        return self._conv_bn(block[0], block[1], RELU6, x, name)

    def conv(self, conv: nn.Module, x: str, name: str) -> str:
        """A convolution with a bias and nothing after it, as heads end in."""
        if not isinstance(conv, nn.Conv2d) or conv.bias is None:
            raise TypeError(f"{name} is not a convolution with a bias")
        weight, bias = (p.detach().float().numpy().copy() for p in (conv.weight, conv.bias))
        return self._conv(conv, weight, bias, None, x, name)

    def _emit(self, op: Op, shape: Shape) -> str:
        self.ops.append(op)
        self.tensors[op.output] = Tensor(name=op.output, shape=shape)
        return op.output

    def _inverted_residual(self, block: InvertedResidual, x: str, name: str) -> str:
        y = x
        *activated, project, norm = block.conv
        for i, layer in enumerate(activated):
            y = self.conv_bn_relu6(layer, y, f"{name}.conv.{i}")
        y = self._conv_bn(project, norm, None, y, f"{name}.conv.{len(activated)}")
        return self.apply(Add(a=x, b=y, output=f"{name}.add")) if block.residual else y

    def _conv_bn(
        self, conv: nn.Module, norm: nn.Module, clamp: Clamp | None, x: str, name: str
    ) -> str:
        if not isinstance(conv, nn.Conv2d) or not isinstance(norm, nn.BatchNorm2d):
            raise TypeError(f"{name} is not a convolution followed by batch norm")
        weight, bias = fold_batch_norm(conv, norm)
        return self._conv(conv, weight, bias, clamp, x, name)

    def _conv(
        self,
        conv: nn.Conv2d,
        weight: np.ndarray,
        bias: np.ndarray,
        clamp: Clamp | None,
        x: str,
        name: str,
    ) -> str:
        height, width = self.shape(x)[2:]
        return self.apply(
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
