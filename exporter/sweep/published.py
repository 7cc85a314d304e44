"""Top-1 accuracy on ImageNet's validation images of the checkpoints that the authors published.

From the table in the README of TF-slim's MobileNet folder (tensorflow/models,
research/slim/nets/mobilenet); float32, one network trained for each width and resolution.
"""

from __future__ import annotations

LABEL = "published, float, ImageNet"
TOP1 = {
    (0.35, 96): 0.455,
    (0.35, 128): 0.508,
    (0.35, 160): 0.557,
    (0.35, 192): 0.582,
    (0.35, 224): 0.603,
    (0.5, 96): 0.512,
    (0.5, 128): 0.577,
    (0.5, 160): 0.610,
    (0.5, 192): 0.639,
    (0.5, 224): 0.654,
    (0.75, 96): 0.588,
    (0.75, 128): 0.632,
    (0.75, 160): 0.664,
    (0.75, 192): 0.687,
    (0.75, 224): 0.698,
    (1.0, 96): 0.603,
    (1.0, 128): 0.653,
    (1.0, 160): 0.688,
    (1.0, 192): 0.707,
    (1.0, 224): 0.718,
    (1.3, 224): 0.744,
    (1.4, 224): 0.750,
}


def top1(width: float, resolution: int) -> float | None:
    """As a share; None where nothing was published."""
    return TOP1.get((width, resolution))
