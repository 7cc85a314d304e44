"""SSDLite on MobileNetV2 (Sandler et al. 2018, section 6.2; Liu et al. 2016 for SSD itself)."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import nn

from exporter.detection.anchors import anchors_per_cell
from exporter.models.blocks import ConvBNReLU6, InvertedResidual, Norm
from exporter.models.mobilenetv2 import initialize, last_channels, make_features, round_channels
from exporter.spec import ModelSpec

FIRST_MAP = 14  # the block whose expansion, at stride 16, is the first map ("layer 15")
EXTRA_CHANNELS = (512, 256, 256, 128)  # at width 1; they follow the width, as in TensorFlow's
PREDICTION_STD = 0.03  # of the last convolutions' initial weights, as in TensorFlow's
BOX = 4  # offsets of one box


class RawDetections(NamedTuple):
    """What the heads give for every anchor, in the order of `anchors.make_anchors`."""

    class_logits: torch.Tensor  # (n, anchors, classes); class 0 is the background
    box_offsets: torch.Tensor  # (n, anchors, 4): dx, dy, dw, dh


class SSDLite(nn.Module):
    """The detector of a `ModelSpec`; its `features` are those of the classifier."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        if spec.detection is None:
            raise TypeError(f"the spec is of a model for {spec.task}")
        self.spec = spec
        norm = Norm(eps=spec.bn_eps, padding=spec.padding)
        self.features = make_features(spec)
        extras = [round_channels(c * spec.width) for c in EXTRA_CHANNELS]
        sizes = [last_channels(spec.width), *extras]
        self.extras = nn.ModuleList(make_extra(i, o, norm) for i, o in pairwise(sizes))
        maps = [hidden_channels(self.features[FIRST_MAP]), *sizes]
        cells = anchors_per_cell(spec.detection)
        self.classifiers = nn.ModuleList(
            make_predictor(c, k * spec.classes, norm) for c, k in zip(maps, cells, strict=True)
        )
        self.regressors = nn.ModuleList(
            make_predictor(c, k * BOX, norm) for c, k in zip(maps, cells, strict=True)
        )
        self.apply(initialize)
        for heads in (self.classifiers, self.regressors):
            heads.apply(_initialize_predictor)

    def maps(self, x: torch.Tensor) -> list[torch.Tensor]:
        """(n, 3, r, r) -> the six maps, strides 16 to 512."""
        before, block, after = self._parts()
        first = block[0](before(x))
        found = [first, after(block[1:](first))]
        for extra in self.extras:
            found.append(extra(found[-1]))
        return found

    def _parts(self) -> tuple[nn.Module, nn.Sequential, nn.Module]:
        """The backbone before the tapped block, that block's layers, and the rest."""
        block = self.features[FIRST_MAP]
        assert isinstance(block, InvertedResidual)
        assert not block.residual  # nothing is added to what its layers give
        return self.features[:FIRST_MAP], block.conv, self.features[FIRST_MAP + 1 :]

    def forward(self, x: torch.Tensor) -> RawDetections:
        """(n, 3, r, r) -> logits and offsets of every anchor."""
        maps = self.maps(x)
        classes = self.spec.classes
        return RawDetections(
            class_logits=joined(self.classifiers, maps, classes),
            box_offsets=joined(self.regressors, maps, BOX),
        )


def _initialize_predictor(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d) and module.bias is not None:
        nn.init.trunc_normal_(module.weight, std=PREDICTION_STD)
        nn.init.zeros_(module.bias)


def joined(heads: nn.ModuleList, maps: list[torch.Tensor], values: int) -> torch.Tensor:
    """(n, k * values, h, w) of every map -> (n, anchors, values), cell by cell."""
    parts = [head(x).permute(0, 2, 3, 1) for head, x in zip(heads, maps, strict=True)]
    return torch.cat([part.reshape(len(part), -1, values) for part in parts], 1)


def hidden_channels(block: nn.Module) -> int:
    """Channels of a block's expansion."""
    assert isinstance(block, InvertedResidual)
    expansion = block.conv[0]
    assert isinstance(expansion, ConvBNReLU6)
    assert isinstance(expansion[0], nn.Conv2d)
    return expansion[0].out_channels


def make_extra(inputs: int, outputs: int, norm: Norm) -> nn.Sequential:
    """Half the map: 1x1 to half the channels, depthwise 3x3 of stride 2, 1x1."""
    hidden = outputs // 2
    return nn.Sequential(
        ConvBNReLU6(inputs, hidden, kernel=1, stride=1, groups=1, norm=norm),
        ConvBNReLU6(hidden, hidden, kernel=3, stride=2, groups=hidden, norm=norm),
        ConvBNReLU6(hidden, outputs, kernel=1, stride=1, groups=1, norm=norm),
    )


def make_predictor(inputs: int, outputs: int, norm: Norm) -> nn.Sequential:
    """SSDLite's head: the 3x3 convolution of SSD, made separable."""
    return nn.Sequential(
        ConvBNReLU6(inputs, inputs, kernel=3, stride=1, groups=inputs, norm=norm),
        nn.Conv2d(inputs, outputs, 1),
    )
