"""Pictures with annotations: divided, and without those that cannot be used."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import TypeVar

from exporter.errors import DataError
from exporter.training.annotated import Picture
from exporter.training.holdout import held_out
from exporter.training.readable import complaint, without_damaged
from exporter.training.turned import Stored, stored

P = TypeVar("P", bound=Picture)
Opened = tuple[P, Stored]


def parted(
    train: Sequence[P],
    held: Sequence[P] | None,
    group: Callable[[P], Hashable],
    seed: int,
    share: float,
) -> tuple[tuple[list[P], list[P]], tuple[str, ...]]:
    """What to train on and what to validate on, which share nothing; and a note if they did.

    Without anything `held` a share of each group is held out, chosen by name.
    """
    if held is None:
        names = held_out({p.entry.name: group(p) for p in train}, seed, share)
        ours = [p for p in train if p.entry.name not in names]
        return (ours, [p for p in train if p.entry.name in names]), ()
    validated = {Path(p.entry.path).resolve() for p in held}
    kept = [p for p in train if Path(p.entry.path).resolve() not in validated]
    shared = len(train) - len(kept)
    note = f"{shared} images are validated on, so they are not trained on"
    return (kept, list(held)), (note,) if shared else ()


def usable(
    groups: Sequence[Sequence[P]], limit: int, also: Callable[[P], str] | None = None
) -> tuple[list[list[Opened[P]]], tuple[str, ...]]:
    """The pictures that can be read and have the size of their annotations, and a note per other.

    `also` may say why a picture cannot be used. Raises DataError for more than `limit` others.
    """
    pictures = {p.entry.path: p for group in groups for p in group}
    files: dict[str, Stored] = {}

    def wrong_with(path: str) -> str:
        picture = pictures[path]
        wrong = complaint(picture.entry) or (also(picture) if also else "")
        if wrong:
            return wrong
        try:
            files[path] = stored(Path(path))
        except DataError as error:
            return error.message
        try:
            files[path].turn_from(picture.size)
        except DataError as error:
            return f"{path}: {error.message}"
        return ""

    entries = [tuple(p.entry for p in group) for group in groups]
    kept, notes = without_damaged(entries, limit, lambda entry: wrong_with(entry.path))
    return [[(pictures[e.path], files[e.path]) for e in group] for group in kept], notes
