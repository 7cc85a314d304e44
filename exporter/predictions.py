"""What an artifact says of one photo, by task, in words and in the photo's own pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from exporter.errors import UnsupportedError
from exporter.framing import Framing
from exporter.spec import ModelSpec

if TYPE_CHECKING:
    from exporter.detection.records import Found

Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels of the photo


@dataclass(frozen=True, kw_only=True)
class Classification:
    """Classes of one image, best first, with softmax probabilities."""

    image: str
    classes: tuple[tuple[str, float], ...]


@dataclass(frozen=True, kw_only=True)
class FoundObject:
    """One object; `index` is its class, from 1 on."""

    index: int
    label: str
    score: float
    box: Box


@dataclass(frozen=True, kw_only=True)
class Detection:
    """Objects of one image, best first, of the upright photo of width x height."""

    image: str
    width: int
    height: int
    threshold: float  # no score is below it
    objects: tuple[FoundObject, ...]
    picture: str | None  # the file that shows them


@dataclass(frozen=True, kw_only=True)
class Region:
    """The pixels of one class; 0 is the background."""

    index: int
    label: str
    share: float  # of what the network saw of the photo

    @property
    def percent(self) -> str:
        """Its share for people, never 0 % of what is there."""
        return "<0.1%" if self.share < 0.001 else f"{self.share:.1%}"


@dataclass(frozen=True, kw_only=True)
class Segmentation:
    """Classes of one image, the background first, then the largest first."""

    image: str
    width: int
    height: int
    seen: float  # share of the photo; the rest was cropped away
    regions: tuple[Region, ...]
    picture: str | None


Prediction = Classification | Detection | Segmentation


def classes_of(logits: np.ndarray, spec: ModelSpec, top: int) -> tuple[tuple[str, float], ...]:
    """The `top` of one image's logits (classes,)."""
    if len(logits) != spec.classes:
        raise UnsupportedError(f"the artifact gives {len(logits)} logits for {spec.classes} labels")
    shifted = np.exp(logits.astype(np.float64) - logits.max())
    probabilities = shifted / shifted.sum()
    order = np.argsort(-probabilities, kind="stable")[:top]
    return tuple((spec.label(int(i)), float(probabilities[i])) for i in order)


def objects_of(
    found: Found, spec: ModelSpec, framing: Framing, threshold: float
) -> tuple[FoundObject, ...]:
    """Those that score `threshold` at least and have an area on the photo."""
    boxes = framing.boxes_to_photo(found.boxes)
    has_area = (boxes[:, 2:] > boxes[:, :2]).all(1)
    return tuple(
        FoundObject(
            index=int(found.classes[i]),
            label=spec.label(int(found.classes[i])),
            score=float(found.scores[i]),
            box=(float(boxes[i, 0]), float(boxes[i, 1]), float(boxes[i, 2]), float(boxes[i, 3])),
        )
        for i in np.flatnonzero(has_area & (found.scores >= threshold))
    )


def regions_of(labels: np.ndarray, spec: ModelSpec) -> tuple[Region, ...]:
    """The classes of one label map, the background first, then by size."""
    counts = np.bincount(labels.ravel(), minlength=spec.classes)
    present = sorted(np.flatnonzero(counts).tolist(), key=lambda i: (i > 0, -counts[i], i))
    return tuple(
        Region(index=i, label=spec.label(i), share=float(counts[i] / labels.size)) for i in present
    )
