"""The two blocks that MobileNetV2 is made of.

State dict keys follow torchvision's `mobilenet_v2`, so its checkpoints load unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from exporter.spec import PaddingStyle


@dataclass(frozen=True, kw_only=True)
class Norm:
    """What every convolution of a model shares."""

    eps: float = 1e-5
    padding: PaddingStyle = PaddingStyle.TORCH


def same_padding(size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """TensorFlow's SAME: (before, after) for one axis; the odd pixel goes after.

    Source: tensorflow.org/api_docs/python/tf/nn, "Notes on padding".
    """
    outputs = -(-size // stride)
    total = max(0, (outputs - 1) * stride + dilation * (kernel - 1) + 1 - size)
    return total // 2, total - total // 2


def conv_padding(conv: nn.Conv2d, height: int, width: int) -> tuple[int, int, int, int]:
    """(top, left, bottom, right) zeros that `conv` adds to an input of height x width."""
    if isinstance(conv, SameConv2d):
        kernel, stride, dilation = conv.kernel_size, conv.stride, conv.dilation
        top, bottom = same_padding(height, kernel[0], stride[0], dilation[0])
        left, right = same_padding(width, kernel[1], stride[1], dilation[1])
        return top, left, bottom, right
    vertical, horizontal = int(conv.padding[0]), int(conv.padding[1])
    return vertical, horizontal, vertical, horizontal


class SameConv2d(nn.Conv2d):
    """A convolution that pads as TensorFlow's SAME does, for any input size."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 (torch's own name)
        """(n, c, h, w) -> (n, o, ceil(h / stride), ceil(w / stride))."""
        top, left, bottom, right = conv_padding(self, input.shape[2], input.shape[3])
        return super().forward(F.pad(input, (left, right, top, bottom)))


def make_conv(
    inputs: int, outputs: int, kernel: int, stride: int, groups: int, norm: Norm, dilation: int = 1
) -> nn.Conv2d:
    """A bias-free convolution in the model's padding style."""
    if norm.padding is PaddingStyle.SAME and kernel > 1:
        return SameConv2d(
            inputs, outputs, kernel, stride, dilation=dilation, groups=groups, bias=False
        )
    padding = (kernel - 1) // 2 * dilation
    return nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups, bias=False)


class ConvBNReLU6(nn.Sequential):
    """Convolution, batch norm and ReLU6, which become one fused operation when exported."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        kernel: int,
        stride: int,
        groups: int,
        norm: Norm,
        dilation: int = 1,
    ) -> None:
        super().__init__(
            make_conv(inputs, outputs, kernel, stride, groups, norm, dilation),
            nn.BatchNorm2d(outputs, eps=norm.eps),
            nn.ReLU6(inplace=True),
        )


class InvertedResidual(nn.Module):
    """Expand 1x1, depthwise 3x3, project 1x1; the input is added where shapes agree (Fig. 4)."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        stride: int,
        expansion: int,
        norm: Norm,
        dilation: int = 1,
    ) -> None:
        super().__init__()
        self.residual = stride == 1 and inputs == outputs
        hidden = inputs * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers.append(ConvBNReLU6(inputs, hidden, kernel=1, stride=1, groups=1, norm=norm))
        layers += [
            ConvBNReLU6(
                hidden,
                hidden,
                kernel=3,
                stride=stride,
                groups=hidden,
                norm=norm,
                dilation=dilation,
            ),
            make_conv(hidden, outputs, 1, 1, 1, norm),
            nn.BatchNorm2d(outputs, eps=norm.eps),
        ]
        self.conv = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, inputs, h, w) -> (n, outputs, h / stride, w / stride)."""
        y: torch.Tensor = self.conv(x)
        return x + y if self.residual else y
