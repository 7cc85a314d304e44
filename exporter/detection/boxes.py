"""Boxes: corners (x1, y1, x2, y2), SSD's offsets from anchors, and overlap.

Corners are fractions of the image. Anchors are (center x, center y, width, height).
"""

from __future__ import annotations

import numpy as np
import torch

from exporter.tasks import DetectionSpec

SMALLEST_SIZE = 1e-6  # of an encoded box: a logarithm needs one


def decode(offsets: torch.Tensor, anchors: torch.Tensor, spec: DetectionSpec) -> torch.Tensor:
    """Offsets (..., anchors, 4) -> corners (..., anchors, 4)."""
    center = offsets[..., :2] * spec.center_variance * anchors[:, 2:] + anchors[:, :2]
    half = torch.exp(offsets[..., 2:] * spec.size_variance) * anchors[:, 2:] * 0.5
    return torch.cat([center - half, center + half], -1)


def encode(corners: torch.Tensor, anchors: torch.Tensor, spec: DetectionSpec) -> torch.Tensor:
    """The inverse of `decode`; boxes without area become tiny ones."""
    size = (corners[..., 2:] - corners[..., :2]).clamp_min(SMALLEST_SIZE)
    center = (corners[..., :2] + corners[..., 2:]) * 0.5
    moved = (center - anchors[:, :2]) / anchors[:, 2:] / spec.center_variance
    return torch.cat([moved, torch.log(size / anchors[:, 2:]) / spec.size_variance], -1)


def decode_float32(
    offsets: np.ndarray, anchors: np.ndarray, center_variance: float, size_variance: float
) -> np.ndarray:
    """`decode` for numpy, every step rounded to float32, in the order that a graph states."""
    center_step, size_step = np.float32(center_variance), np.float32(size_variance)
    center = offsets[..., :2] * center_step * anchors[:, 2:] + anchors[:, :2]
    half = np.exp(offsets[..., 2:] * size_step) * anchors[:, 2:] * np.float32(0.5)
    return np.concatenate([center - half, center + half], -1).astype(np.float32)


def corners_of(anchors: torch.Tensor) -> torch.Tensor:
    """(n, 4) centers and sizes -> corners."""
    half = anchors[:, 2:] * 0.5
    return torch.cat([anchors[:, :2] - half, anchors[:, :2] + half], 1)


def intersections(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Areas (n, m) of the intersection and of the union of every pair of corners (n, 4), (m, 4)."""
    low = torch.maximum(a[:, None, :2], b[None, :, :2])
    high = torch.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = (high - low).clamp_min(0.0)
    inner = shared[..., 0] * shared[..., 1]
    return inner, area(a)[:, None] + area(b)[None, :] - inner


def area(corners: torch.Tensor) -> torch.Tensor:
    """(..., 4) -> (...); nothing for a box whose corners are swapped."""
    size = (corners[..., 2:] - corners[..., :2]).clamp_min(0.0)
    return size[..., 0] * size[..., 1]


def iou(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Intersection over union (n, m); 0 for two boxes without area."""
    inner, union = intersections(a, b)
    return torch.where(union > 0, inner / union.clamp_min(torch.finfo(union.dtype).tiny), 0.0)
