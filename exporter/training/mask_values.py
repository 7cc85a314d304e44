"""What the masks of a data set hold, learned from reading each once, before training starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from exporter.errors import DataError
from exporter.segmentation import IGNORED
from exporter.training.annotated import FoundMasks, MaskPicture
from exporter.training.class_names import class_of
from exporter.training.coco import BACKGROUND
from exporter.training.coco_masks import unpack_shapes
from exporter.training.masks import VALUES, MaskScan, check_mode, scan_masks
from exporter.training.pictures import Opened
from exporter.training.turned import Stored


@dataclass(frozen=True)
class Scans:
    """Of the masks that are files; painted ones were checked with their annotations."""

    by_path: Mapping[Path, MaskScan]

    def complaint(self, picture: MaskPicture) -> str:
        """Why a mask cannot be read, or nothing."""
        return self.by_path[picture.mask].complaint if isinstance(picture.mask, Path) else ""

    def names(self) -> tuple[str, ...]:
        """Names by value where nothing gives any."""
        counts = sum((s.counts for s in self.by_path.values()), np.zeros(VALUES, np.int64))
        values = np.flatnonzero(counts[:IGNORED])
        largest = int(values.max(initial=0))
        return (BACKGROUND, *(f"class {value}" for value in range(1, largest + 1)))

    def check(
        self,
        opened: Sequence[Opened[MaskPicture]],
        found: FoundMasks,
        labels: tuple[str, ...],
        what: str,
    ) -> None:
        """Raise DataError for a mask of colors, of another size or of a value that is no class.

        And for masks that all show the background alone.
        """
        names = found.names or labels
        for picture, file in opened:
            if isinstance(picture.mask, Path):
                check_mode(picture.mask, self.by_path[picture.mask])
                self.turn(picture, file)
                self._check_values(picture.mask, names)
        if not any(self._shows_something(picture) for picture, _ in opened):
            raise DataError(
                f"{found.origin}: no mask to {what} shows anything but the background",
                f"give classes the values from 1 on; {IGNORED} is ignored",
            )

    def turn(self, picture: MaskPicture, file: Stored) -> int:
        """The orientation to undo in a mask; raises DataError for one of another size."""
        if isinstance(picture.mask, bytes):
            return file.turn_from(picture.size)
        try:
            return file.turn_from(self.by_path[picture.mask].size)
        except DataError as error:
            raise DataError(
                f"{picture.mask}: {error.message}", "make each mask as large as its picture"
            ) from None

    def _check_values(self, path: Path, names: tuple[str, ...]) -> None:
        beyond = np.flatnonzero(self.by_path[path].counts[len(names) : IGNORED])
        if beyond.size:
            raise DataError(
                f"{path}: value {len(names) + beyond[0]} is no class, there are 0 to "
                f"{len(names) - 1}",
                f"name it in a labels.txt, or give what is to be left out {IGNORED}",
            )

    def _shows_something(self, picture: MaskPicture) -> bool:
        if isinstance(picture.mask, bytes):
            return any(value is not None for value, _ in unpack_shapes(picture.mask))
        return bool(self.by_path[picture.mask].counts[1:IGNORED].any())


def scan(pictures: Sequence[MaskPicture]) -> Scans:
    """Read the masks that are files."""
    paths = [p.mask for p in pictures if isinstance(p.mask, Path)]
    return Scans(dict(zip(paths, scan_masks(paths), strict=True)))


def class_table(found: FoundMasks, labels: tuple[str, ...]) -> np.ndarray:
    """Uint8 (256,): the class of every value, by name where the values have names.

    Raises DataError for more classes than there are values.
    """
    if len(labels) > IGNORED:
        raise DataError(f"{len(labels)} classes do not fit masks, whose values end at {IGNORED}")
    table = np.full(VALUES, IGNORED, np.uint8)
    for value, name in enumerate(found.names or labels):
        table[value] = class_of(name, labels, found.origin)
    return table
