"""Labeled images to train and to validate on, from folders, lists or shards."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from PIL import Image

from exporter.errors import DataError
from exporter.training.entries import Entry, Found, class_names
from exporter.training.folders import find_in_folders
from exporter.training.lists import LIST_SUFFIXES, find_in_list
from exporter.training.packed import PackedEntries
from exporter.training.readable import without_damaged
from exporter.training.shards import SHARD_SUFFIX, find_in_shards

CORRUPT_LIMIT = 20
VAL_SHARE = 0.1
SHOWN = 5  # labels in an error
MOST_DIGITS = 9  # of a class given by its index
PARTS = frozenset({"train", "val", "valid", "validation", "dev", "eval", "test"})


class Pictures(Protocol):
    """Images by index, in an order that depends on nothing but the data; of any task."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names by target."""
        ...

    def __len__(self) -> int: ...

    def image(self, index: int) -> Image.Image:
        """8-bit RGB, upright, as `read_image` gives it; raises DataError naming the file."""
        ...

    def name(self, index: int) -> str:
        """Where the image lies, for a person."""
        ...


@runtime_checkable
class Source(Pictures, Protocol):
    """Images of one class each."""

    def target(self, index: int) -> int:
        """The index of its class."""
        ...


@dataclass(frozen=True, eq=False)
class ImageSource:
    """The source behind every kind of data set; small to send to a worker process."""

    labels: tuple[str, ...]
    entries: Sequence[Entry]
    targets: tuple[int, ...]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.entries)

    def image(self, index: int) -> Image.Image:
        """Decoded anew with each call."""
        return self.entries[index].image()

    def target(self, index: int) -> int:
        """The index of its class."""
        return self.targets[index]

    def name(self, index: int) -> str:
        """The path of the file, or of the shard and the member."""
        return self.entries[index].where


@dataclass(frozen=True, kw_only=True)
class Splits:
    """Two sources of the same labels that share no image."""

    train: Source
    val: Source
    notes: tuple[str, ...]


def open_splits(
    path: Path,
    *,
    val: Path | None = None,
    split_seed: int = 0,
    val_share: float = VAL_SHARE,
    corrupt_limit: int = CORRUPT_LIMIT,
) -> Splits:
    """Training and validation sets of a folder, a list file or shards; raises DataError.

    `val` or the sub-folders `train/` and `val/` say which is which; parts by other names are
    refused, as they would pass for classes. Without them a share of each
    class is held out, chosen by the images' names within the data set and `split_seed`: moving the
    data changes nothing, and an image that is added moves at most one other.
    """
    found, held_out, lonely = _parts(path, val, split_seed, val_share)
    labels = class_names(found.entries)
    if len(labels) < 2:
        raise DataError(f"{found.origin}: only one class, {labels[0]!r}", "training needs two")
    _check_text(labels, found.origin)
    parts = [found.entries, held_out.entries]
    (train, held), damaged = without_damaged(parts, corrupt_limit)
    for part, what in ((train, "train on"), (held, "validate on")):
        if not part:
            raise DataError(f"{path}: no images left to {what}", "add images to each class")
    gone = sorted(set(labels) - {entry.label for entry in train})
    if gone:
        raise DataError(
            f"{found.origin}: no image of class {gone[0]!r} can be read",
            "repair its images, or remove its folder",
        )
    return Splits(
        train=_source(train, labels, found.origin),
        val=_source(held, labels, held_out.origin),
        notes=(*found.notes, *held_out.notes, *lonely, *damaged),
    )


def _parts(
    path: Path, val: Path | None, seed: int, share: float
) -> tuple[Found, Found, tuple[str, ...]]:
    """What to train on and what to validate on, as given or divided; and what to tell of it."""
    inner = path / "train", path / "val"
    both = all(folder.is_dir() for folder in inner)
    parts = _part_names(path)
    if val is not None or both:
        return (*_apart(_find(inner[0] if both or parts else path), _find(val or inner[1])), ())
    if len(parts) > 1:
        other = min(parts - {"train"})
        raise DataError(
            f"{path}: holds {', '.join(sorted(parts))}, which are parts and not classes",
            f"pass --val {path / other}, or name what to validate on val/",
        )
    found = _find(inner[0] if parts else path)
    train, held, lonely = _divide(found.entries, seed, share)
    names = ", ".join(class_names(lonely))
    return (
        dataclasses.replace(found, entries=train),
        Found(origin=path, entries=held),
        (f"classes of one image are not validated: {names}",) if lonely else (),
    )


