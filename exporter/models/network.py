"""The network of a spec, whatever its task, and a backbone that another checkpoint has trained."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from exporter.models.deeplabv3 import MobileDeepLabV3
from exporter.models.mobilenetv2 import MobileNetV2
from exporter.models.ssdlite import SSDLite
from exporter.spec import ModelSpec
from exporter.tasks import Task

Network = MobileNetV2 | SSDLite | MobileDeepLabV3
NETWORKS: dict[Task, type[MobileNetV2] | type[SSDLite] | type[MobileDeepLabV3]] = {
    Task.CLASSIFICATION: MobileNetV2,
    Task.DETECTION: SSDLite,
    Task.SEGMENTATION: MobileDeepLabV3,
}
BACKBONE = "features."


def make_network(spec: ModelSpec) -> Network:
    """A spec's network with random weights."""
    return NETWORKS[spec.task](spec)


def load_backbone(network: Network, state_dict: Mapping[str, torch.Tensor]) -> None:
    """Take `features.*` from the state dict of any task's network of the same width.

    A segmenter has no use for the last 1x1 convolution. The batch norm epsilon and the padding
    style are the spec's to repeat: with others the same weights are another function.
    Raises RuntimeError for a tensor that is missing or of another shape.
    """
    wanted = [name for name in network.state_dict() if name.startswith(BACKBONE)]
    found = {name.removeprefix(BACKBONE): state_dict[name] for name in wanted if name in state_dict}
    network.features.load_state_dict(found, strict=True)
