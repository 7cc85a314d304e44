"""Pictures with boxes or masks to train and to validate on: COCO, Pascal VOC, plain masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from exporter.detection.records import Objects
from exporter.errors import DataError
from exporter.training.annotated import FoundMasks, FoundObjects, MaskPicture, ObjectPicture
from exporter.training.class_names import check_labels, class_of
from exporter.training.coco import BACKGROUND
from exporter.training.coco_masks import PaintedMasks
from exporter.training.formats import find_parts
from exporter.training.mask_values import Scans, class_table, scan
from exporter.training.masks import MaskFiles
from exporter.training.packed import PackedEntries
from exporter.training.pictures import Opened, parted, usable
from exporter.training.sources import CORRUPT_LIMIT, VAL_SHARE
from exporter.training.turned import turned_boxes
from exporter.training.voc import Kind

SHOWN = 5  # names in a note


@dataclass(frozen=True, kw_only=True, eq=False)
class ObjectSource:
    """Pictures with boxes by index; arrays, so small to send to a worker process."""

    labels: tuple[str, ...]  # by class, the background first
    entries: PackedEntries
    boxes: np.ndarray  # float32 (all, 4): every picture's behind each other
    classes: np.ndarray  # int64 (all,)
    ignored: np.ndarray  # bool (all,)
    ends: np.ndarray  # int64 (n + 1,), from 0: where each picture's end

    def __len__(self) -> int:
        return len(self.entries)

    def image(self, index: int) -> Image.Image:
        """8-bit RGB, upright, decoded anew with each call; raises DataError naming the file."""
        return self.entries[index].image()

    def objects(self, index: int) -> Objects:
        """In fractions of the upright picture."""
        part = slice(self.ends[index], self.ends[index + 1])
        return Objects(
            boxes=self.boxes[part], classes=self.classes[part], ignored=self.ignored[part]
        )

    def name(self, index: int) -> str:
        """Where the picture lies, for a person."""
        return self.entries[index].where


class Masks(Protocol):
    """Masks by index, in files or painted."""

    def read(self, index: int) -> np.ndarray:
        """Uint8 (h, w), upright, with the data set's own values; raises DataError."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class MaskSource:
    """Pictures with a class per pixel, by index; small to send to a worker process."""

    labels: tuple[str, ...]  # by class, the background first
    entries: PackedEntries
    masks: Masks
    table: np.ndarray  # uint8 (256,): the class of each of a mask's values

    def __len__(self) -> int:
        return len(self.entries)

    def image(self, index: int) -> Image.Image:
        """8-bit RGB, upright, decoded anew with each call; raises DataError naming the file."""
        return self.entries[index].image()

    def mask(self, index: int) -> np.ndarray:
        """Uint8 (h, w) of the upright picture, `IGNORED` where nobody labeled; raises DataError."""
        try:
            values = self.masks.read(index)
        except DataError as error:
            raise DataError(f"{self.name(index)}: {error.message}", error.hint) from None
        mask: np.ndarray = self.table[values]
        return mask

    def name(self, index: int) -> str:
        """Where the picture lies, for a person."""
        return self.entries[index].where


@dataclass(frozen=True, kw_only=True)
class ObjectSplits:
    """Two sources of the same labels that share no picture."""

    train: ObjectSource
    val: ObjectSource
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class MaskSplits:
    """Two sources of the same labels that share no picture."""

    train: MaskSource
    val: MaskSource
    notes: tuple[str, ...]


def open_object_splits(
    path: Path,
    *,
    val: Path | None = None,
    split_seed: int = 0,
    val_share: float = VAL_SHARE,
    corrupt_limit: int = CORRUPT_LIMIT,
    labels: Sequence[str] | None = None,
) -> ObjectSplits:
    """Training and validation sets with boxes, of COCO or Pascal VOC; raises DataError.

    `val`, or the set's own parts, say what to validate on; else a share of the pictures with
    objects and of those without is held out, as `open_splits` does. With `labels`, as of a model
    that is trained on, classes are found there by name.
    """
    first, second = find_parts(path, val, Kind.OBJECTS)
    found, given = first.objects(), second.objects() if second else None
    pictures, shared = parted(
        found.pictures, given.pictures if given else None, _shows_objects, split_seed, val_share
    )
    other, given_notes = given or found, given.notes if given else ()
    names = check_labels(labels or (BACKGROUND, *found.names), found.origin)
    (opened, held), damaged = usable(pictures, corrupt_limit)
    train, areas = object_source(opened, found, names)
    checked, val_areas = object_source(held, other, names)
    for part, what, origin in (
        (train, "train", found.origin),
        (checked, "validate", other.origin),
    ):
        if not (~part.ignored).any():
            raise DataError(f"{origin}: no labeled object to {what} on", "label more pictures")
    notes = (*found.notes, *given_notes, *shared, *damaged, *areas, *val_areas)
    return ObjectSplits(train=train, val=checked, notes=(*notes, *_missing(train)))


