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
        for path in _images(str(folder)):
            name = Path(path).relative_to(root).as_posix()
            entries.append(Entry(name=name, label=folder.name, path=path))
        if len(entries) == before:
            empty.append(folder.name)
    if not entries:
        raise _nothing(root, folders, loose)
    return Found(origin=root, entries=tuple(entries), notes=tuple(_notes(root, empty, loose)))


def _classes(root: Path) -> tuple[list[Path], int]:
    """The class folders, and how many images lie beside them."""
    folders, loose = [], 0
    for child in _children(root):
        if _is_folder(child):
            folders.append(Path(child.path))
        elif _is_image(child):
            loose += 1
    return folders, loose


def _images(folder: str, above: tuple[str, ...] = ()) -> Iterator[str]:
    real = os.path.realpath(folder)
    if real in above:
        return  # a link to a folder that we are in
    for child in _children(folder):
        if _is_folder(child):
            yield from _images(child.path, (*above, real))
        elif _is_image(child):
            yield child.path


def _is_folder(child: os.DirEntry[str]) -> bool:
    try:
        return child.is_dir()
    except OSError:  # a link to itself
        return False


def _is_image(child: os.DirEntry[str]) -> bool:
    """By its suffix; a link that leads nowhere is a damaged image, a pipe or a device is none."""
    if os.path.splitext(child.name)[1].lower() not in SUFFIXES:  # noqa: PTH122 - a million times
        return False
    return child.is_file(follow_symlinks=False) or _is_file_or_missing(Path(child.path))


def _is_file_or_missing(path: Path) -> bool:
    return path.is_file() or (path.is_symlink() and not path.exists())


def _children(folder: str | Path) -> list[os.DirEntry[str]]:
    """By name; entries know what they are, where a path would have to ask the disk again."""
    try:
        with os.scandir(folder) as found:
            children = [c for c in found if c.name[0] != "." and c.name != NOT_OURS]
    except OSError as error:
        raise DataError(f"{folder}: cannot be read ({error.strerror})") from None
    return sorted(children, key=lambda child: child.name)


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
