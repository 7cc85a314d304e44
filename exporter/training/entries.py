"""One labeled image: in a file of its own or inside a tar shard."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from exporter.errors import DataError
from exporter.preprocess import decode_image, read_image


@dataclass(frozen=True, slots=True)
class Entry:
    """Where an image lies and what it shows; its name does not depend on where the data set lies.

    Read by offset, so that a shard gives its images in any order and to any number of processes.
    """

    name: str  # relative to the data set
    label: str
    path: str  # the image's file, or the shard
    offset: int = -1  # of the image's bytes in the shard
    size: int = 0

    @property
    def where(self) -> str:
        """What a person has to look at."""
        return self.path if self.offset < 0 else f"{self.path}: {self.name}"

    def read(self) -> bytes:
        """The encoded image; raises DataError."""
        return self._slice(0, None)

    def ends(self, head: int, tail: int) -> tuple[bytes, bytes]:
        """Its first and last bytes, at most so many; raises DataError."""
        return self._slice(0, head), self._slice(-tail, None)

    def _slice(self, start: int, count: int | None) -> bytes:
        """From `start`, or from so far before the end."""
        try:
            with Path(self.path).open("rb") as file:
                size = os.fstat(file.fileno()).st_size if self.offset < 0 else self.size
                first = start if start >= 0 else max(0, size + start)
                file.seek(max(0, self.offset) + first)
                return file.read(size - first if count is None else min(count, size - first))
        except OSError as error:
            raise DataError(f"{self.where}: cannot be read ({error.strerror})") from None

    def image(self) -> Image.Image:
        """8-bit RGB with its EXIF orientation applied; raises DataError."""
        if self.offset < 0:
            return read_image(Path(self.path))
        return decode_image(io.BytesIO(self.read()), self.where)


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a folder, a list or shards hold, in a fixed order."""

    origin: Path
    entries: tuple[Entry, ...]
    notes: tuple[str, ...] = ()


def class_names(entries: Iterable[Entry]) -> tuple[str, ...]:
    """The labels that occur, sorted: as numbers where all of them are, else as text."""
    names = {entry.label for entry in entries}
    if all(name.isdecimal() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))
