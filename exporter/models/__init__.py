"""The networks, as plain PyTorch modules that take (n, 3, h, w) float32 and return logits."""

from exporter.models.blocks import ConvBNReLU6, InvertedResidual
from exporter.models.mobilenetv2 import MobileNetV2

__all__ = ["ConvBNReLU6", "InvertedResidual", "MobileNetV2"]
