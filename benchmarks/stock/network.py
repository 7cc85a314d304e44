"""A plain MobileNetV2 in torchvision's layout, so that the recipes need nothing of the exporter.

A checkpoint is a state dict with torchvision's names. `CHECKPOINT.json` beside it says what
torchvision's own network does otherwise: classes, batch norm's epsilon, TensorFlow's padding, and
how pictures become its input. Without that file everything is torchvision's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

# Expansion, output channels, repeats and first stride: table 2 of Sandler et al. 2018.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's
SHORTER_SIDE = 0.875  # of which share the crop is


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a state dict does not say; the defaults are torchvision's."""

    bn_eps: float = 1e-5
    same_padding: bool = False  # TensorFlow's: the odd pixel of a strided layer's zeros goes after
    stretched: bool = False  # pictures stretched and mapped to -1..1, as Keras does


class Convolution(nn.Sequential):
    """Convolution, batch norm, ReLU6."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, groups: int, how: Description
    ) -> None:
        shifted = how.same_padding and stride == 2
        padding = 0 if shifted else kernel // 2
        conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        parts = [conv, nn.BatchNorm2d(outputs, eps=how.bn_eps), nn.ReLU6(inplace=True)]
        super().__init__(*parts)
        self.shifted = shifted

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """At stride 2, SAME adds a row and a column after an even side and none before."""
        return super().forward(F.pad(x, (0, 1, 0, 1)) if self.shifted else x)


class Block(nn.Module):
    """An inverted residual."""

    def __init__(
        self, inputs: int, outputs: int, stride: int, expansion: int, how: Description
    ) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers.append(Convolution(inputs, hidden, 1, 1, 1, how))
        layers += [
            Convolution(hidden, hidden, 3, stride, hidden, how),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs, eps=how.bn_eps),
        ]
        self.conv = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, inputs, h, w) -> (n, outputs, h / stride, w / stride)."""
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNetV2(nn.Module):
    """Width 1.0; (n, 3, r, r) -> (n, classes) logits."""

    def __init__(self, classes: int, how: Description) -> None:
        super().__init__()
        features: list[nn.Module] = [Convolution(3, 32, 3, 2, 1, how)]
        channels = 32
        for expansion, outputs, repeats, first in STAGES:
            for i in range(repeats):
                stride = first if i == 0 else 1
                features.append(Block(channels, outputs, stride, expansion, how))
                channels = outputs
        features.append(Convolution(channels, 1280, 1, 1, 1, how))
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """As torchvision computes it."""
        x = F.adaptive_avg_pool2d(self.features(x), (1, 1))
        return self.classifier(torch.flatten(x, 1))


def describe(checkpoint: Path) -> Description:
    """What lies beside the checkpoint, or torchvision's."""
    path = Path(f"{checkpoint}.json")
    return Description(**json.loads(path.read_text())) if path.exists() else Description()


def load(checkpoint: Path) -> MobileNetV2:
    """The float network, in evaluation mode."""
    state = torch.load(checkpoint, weights_only=True, map_location="cpu")
    network = MobileNetV2(len(state["classifier.1.bias"]), describe(checkpoint))
    network.load_state_dict(state)
    return network.eval()


def load_images(folder: Path, count: int, resolution: int, how: Description) -> np.ndarray:
    """The first `count` pictures by name as the network's input: float32 (n, 3, r, r)."""
    suffixes = {".jpg", ".jpeg", ".png"}
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in suffixes)
    pixels = [fit(Image.open(file).convert("RGB"), resolution, how) for file in files[:count]]
    x = np.stack(pixels).astype(np.float32)
    if how.stretched:
        x = x / np.float32(127.5) - np.float32(1.0)
    else:
        x = (x / np.float32(255.0) - np.float32(MEAN)) / np.float32(STD)
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2))


def fit(image: Image.Image, resolution: int, how: Description) -> np.ndarray:
    """uint8 (r, r, 3): stretched, or the center of the picture."""
    if how.stretched:
        return np.asarray(image.resize((resolution, resolution), Image.Resampling.BILINEAR))
    side = int(resolution / SHORTER_SIDE + 0.5)
    factor = side / min(image.size)
    size = (max(side, int(image.width * factor)), max(side, int(image.height * factor)))
    left, top = (size[0] - resolution) // 2, (size[1] - resolution) // 2
    resized = image.resize(size, Image.Resampling.BILINEAR)
    return np.asarray(resized.crop((left, top, left + resolution, top + resolution)))
