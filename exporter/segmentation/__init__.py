"""Segmentation beside the network: its loss, and how right label maps are."""

from exporter.segmentation.loss import IGNORED, segmentation_loss
from exporter.segmentation.metrics import Confusion

__all__ = ["IGNORED", "Confusion", "segmentation_loss"]
