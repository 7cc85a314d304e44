"""SSD's loss: sigmoid classification with hard negatives or focal, and smooth L1 on offsets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F

from exporter.training.recipe import Balance

NEGATIVES_PER_POSITIVE = 3
FOCAL_ALPHA, FOCAL_GAMMA = 0.25, 2.0  # Lin et al. 2017 (arXiv:1708.02002)


@dataclass(frozen=True, kw_only=True)
class LossSettings:
    """How the two parts are made and added."""

    balance: Balance = Balance.HARD_NEGATIVES
    box_weight: float = 1.0


class DetectionLoss(NamedTuple):
    """Per matched anchor of the batch; `total` is what is minimized."""

    total: torch.Tensor
    classification: torch.Tensor
    box: torch.Tensor


def detection_loss(
    class_logits: torch.Tensor,
    box_offsets: torch.Tensor,
    classes: torch.Tensor,
    offsets: torch.Tensor,
    settings: LossSettings,
) -> DetectionLoss:
    """Logits (n, anchors, classes), offsets (n, anchors, 4), targets as `match` gives them."""
    positive, known = classes > 0, classes >= 0
    count = positive.sum().clamp_min(1)
    per_anchor = _classification(class_logits, classes.clamp_min(0), settings.balance)
    counted = known
    if settings.balance is Balance.HARD_NEGATIVES:
        counted = positive | hard_negatives(per_anchor, positive, known)
    per_anchor = torch.where(counted, per_anchor, 0.0)
    classification = per_anchor.sum() / count
    box = F.smooth_l1_loss(box_offsets[positive], offsets[positive], reduction="sum") / count
    return DetectionLoss(
        total=classification + settings.box_weight * box, classification=classification, box=box
    )


def hard_negatives(
    loss: torch.Tensor, positive: torch.Tensor, known: torch.Tensor | None = None
) -> torch.Tensor:
    """Bool (n, anchors): of every image the three negatives per positive with the largest loss.

    An image without an object keeps three, so that it can say so. What is not `known` is none.
    """
    wanted = NEGATIVES_PER_POSITIVE * positive.sum(1, keepdim=True).clamp_min(1)
    passed_over = positive if known is None else positive | ~known
    candidates = torch.where(passed_over, -torch.inf, loss.detach())
    order = candidates.argsort(dim=1, descending=True, stable=True)
    chosen: torch.Tensor = (order.argsort(dim=1) < wanted) & ~passed_over
    return chosen


def _classification(logits: torch.Tensor, classes: torch.Tensor, balance: Balance) -> torch.Tensor:
    """(n, anchors): binary cross-entropy of every class; focal leaves the background's out."""
    wanted = F.one_hot(classes, logits.shape[-1]).to(logits.dtype)
    loss = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    if balance is Balance.FOCAL:
        wrong = (wanted - torch.sigmoid(logits)).abs()
        alpha = torch.where(wanted > 0, FOCAL_ALPHA, 1.0 - FOCAL_ALPHA)
        # The background's own column would count every empty anchor as a positive.
        loss = (loss * alpha * wrong**FOCAL_GAMMA)[..., 1:]
    return loss.sum(-1)
