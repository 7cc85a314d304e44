"""Fewer images of a source, evenly chosen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from exporter.detection.records import Objects
from exporter.training.sources import Pictures, Source
from exporter.training.views import MaskPictures, ObjectPictures


def evenly(count: int, limit: int | None) -> list[int]:
    """Up to `limit` indices of so many, at equal distances."""
    if limit is None or limit >= count:
        return list(range(count))
    return [i * count // limit for i in range(limit)]


def thinned(source: Pictures, limit: int | None) -> Pictures:
    """The source, or up to `limit` of its images."""
    if limit is None or limit >= len(source):
        return source
    indices = tuple(evenly(len(source), limit))
    if isinstance(source, ObjectPictures):
        return ObjectPart(source, indices)
    if isinstance(source, MaskPictures):
        return MaskPart(source, indices)
    assert isinstance(source, Source)
    return ClassPart(source, indices)


@dataclass(frozen=True)
class Thinned:
    """Splits of which one has fewer images than it had."""

    train: Pictures
    val: Pictures
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Part:
    """A source of some of another's images."""

    whole: Pictures
    indices: tuple[int, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """All class names, of classes without an image too."""
        return self.whole.labels

    def __len__(self) -> int:
        return len(self.indices)

    def image(self, index: int) -> Image.Image:
        """As the whole gives it."""
        return self.whole.image(self.indices[index])

    def name(self, index: int) -> str:
        """Where the image lies."""
        return self.whole.name(self.indices[index])


@dataclass(frozen=True, eq=False)
class ClassPart(_Part):
    """With a class."""

    whole: Source

    def target(self, index: int) -> int:
        """The index of its class."""
        return self.whole.target(self.indices[index])


@dataclass(frozen=True, eq=False)
class ObjectPart(_Part):
    """With labeled objects."""

    whole: ObjectPictures

    def objects(self, index: int) -> Objects:
        """Those of one picture."""
        return self.whole.objects(self.indices[index])


@dataclass(frozen=True, eq=False)
class MaskPart(_Part):
    """With a label for every pixel."""

    whole: MaskPictures

    def mask(self, index: int) -> np.ndarray:
        """Of one picture."""
        return self.whole.mask(self.indices[index])
