"""MobileNetV2 (Sandler et al. 2018): the backbone of all tasks, and classification."""

from __future__ import annotations

import torch
from torch import nn

from exporter.models.blocks import ConvBNReLU6, InvertedResidual, Norm
from exporter.spec import Activation, ModelSpec

# Table 2 of the paper: expansion t, output channels c, repeats n, stride s of the first repeat.
INVERTED_RESIDUALS = (
    # t, c, n, s
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
STEM_CHANNELS = 32
LAST_CHANNELS = 1280
HEAD_START = 1  # `classifier.0` is the dropout; fully connected layers are 1, 3, 5, ...


def round_channels(channels: float, divisor: int = 8) -> int:
    """Round to a multiple of `divisor`, never down by more than 10 % (TF-slim `make_divisible`)."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def last_channels(width: float) -> int:
    """Channels of the last 1x1 convolution; it never shrinks below 1280."""
    return round_channels(LAST_CHANNELS * max(1.0, width))


class MobileNetV2(nn.Module):
    """The network of a `ModelSpec`; (n, 3, r, r) float32 -> (n, classes) float32 logits."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        self.features = make_features(spec)
        self.classifier = make_head(last_channels(spec.width), spec)
        self.apply(initialize)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, 3, r, r) -> (n, classes)."""
        x = self.features(x)
        x = nn.functional.adaptive_avg_pool2d(x, (1, 1))
        y: torch.Tensor = self.classifier(torch.flatten(x, 1))
        return y


def make_features(spec: ModelSpec, *, output_stride: int = 32, last: bool = True) -> nn.Sequential:
    """The backbone: stem, 17 inverted residuals and, with `last`, the 1x1 convolution.

    Where a block would stride beyond `output_stride` it does not, and what follows it is dilated
    instead; the block itself keeps the dilation it had. No weight changes its name or shape.
    """
    norm = Norm(eps=spec.bn_eps, padding=spec.padding)
    channels = round_channels(STEM_CHANNELS * spec.width)
    layers: list[nn.Module] = [ConvBNReLU6(3, channels, kernel=3, stride=2, groups=1, norm=norm)]
    reached, dilation, following = 2, 1, 1
    for t, c, n, s in INVERTED_RESIDUALS:
        outputs = round_channels(c * spec.width)
        for i in range(n):
            stride = s if i == 0 else 1
            if reached * stride > output_stride:
                stride, following = 1, dilation * s
            layers.append(
                InvertedResidual(
                    channels, outputs, stride=stride, expansion=t, norm=norm, dilation=dilation
                )
            )
            reached, dilation, channels = reached * stride, following, outputs
    if last:
        wide = last_channels(spec.width)
        layers.append(ConvBNReLU6(channels, wide, kernel=1, stride=1, groups=1, norm=norm))
    return nn.Sequential(*layers)


def make_head(inputs: int, spec: ModelSpec) -> nn.Sequential:
    """Dropout, then fully connected layers each followed by its activation."""
    layers: list[nn.Module] = [nn.Dropout(spec.dropout)]
    for layer in spec.head:
        layers.append(nn.Linear(inputs, layer.units))
        if layer.activation is not Activation.NONE:
            layers.append(nn.ReLU() if layer.activation is Activation.RELU else nn.ReLU6())
        inputs = layer.units
    return nn.Sequential(*layers)


def initialize(module: nn.Module) -> None:
    """Kaiming for convolutions, N(0, 0.01) for fully connected layers (torchvision's choice)."""
    if any(parameter.is_meta for parameter in module.parameters(recurse=False)):
        return  # there is nothing to fill, and torch would import its compiler for it
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.01)
        nn.init.zeros_(module.bias)
