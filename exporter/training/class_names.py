"""Classes of a data set, found by name among those that a model has."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from exporter.errors import DataError
from exporter.training.coco import BACKGROUND

SHOWN = 5  # names in an error


def check_labels(labels: Sequence[str], origin: Path) -> tuple[str, ...]:
    """The same; raises DataError without the background, or for what no checkpoint could carry."""
    if labels[0] != BACKGROUND:
        raise DataError(f"the first label is {labels[0]!r}", f"put {BACKGROUND!r} first")
    for label in labels:
        try:
            label.encode()
        except UnicodeEncodeError:
            raise DataError(
                f"{origin}: the class name {label!r} is not UTF-8", "rename it"
            ) from None
    return tuple(labels)


def class_of(name: str, labels: tuple[str, ...], origin: Path) -> int:
    """The index of a label; raises DataError naming the nearest."""
    if name in labels:
        return labels.index(name)
    near = difflib.get_close_matches(name, labels, n=1)
    raise DataError(
        f"{origin}: class {name!r} is none of the {len(labels) - 1} to train: "
        f"{', '.join(labels[1 : SHOWN + 1])}{', ...' if len(labels) > SHOWN + 1 else ''}",
        f"did you mean {near[0]!r}?" if near else "name classes alike",
    )
