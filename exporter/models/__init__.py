"""The networks, as plain PyTorch modules that take (n, 3, h, w) float32 and return logits."""

from exporter.models.blocks import ConvBNReLU6, InvertedResidual
from exporter.models.deeplabv3 import MobileDeepLabV3
from exporter.models.mobilenetv2 import MobileNetV2
from exporter.models.network import Network, load_backbone, make_network
from exporter.models.ssdlite import RawDetections, SSDLite

__all__ = [
    "ConvBNReLU6",
    "InvertedResidual",
    "MobileDeepLabV3",
    "MobileNetV2",
    "Network",
    "RawDetections",
    "SSDLite",
    "load_backbone",
    "make_network",
]
