"""How the pictures of a data set are seen, by task: pixels by the contract and what they show.

A view goes to worker processes, so it is small and holds no open file. Anchors are matched here:
that takes a millisecond or two per picture, which worker processes have.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
import torch

from exporter.detection.anchors import make_anchors
from exporter.detection.matching import match
from exporter.detection.records import Objects
from exporter.errors import DataError
from exporter.preprocess import to_pixels
from exporter.spec import ModelSpec, Preprocess
from exporter.tasks import DetectionSpec
from exporter.training.augment import NOTHING, Augment, augmented
from exporter.training.object_crops import prepare_mask, prepare_objects
from exporter.training.sources import Pictures, Source
from exporter.training.targets import Matched, Target

__all__ = [
    "ClassView",
    "MaskPictures",
    "MaskView",
    "ObjectPictures",
    "ObjectView",
    "PictureSplits",
    "Pictures",
    "View",
    "source_pixels",
    "view_of",
]

T = TypeVar("T")


@runtime_checkable
class ObjectPictures(Pictures, Protocol):
    """Pictures with labeled objects; `labels` begin with the background's."""

    def objects(self, index: int) -> Objects:
        """Those of one picture."""
        ...


@runtime_checkable
class MaskPictures(Pictures, Protocol):
    """Pictures with a label for every pixel; `labels` begin with the background's."""

    def mask(self, index: int) -> np.ndarray:
        """Uint8 (h, w); 255 where there is no label."""
        ...


class PictureSplits(Protocol):
    """Two sources of the same labels that share no picture, of any task."""

    @property
    def train(self) -> Pictures:
        """To train on."""
        ...

    @property
    def val(self) -> Pictures:
        """To validate on."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What to tell of them."""
        ...


class View(Protocol):
    """A source as a network of some task sees it."""

    @property
    def contract(self) -> Preprocess:
        """What the pixels follow."""
        ...

    def __len__(self) -> int: ...

    def __call__(self, index: int, random: np.random.Generator | None) -> tuple[np.ndarray, Target]:
        """Uint8 RGB (r, r, 3) and what it shows; without `random` by the contract alone.

        Raises DataError naming the file.
        """
        ...


def view_of(source: Pictures, spec: ModelSpec, augment: Augment) -> View:
    """The pictures as the network of `spec` sees them; `augment` is for classifiers."""
    if spec.detection is not None:
        assert isinstance(source, ObjectPictures)
        anchors = torch.from_numpy(make_anchors(spec.detection, spec.resolution))
        return ObjectView(source, spec.preprocess, anchors, spec.detection)
    if spec.segmentation is not None:
        assert isinstance(source, MaskPictures)
        return MaskView(source, spec.preprocess)
    assert isinstance(source, Source)
    return ClassView(source, spec.preprocess, augment)


@dataclass(frozen=True, eq=False)
class ClassView:
    """Pictures of one class each."""

    source: Source
    contract: Preprocess
    augment: Augment = NOTHING

    def __len__(self) -> int:
        return len(self.source)

    def __call__(self, index: int, random: np.random.Generator | None) -> tuple[np.ndarray, Target]:
        """With the class."""
        target = self.source.target(index)
        if random is None:
            return source_pixels(self.source, index, self.contract), target
        image = self.source.image(index)
        view = _naming(
            self.source, index, lambda: augmented(image, self.contract, self.augment, random)
        )
        return view, target


@dataclass(frozen=True, eq=False)
class ObjectView:
    """Pictures for a detector."""

    source: ObjectPictures
    contract: Preprocess
    anchors: torch.Tensor  # float32 (anchors, 4)
    detection: DetectionSpec

    def __len__(self) -> int:
        return len(self.source)

    def __call__(self, index: int, random: np.random.Generator | None) -> tuple[np.ndarray, Target]:
        """With its objects and the anchors that answer for them."""
        image, objects = self.source.image(index), self.source.objects(index)
        pixels, seen = _naming(
            self.source, index, lambda: prepare_objects(image, objects, self.contract, random)
        )
        boxes, counted = torch.from_numpy(seen.boxes), torch.from_numpy(~seen.ignored)
        matches = match(
            boxes[counted],
            torch.from_numpy(seen.classes)[counted],
            self.anchors,
            self.detection,
            boxes[~counted],
        )
        return pixels, Matched(matches=matches, objects=seen)


@dataclass(frozen=True, eq=False)
class MaskView:
    """Pictures for a segmenter."""

    source: MaskPictures
    contract: Preprocess

    def __len__(self) -> int:
        return len(self.source)

    def __call__(self, index: int, random: np.random.Generator | None) -> tuple[np.ndarray, Target]:
        """With its label map."""
        image, mask = self.source.image(index), self.source.mask(index)
        return _naming(self.source, index, lambda: prepare_mask(image, mask, self.contract, random))


def source_pixels(source: Pictures, index: int, contract: Preprocess) -> np.ndarray:
    """An image by the contract, uint8 RGB (r, r, 3); raises DataError naming the file."""
    image = source.image(index)
    return _naming(source, index, lambda: to_pixels(image, contract))


def _naming(source: Pictures, index: int, prepare: Callable[[], T]) -> T:
    """What `prepare` gives; its DataError gets the file's name."""
    try:
        return prepare()
    except DataError as error:
        raise DataError(f"{source.name(index)}: {error.message}", error.hint) from None
