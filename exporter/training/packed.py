"""Entries of a large data set in few bytes, for the processes that load images.

A million tuples of texts take hundreds of megabytes and seconds to hand to a worker, for every
worker and every epoch; two blocks of bytes and some arrays do not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from exporter.training.entries import Entry


@dataclass(frozen=True, eq=False)
class _Texts:
    """Texts behind each other; `ends` has where each ends, int64 (n + 1,) from 0."""

    content: bytes
    ends: np.ndarray

    @classmethod
    def of(cls, texts: Sequence[str]) -> _Texts:
        parts = [text.encode("utf-8", "surrogateescape") for text in texts]
        ends = np.cumsum([0, *map(len, parts)], dtype=np.int64)
        return cls(b"".join(parts), ends)

    def __getitem__(self, index: int) -> str:
        part = self.content[self.ends[index] : self.ends[index + 1]]
        return part.decode("utf-8", "surrogateescape")


@dataclass(frozen=True, eq=False)
class PackedEntries(Sequence[Entry]):
    """A sequence of entries that makes each anew when it is asked for."""

    names: _Texts
    paths: _Texts
    labels: tuple[str, ...]
    label_of: np.ndarray  # int32 (n,), of `labels`
    spans: np.ndarray  # int64 (n, 2): offset and size

    @classmethod
    def of(cls, entries: Sequence[Entry]) -> PackedEntries:
        """The same entries in the same order."""
        labels = tuple(dict.fromkeys(entry.label for entry in entries))
        number = {label: i for i, label in enumerate(labels)}
        return cls(
            names=_Texts.of([entry.name for entry in entries]),
            paths=_Texts.of([entry.path for entry in entries]),
            labels=labels,
            label_of=np.array([number[entry.label] for entry in entries], np.int32),
            spans=np.array([(e.offset, e.size) for e in entries], np.int64).reshape(-1, 2),
        )

    def __len__(self) -> int:
        return len(self.label_of)

    @overload
    def __getitem__(self, index: int) -> Entry: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Entry, ...]: ...
    def __getitem__(self, index: int | slice) -> Entry | tuple[Entry, ...]:
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(len(self))))
        index = range(len(self))[index]  # counts from the end, and knows where that is
        offset, size = self.spans[index].tolist()
        label = self.labels[self.label_of[index]]
        return Entry(self.names[index], label, self.paths[index], offset, size)

    def __iter__(self) -> Iterator[Entry]:
        return map(self.__getitem__, range(len(self)))