def _shows_objects(picture: ObjectPicture) -> bool:
    return bool((~picture.ignored).any())


def open_mask_splits(
    path: Path,
    *,
    val: Path | None = None,
    split_seed: int = 0,
    val_share: float = VAL_SHARE,
    corrupt_limit: int = CORRUPT_LIMIT,
    labels: Sequence[str] | None = None,
) -> MaskSplits:
    """`open_object_splits` for masks: of Pascal VOC, COCO, or `images/` and `masks/`.

    Every mask is read once, so that nothing is wrong with one when training is on its way.
    """
    first, second = find_parts(path, val, Kind.MASKS)
    found, given = first.masks(), second.masks() if second else None
    pictures, shared = parted(
        found.pictures, given.pictures if given else None, lambda _: None, split_seed, val_share
    )
    other, given_notes = given or found, given.notes if given else ()
    scans = scan([picture for part in pictures for picture in part])
    (opened, held), damaged = usable(pictures, corrupt_limit, scans.complaint)
    names = check_labels(labels or found.names or scans.names(), found.origin)
    scans.check(opened, found, names, "train on")
    scans.check(held, other, names, "validate on")
    return MaskSplits(
        train=mask_source(opened, found, names, scans),
        val=mask_source(held, other, names, scans),
        notes=(*found.notes, *given_notes, *shared, *damaged),
    )


def object_source(
    opened: Sequence[Opened[ObjectPicture]], found: FoundObjects, labels: tuple[str, ...]
) -> tuple[ObjectSource, tuple[str, ...]]:
    """The boxes that have an area within their picture, and a note of the others."""
    parts = [
        _fractions(picture, file.turn_from(picture.size), file.upright) for picture, file in opened
    ]
    all_boxes = np.concatenate([np.zeros((0, 4), np.float32), *parts])
    categories = np.concatenate([np.zeros(0, np.int64), *(p.categories for p, _ in opened)])
    ignored = np.concatenate([np.zeros(0, np.bool_), *(p.ignored for p, _ in opened)])
    table = np.zeros(len(found.names), np.int64)
    for category in np.unique(categories):
        table[category] = class_of(found.names[category], labels, found.origin)
    real = (all_boxes[:, 2:] > all_boxes[:, :2]).all(1)
    before = np.cumsum([0, *map(len, parts)], dtype=np.int64)
    source = ObjectSource(
        labels=labels,
        entries=PackedEntries.of([picture.entry for picture, _ in opened]),
        boxes=all_boxes[real],
        classes=table[categories[real]],
        ignored=ignored[real],
        ends=np.concatenate([[0], np.cumsum(real)])[before],
    )
    dropped = int((~real).sum())
    note = f"{found.origin}: left out {dropped} boxes without area within their picture"
    return source, (note,) if dropped else ()


def _fractions(picture: ObjectPicture, turn: int, upright: tuple[int, int]) -> np.ndarray:
    """Float32 (m, 4) of the upright picture, clipped to it."""
    width, height = picture.size or upright
    boxes = picture.boxes / np.array([width, height, width, height], np.float64)
    return turned_boxes(boxes.clip(0.0, 1.0), turn).astype(np.float32)


def _missing(source: ObjectSource) -> tuple[str, ...]:
    """A note of classes that nothing shows."""
    shown = set(source.classes[~source.ignored].tolist())
    names = [label for i, label in enumerate(source.labels) if i and i not in shown]
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (f"no object to train on of {', '.join(names[:SHOWN])}{more}",) if names else ()


def mask_source(
    opened: Sequence[Opened[MaskPicture]], found: FoundMasks, labels: tuple[str, ...], scans: Scans
) -> MaskSource:
    """Masks in files or painted; raises DataError for a name that is none of the labels."""
    turns = [scans.turn(picture, file) for picture, file in opened]
    paths = [picture.mask for picture, _ in opened if isinstance(picture.mask, Path)]
    shapes = [picture.mask for picture, _ in opened if isinstance(picture.mask, bytes)]
    sizes = [picture.size or file.upright for picture, file in opened]
    masks: Masks = MaskFiles.of(paths, turns) if paths else PaintedMasks.of(shapes, sizes, turns)
    return MaskSource(
        labels=labels,
        entries=PackedEntries.of([picture.entry for picture, _ in opened]),
        masks=masks,
        table=class_table(found, labels),
    )
