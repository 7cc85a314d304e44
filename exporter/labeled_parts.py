"""Which part of a data set with boxes or masks is evaluated: what was not trained on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from exporter.errors import DataError
from exporter.training import masks, voc
from exporter.training.annotated import Part
from exporter.training.coco import CocoFile
from exporter.training.coco_files import json_files
from exporter.training.formats import find_parts
from exporter.training.masks import MaskFolder
from exporter.training.voc import LISTS, Kind, VocPart

HELD_OUT = ("val", "valid", "validation", "test")  # the first of them that there is
WORDS = {"test": "test"}  # all others are "validation"


def evaluated_part(path: Path, kind: Kind) -> tuple[Part, str]:
    """The validation part, else the test part, else all that was passed; and which it is, in words.

    A file that was passed is meant itself. Raises DataError.
    """
    held_out = None if path.is_file() else next(_held_out(path, kind), None)
    if held_out is None:
        return find_parts(path, None, kind)[0], ""
    name, part = held_out
    return part, f"{WORDS.get(name, 'validation')} part of {path}"


def _held_out(path: Path, kind: Kind) -> Iterator[tuple[str, Part]]:
    """In the formats' order, as in `find_parts`."""
    located = voc.locate(path, kind)
    if located is not None:
        lists = located[0].root / LISTS / kind
        files = ((name, lists / f"{name}.txt") for name in HELD_OUT)
        yield from ((name, VocPart(located[0].root, f)) for name, f in files if f.is_file())
        return
    if kind is Kind.MASKS:
        for name in HELD_OUT:
            yield from ((name, part) for part in _mask_folders(path, name))
    for name in HELD_OUT:
        yield from ((name, CocoFile(file)) for file in _coco_files(path, name))


def _mask_folders(path: Path, name: str) -> Iterator[MaskFolder]:
    """`val/` with both folders, or such a part of both folders."""
    if masks.locate(path / name) is not None:
        yield MaskFolder.in_part(path, path / name)
    images, pixels = path / masks.IMAGES / name, path / masks.MASKS / name
    if images.is_dir() and pixels.is_dir():
        yield MaskFolder(path, images, pixels)


def _coco_files(path: Path, name: str) -> Iterator[Path]:
    """The only JSON that is called so, or that lies in a folder of that name."""
    for folder in (path, path / "annotations"):
        files = [f for f in json_files(folder) if "train" not in f.stem.lower()]
        named = [f for f in files if name in f.stem.lower()]
        yield from _only(named, folder)
    yield from _only(json_files(path / name), path / name)


def _only(files: list[Path], folder: Path) -> list[Path]:
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise DataError(f"{folder}: holds {names}", "pass the JSON file that is meant")
    return files
