"""Pictures with boxes or masks to judge a model by; classes are found by name among its labels."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from exporter.errors import DataError
from exporter.labeled_parts import evaluated_part
from exporter.spec import ModelSpec
from exporter.training.annotated import FoundMasks, MaskPicture
from exporter.training.coco import BACKGROUND
from exporter.training.coco_masks import unpack_shapes
from exporter.training.mask_values import Scans, scan
from exporter.training.masks import VALUES
from exporter.training.objects import MaskSource, ObjectSource, mask_source, object_source
from exporter.training.pictures import Opened, usable
from exporter.training.sources import CORRUPT_LIMIT, Pictures
from exporter.training.voc import Kind

SHOWN = 5  # labels in an error
Notes = tuple[str, ...]


def labeled_objects(data: Path, spec: ModelSpec) -> tuple[ObjectSource, Notes]:
    """Pictures with boxes, and what to tell of them; raises DataError."""
    part, which = evaluated_part(data, Kind.OBJECTS)
    found = part.objects()
    labels = _labels(data, spec, found.names)
    used = {category for picture in found.pictures for category in picture.categories.tolist()}
    _check_names([found.names[i] for i in sorted(used)], labels, found.origin)
    (opened,), damaged = usable([found.pictures], CORRUPT_LIMIT)
    source, areas = object_source(opened, found, labels)
    if not (~source.ignored).any():
        raise DataError(f"{found.origin}: no labeled object to evaluate on", "label more pictures")
    return source, (*_used(which, data, found.origin), *found.notes, *damaged, *areas)


def labeled_masks(data: Path, spec: ModelSpec) -> tuple[MaskSource, Notes]:
    """Pictures with masks, and what to tell of them; raises DataError.

    Masks whose values nothing names are taken for the model's classes.
    """
    part, which = evaluated_part(data, Kind.MASKS)
    found = part.masks()
    labels = _labels(data, spec, found.names[1:] if found.names else None)
    scans = scan(found.pictures)
    (opened,), damaged = usable([found.pictures], CORRUPT_LIMIT, scans.complaint)
    scans.check(opened, found, labels, "evaluate on")
    found = _only_labels(found, opened, scans, labels)
    source = mask_source(opened, found, labels, scans)
    return source, (*_used(which, data, found.origin), *found.notes, *damaged)


@contextlib.contextmanager
def seen_by(source: Pictures, index: int) -> Iterator[None]:
    """A DataError of the contract's gets the picture's name."""
    try:
        yield
    except DataError as error:
        name = source.name(index)
        message = error.message if name in error.message else f"{name}: {error.message}"
        raise DataError(message, error.hint) from None


def _labels(data: Path, spec: ModelSpec, names: Sequence[str] | None) -> tuple[str, ...]:
    """The model's, the background by the name that the readers have for it.

    Of a model without labels the data set's `names`, which must be of as many classes.
    """
    if spec.labels:
        return (BACKGROUND, *spec.labels[1:])
    if names is None:
        return (BACKGROUND, *(f"class {i}" for i in range(1, spec.classes)))
    if len(names) + 1 != spec.classes:
        raise DataError(
            f"{data}: {len(names)} classes for a model of {spec.classes - 1}, "
            "which came without labels to match them by",
            "build with --labels, or pass data of every class",
        )
    return (BACKGROUND, *names)


def _check_names(names: Sequence[str], labels: tuple[str, ...], origin: Path) -> None:
    """Raise DataError for a class that is none of the labels, or may be several."""
    for name in names:
        if name not in labels:
            shown = ", ".join(labels[1 : SHOWN + 1]) + (", ..." if len(labels) > SHOWN + 1 else "")
            near = difflib.get_close_matches(name, labels[1:], n=1)
            raise DataError(
                f"{origin}: class {name!r} is none of the model's {len(labels) - 1} labels: "
                f"{shown}",
                f"did you mean {near[0]!r}?" if near else "name classes as the model's labels",
            )
        if labels.count(name) > 1:
            outputs = ", ".join(str(i) for i, label in enumerate(labels) if label == name)
            raise DataError(
                f"{origin}: class {name!r} may be any of the model's classes {outputs}, "
                "which share that label",
                "build with --labels that differ",
            )


def _only_labels(
    found: FoundMasks, opened: Sequence[Opened[MaskPicture]], scans: Scans, labels: tuple[str, ...]
) -> FoundMasks:
    """With the background's name for values that no mask has: they need be no label."""
    if found.names is None:
        return found
    used = set(_values(opened, scans))
    _check_names([found.names[value] for value in sorted(used)], labels, found.origin)
    names = (name if i in used else BACKGROUND for i, name in enumerate(found.names))
    return dataclasses.replace(found, names=tuple(names))


def _values(opened: Sequence[Opened[MaskPicture]], scans: Scans) -> Iterator[int]:
    """Of all masks, the ignored one aside."""
    for picture, _ in opened:
        if isinstance(picture.mask, bytes):
            yield from (v for v, _ in unpack_shapes(picture.mask) if v is not None)
        else:
            yield from np.flatnonzero(scans.by_path[picture.mask].counts[: VALUES - 1]).tolist()


def _used(which: str, data: Path, origin: Path) -> Notes:
    """Which part it was, where it is not all that was passed."""
    if which:
        return (f"evaluated on the {which}",)
    return () if origin == data else (f"evaluated on {origin}",)
