"""What a network can be asked for, and the constants of the two that have more than a head.

The paper has three systems: MobileNetV2 (Table 4), SSDLite (section 6.2) and Mobile DeepLabv3
(section 6.3). Nothing here imports a framework.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from exporter.errors import UnsupportedError

MAX_RESOLUTION = 2048  # calibration would need tens of gigabytes beyond it
STRIDE = 32  # of the backbone's last map
OUTPUT_STRIDES = (16, 8)  # that dilation can bring it down to


class Task(StrEnum):
    """What the network predicts."""

    CLASSIFICATION = "classification"
    DETECTION = "detection"
    SEGMENTATION = "segmentation"


@dataclass(frozen=True, kw_only=True)
class TaskDefaults:
    """The paper's setting of a task."""

    network: str  # for people
    resolution: int
    classes: int  # outputs per image, anchor or pixel; the background is one of the latter two's
    bn_eps: float
    dropout: float


DEFAULTS = {
    Task.CLASSIFICATION: TaskDefaults(
        network="MobileNetV2", resolution=224, classes=1000, bn_eps=1e-5, dropout=0.2
    ),
    Task.DETECTION: TaskDefaults(
        network="SSDLite MobileNetV2", resolution=320, classes=81, bn_eps=1e-3, dropout=0.0
    ),
    Task.SEGMENTATION: TaskDefaults(
        network="Mobile DeepLabv3", resolution=513, classes=21, bn_eps=1e-3, dropout=0.1
    ),
}


@dataclass(frozen=True, kw_only=True)
class DetectionSpec:
    """SSD's anchors, box coding and non-maximum suppression; the published values are the defaults.

    Six maps get anchors of scales from `min_scale` to `max_scale` (of the image's side) in every
    one of `ratios`, and one more, square, between a map's scale and the next one's. The largest
    map has three only: a square of `smallest_scale`, and 2:1 and 1:2 at `min_scale`.
    """

    smallest_scale: float = 0.1
    min_scale: float = 0.2
    max_scale: float = 0.95
    ratios: tuple[float, ...] = (1.0, 2.0, 0.5, 3.0, 1.0 / 3.0)  # width / height
    center_variance: float = 0.1
    size_variance: float = 0.2
    score_threshold: float = 0.01
    candidates: int = 400  # (anchor, class) pairs that compete, the best ones
    iou_threshold: float = 0.6  # of two boxes of a class that overlap more, the better one stays
    max_per_class: int = 100
    max_detections: int = 100

    def __post_init__(self) -> None:
        scales = (self.smallest_scale, self.min_scale, self.max_scale)
        if not all(0 < s <= 1 for s in scales) or self.min_scale > self.max_scale:
            raise UnsupportedError(f"anchor scales {scales} do not rise within 0..1")
        positive = (*self.ratios, self.center_variance, self.size_variance)
        if not self.ratios or not all(v > 0 and math.isfinite(v) for v in positive):
            raise UnsupportedError("anchor ratios and box variances must be positive")
        if not (0 <= self.score_threshold < 1 and 0 < self.iou_threshold < 1):
            raise UnsupportedError(
                f"score threshold {self.score_threshold} and IoU threshold {self.iou_threshold} "
                "must lie between 0 and 1"
            )
        if min(self.candidates, self.max_per_class, self.max_detections) < 1:
            raise UnsupportedError("a detector must be allowed at least one detection")

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> DetectionSpec:
        """Read what `dataclasses.asdict` gave."""
        return cls(
            smallest_scale=float(data["smallest_scale"]),
            min_scale=float(data["min_scale"]),
            max_scale=float(data["max_scale"]),
            ratios=tuple(float(ratio) for ratio in data["ratios"]),
            center_variance=float(data["center_variance"]),
            size_variance=float(data["size_variance"]),
            score_threshold=float(data["score_threshold"]),
            candidates=int(data["candidates"]),
            iou_threshold=float(data["iou_threshold"]),
            max_per_class=int(data["max_per_class"]),
            max_detections=int(data["max_detections"]),
        )


@dataclass(frozen=True, kw_only=True)
class SegmentationSpec:
    """How far DeepLab's backbone strides, and which pyramid follows it.

    The published mobile network pools one branch and convolves one; `full_aspp` adds the three
    dilated 3x3 branches of DeepLabv3.
    """

    output_stride: int = 16
    full_aspp: bool = False

    def __post_init__(self) -> None:
        if self.output_stride not in OUTPUT_STRIDES:
            raise UnsupportedError(
                f"output stride {self.output_stride} is not offered", "choose 16 or 8"
            )

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> SegmentationSpec:
        """Read what `dataclasses.asdict` gave."""
        return cls(output_stride=int(data["output_stride"]), full_aspp=bool(data["full_aspp"]))


def check_resolution(task: Task, resolution: int) -> None:
    """Raise UnsupportedError for an input side that the task's network does not take.

    SSDLite's maps halve exactly at multiples of 32. DeepLab's are one more than a fraction of the
    input at 32 k + 1, so that the corners of map and image coincide.
    """
    smallest = STRIDE + 1 if task is Task.SEGMENTATION else STRIDE
    if not smallest <= resolution <= MAX_RESOLUTION:
        raise UnsupportedError(
            f"resolution {resolution} px is outside {smallest}..{MAX_RESOLUTION}",
            f"MobileNetV2 strides by {STRIDE}, so {smallest} px is the smallest input",
        )
    rest = {Task.DETECTION: 0, Task.SEGMENTATION: 1}.get(task)
    if rest is not None and resolution % STRIDE != rest:
        below = (resolution - rest) // STRIDE * STRIDE + rest
        nearest = [r for r in (below, below + STRIDE) if smallest <= r <= MAX_RESOLUTION]
        rule = f"a multiple of {STRIDE}" + (" plus 1" if rest else "")
        raise UnsupportedError(
            f"resolution {resolution} px is not {rule}, which {task} needs",
            f"the nearest are {' and '.join(map(str, nearest))} px",
        )
