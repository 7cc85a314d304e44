"""Mobile DeepLabv3 (Sandler et al. 2018, section 6.3; Chen et al. 2017, arXiv:1706.05587)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from exporter.models.blocks import ConvBNReLU6, Norm
from exporter.models.mobilenetv2 import (
    INVERTED_RESIDUALS,
    initialize,
    make_features,
    round_channels,
)
from exporter.spec import ModelSpec

ASPP_CHANNELS = 256
ASPP_RATES = (6, 12, 18)  # at output stride 16; twice that at 8


class MobileDeepLabV3(nn.Module):
    """The segmenter of a `ModelSpec`; (n, 3, r, r) float32 -> (n, classes, r, r) logits.

    Its `features` are the classifier's up to the 320-channel map, dilated where the spec's output
    stride asks for it; maps are enlarged with half-pixel centers.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        if spec.segmentation is None:
            raise TypeError(f"the spec is of a model for {spec.task}")
        self.spec = spec
        norm = Norm(eps=spec.bn_eps, padding=spec.padding)
        stride = spec.segmentation.output_stride
        self.features = make_features(spec, output_stride=stride, last=False)
        inputs = round_channels(INVERTED_RESIDUALS[-1][1] * spec.width)
        rates = [rate * 16 // stride for rate in ASPP_RATES]
        branches = [_branch(inputs, 1, 1, norm)]
        if spec.segmentation.full_aspp:
            branches += [_branch(inputs, 3, rate, norm) for rate in rates]
        self.pooled = _branch(inputs, 1, 1, norm)
        self.branches = nn.ModuleList(branches)
        joined = ASPP_CHANNELS * (1 + len(branches))
        self.project = _branch(joined, 1, 1, norm)
        self.dropout = nn.Dropout(spec.dropout)
        self.classifier = nn.Conv2d(ASPP_CHANNELS, spec.classes, 1)
        self.apply(initialize)
        nn.init.zeros_(self.classifier.bias)  # type: ignore[arg-type]

    def lowres(self, x: torch.Tensor) -> torch.Tensor:
        """(n, 3, r, r) -> (n, classes, h, w), h the input side divided by the output stride."""
        x = self.features(x)
        pooled = self.pooled(F.adaptive_avg_pool2d(x, 1))
        parts = [enlarge(pooled, x.shape[2:]), *(branch(x) for branch in self.branches)]
        y: torch.Tensor = self.classifier(self.dropout(self.project(torch.cat(parts, 1))))
        return y

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of every pixel."""
        return enlarge(self.lowres(x), x.shape[2:])


def enlarge(x: torch.Tensor, size: torch.Size) -> torch.Tensor:
    """Bilinear with half-pixel centers; a 1 x 1 map is broadcast."""
    return F.interpolate(x, list(size), mode="bilinear", align_corners=False)


def _branch(inputs: int, kernel: int, dilation: int, norm: Norm) -> ConvBNReLU6:
    return ConvBNReLU6(
        inputs, ASPP_CHANNELS, kernel=kernel, stride=1, groups=1, norm=norm, dilation=dilation
    )