def _apart(found: Found, held_out: Found) -> tuple[Found, Found]:
    """Nothing is trained on that is validated on, as when `val` lies inside the data set."""
    held = {(entry.path, entry.offset) for entry in held_out.entries}
    train = tuple(e for e in found.entries if (e.path, e.offset) not in held)
    shared = len(found.entries) - len(train)
    if not shared:
        return found, held_out
    note = f"{found.origin}: {shared} images are validated on, so they are not trained on"
    return dataclasses.replace(found, entries=train, notes=(*found.notes, note)), held_out


def _part_names(path: Path) -> set[str]:
    """The parts that a folder is divided into by name, of which one is train/; else none.

    A class may be called train as well: then images lie in it, or classes of other names beside it.
    """
    train = path / "train"
    if not train.is_dir():
        return set()
    names = {child.name for child in path.iterdir() if child.is_dir() and child.name[0] != "."}
    holds_sets = any(p.is_dir() or p.suffix == SHARD_SUFFIX for p in train.iterdir())
    return names if names <= PARTS and holds_sets else set()


def open_source(
    path: Path, labels: tuple[str, ...] | None, *, corrupt_limit: int = CORRUPT_LIMIT
) -> ImageSource:
    """A set to evaluate on, its targets by `labels` where the model has names; raises DataError.

    A class is named as the label is, or by its index. Without labels the classes are those that
    occur, sorted. Of a folder with `train/` and `val/` it is the latter.
    """
    inner = path / "val"
    found = _find(inner if inner.is_dir() and (path / "train").is_dir() else path)
    (kept,), damaged = without_damaged([found.entries], corrupt_limit)
    occurring = class_names(found.entries)
    # Where labels are numbers themselves, a number is a label and no index.
    indexed = labels is not None and not any(label.isdecimal() for label in labels)
    source = _source(kept, labels or occurring, found.origin, indexed=indexed)
    return ImageSource(source.labels, source.entries, source.targets, (*found.notes, *damaged))


def _find(path: Path) -> Found:
    """By what `path` is: shards, a list or class folders."""
    shards = find_in_shards(path)
    if shards is not None:
        return shards
    if path.is_dir():
        return find_in_folders(path)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder", "check the path")
    if path.suffix.lower() in LIST_SUFFIXES:
        return find_in_list(path)
    kinds = " ".join((*LIST_SUFFIXES, SHARD_SUFFIX))
    raise DataError(f"{path}: not a data set", f"pass a folder with a folder per class, or {kinds}")


def _divide(
    entries: tuple[Entry, ...], seed: int, share: float
) -> tuple[tuple[Entry, ...], tuple[Entry, ...], tuple[Entry, ...]]:
    """What to train on, what to hold out, and the only images of their classes."""
    if not 0.0 < share < 1.0:
        raise DataError(f"a validation share of {share:g} leaves nothing on one side")
    members: dict[str, list[Entry]] = {}
    for entry in entries:
        members.setdefault(entry.label, []).append(entry)
    held: set[str] = set()
    for group in members.values():
        count = min(len(group) - 1, max(1, round(share * len(group))))
        drawn = sorted(group, key=lambda entry: _lot(entry, seed))[:count]
        held.update(entry.name for entry in drawn)
    return (
        tuple(entry for entry in entries if entry.name not in held),
        tuple(entry for entry in entries if entry.name in held),
        tuple(group[0] for group in members.values() if len(group) == 1),
    )


def _lot(entry: Entry, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}/{entry.name}".encode("utf-8", "surrogateescape")).digest()


def _check_text(labels: tuple[str, ...], origin: Path) -> None:
    """Raise DataError for a class name that a checkpoint could not carry."""
    for label in labels:
        try:
            label.encode()
        except UnicodeEncodeError:
            raise DataError(
                f"{origin}: the class name {label!r} is not UTF-8", "rename its folder"
            ) from None


def _source(
    entries: Iterable[Entry], labels: tuple[str, ...], origin: Path, *, indexed: bool = False
) -> ImageSource:
    entries = tuple(entries)
    index = {label: i for i, label in enumerate(labels)}
    if indexed:
        index |= {e.label: int(e.label) for e in entries if _is_index(e.label, len(labels))}
    targets = tuple(_target(entry, labels, index, origin) for entry in entries)
    return ImageSource(labels, PackedEntries.of(entries), targets)


def _is_index(label: str, classes: int) -> bool:
    return label.isdecimal() and len(label) <= MOST_DIGITS and int(label) < classes


def _target(entry: Entry, labels: Sequence[str], index: dict[str, int], origin: Path) -> int:
    if entry.label in index:
        return index[entry.label]
    shown = ", ".join(labels[:SHOWN]) + (", ..." if len(labels) > SHOWN else "")
    near = difflib.get_close_matches(entry.label, labels, n=1)
    raise DataError(
        f"{origin}: class {entry.label!r} ({entry.name}) is none of the model's "
        f"{len(labels)} labels: {shown}",
        f"did you mean {near[0]!r}?" if near else "name classes as the model's labels",
    )
