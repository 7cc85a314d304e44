"""A folder per class, with images at any depth below it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from exporter.data import SUFFIXES
from exporter.errors import DataError
from exporter.training.entries import Entry, Found

NOT_OURS = "__MACOSX"  # what an archive made on a Mac leaves beside its files


def find_in_folders(root: Path) -> Found:
    """Every image below a class folder of `root`; the folder's name is its label.

    Hidden files and folders are passed over, and links are followed until they lead in a circle.
    Raises DataError when no class folder holds an image.
    """
    entries: list[Entry] = []
    empty = []
    folders, loose = _classes(root)
    for folder in folders:
        before = len(entries)
        for path in _images(folder):
            name = path.relative_to(root).as_posix()
            entries.append(Entry(name=name, label=folder.name, path=str(path)))
        if len(entries) == before:
            empty.append(folder.name)
    if not entries:
        raise _nothing(root, folders, loose)
    return Found(origin=root, entries=tuple(entries), notes=tuple(_notes(root, empty, loose)))


def _classes(root: Path) -> tuple[list[Path], int]:
    """The class folders, and how many images lie beside them."""
    folders, loose = [], 0
    for child in _children(root):
        if child.is_dir():
            folders.append(child)
        elif child.suffix.lower() in SUFFIXES:
            loose += 1
    return folders, loose


def _images(folder: Path, above: tuple[str, ...] = ()) -> Iterator[Path]:
    real = os.path.realpath(folder)
    if real in above:
        return  # a link to a folder that we are in
    for child in _children(folder):
        if child.is_dir():
            yield from _images(child, (*above, real))
        elif child.suffix.lower() in SUFFIXES:
            yield child


def _children(folder: Path) -> list[Path]:
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208 - text sorts faster than paths
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror})") from None
    return [folder / name for name in names if name[0] != "." and name != NOT_OURS]


def _nothing(root: Path, folders: list[Path], loose: int) -> DataError:
    if loose:
        return DataError(
            f"{root}: {loose} images lie in the folder itself, so nothing says their classes",
            "put them into a folder per class, or pass a list file of paths and labels",
        )
    what = f"no images in its {len(folders)} folders" if folders else "an empty folder"
    return DataError(
        f"{root}: {what}", f"expected a folder per class with {' '.join(sorted(SUFFIXES))} files"
    )


def _notes(root: Path, empty: list[str], loose: int) -> Iterator[str]:
    if empty:
        yield f"{root}: no images of {', '.join(empty)}: left out"
    if loose:
        yield f"{root}: left out {loose} images that lie in no class folder"
