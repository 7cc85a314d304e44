"""Fewer images of a source, evenly chosen."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from exporter.training.sources import Source


def evenly(count: int, limit: int | None) -> list[int]:
    """Up to `limit` indices of so many, at equal distances."""
    if limit is None or limit >= count:
        return list(range(count))
    return [i * count // limit for i in range(limit)]


def thinned(source: Source, limit: int | None) -> Source:
    """The source, or up to `limit` of its images."""
    if limit is None or limit >= len(source):
        return source
    return Part(source, tuple(evenly(len(source), limit)))


@dataclass(frozen=True, eq=False)
class Part:
    """A source of some of another's images."""

    whole: Source
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

    def target(self, index: int) -> int:
        """The index of its class."""
        return self.whole.target(self.indices[index])

    def name(self, index: int) -> str:
        """Where the image lies."""
        return self.whole.name(self.indices[index])
