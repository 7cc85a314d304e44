"""Cross-entropy over the pixels that have a label."""

from __future__ import annotations

import torch
import torch.nn.functional as F

IGNORED = 255  # Pascal VOC's label of outlines and of what nobody labeled


def segmentation_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean over labeled pixels: logits (n, classes, h, w), int64 labels (n, h, w).

    0 with a gradient of 0 where no pixel has a label, which torch's own mean makes NaN.
    """
    total = F.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")
    return total / (labels != IGNORED).sum().clamp_min(1)
