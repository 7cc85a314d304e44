"""Masks in files, an integer per pixel, and folders of pictures and masks of the same names."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from exporter.data import SUFFIXES
from exporter.errors import DataError
from exporter.segmentation import IGNORED
from exporter.threads import cores
from exporter.training.annotated import FoundMasks, FoundObjects, MaskPicture, Size
from exporter.training.entries import Entry
from exporter.training.packed import PackedEntries
from exporter.training.turned import turned_mask

IMAGES, MASKS = "images", "masks"
LABEL_FILES = ("labels.txt", "classes.txt")
VALUES = 256
MODES = {"P", "L", "1"}  # of Pillow: a palette's index, gray, black and white
BACKGROUNDS = {"background", "_background_", "__background__"}
PARTS = ("val", "valid", "validation")


def locate(path: Path) -> tuple[MaskFolder, MaskFolder | None] | None:
    """`images/` and `masks/`, or such folders in `train/` and `val/`, or the other way round.

    None: nothing of the kind.
    """
    if _is_pair(path / "train"):
        return MaskFolder.in_part(path, path / "train"), _first_val(path)
    if not _is_pair(path):
        return None
    images, masks = path / IMAGES, path / MASKS
    if not ((images / "train").is_dir() and (masks / "train").is_dir()):
        return MaskFolder(path, images, masks), None
    parts = [p for p in PARTS if (images / p).is_dir() and (masks / p).is_dir()]
    val = MaskFolder(path, images / parts[0], masks / parts[0]) if parts else None
    return MaskFolder(path, images / "train", masks / "train"), val


def _first_val(path: Path) -> MaskFolder | None:
    folders = (path / part for part in PARTS)
    return next((MaskFolder.in_part(path, f) for f in folders if _is_pair(f)), None)


def _is_pair(path: Path) -> bool:
    return (path / IMAGES).is_dir() and (path / MASKS).is_dir()


@dataclass(frozen=True)
class MaskFolder:
    """Pictures and masks by the same paths below their folders, suffixes aside."""

    root: Path  # where names of classes may lie
    images: Path
    pixels: Path

    @classmethod
    def in_part(cls, root: Path, part: Path) -> MaskFolder:
        """`part` holds both folders, and perhaps the classes' names."""
        has_names = any((part / name).is_file() for name in LABEL_FILES)
        return cls(part if has_names else root, part / IMAGES, part / MASKS)

    def objects(self) -> FoundObjects:
        """It has none; raises DataError."""
        raise DataError(f"{self.root}: masks, but no boxes", "pass a COCO JSON or Pascal VOC")

    def masks(self) -> FoundMasks:
        """Pictures that have a mask; raises DataError when none has."""
        masks = {_stem(p, self.pixels): p for p in _files(self.pixels, {".png"})}
        files = _files(self.images, SUFFIXES)
        pictures, without = [], []
        for file in files:
            mask = masks.get(_stem(file, self.images))
            if mask is None:
                without.append(file)
                continue
            name = file.relative_to(self.images).as_posix()
            entry = Entry(name=name, label="", path=str(file))
            pictures.append(MaskPicture(entry=entry, size=None, mask=mask))
        if not pictures:
            example = f"; {files[0]} needs {_mask_of(files[0], self)}" if files else ""
            raise DataError(
                f"{self.images}: no picture has a mask in {self.pixels}{example}",
                "name each mask as its picture, with .png",
            )
        note = f"{self.images}: left out {len(without)} pictures without a mask"
        return FoundMasks(
            origin=self.root,
            names=_class_names(self.root),
            pictures=pictures,
            notes=(note,) if without else (),
        )


def _files(folder: Path, suffixes: Iterable[str]) -> list[Path]:
    found = (p for p in folder.rglob("*") if p.suffix.lower() in suffixes and p.name[0] != ".")
    return sorted(p for p in found if p.is_file())


def _stem(path: Path, folder: Path) -> str:
    return os.fspath(path.relative_to(folder).with_suffix(""))


def _mask_of(file: Path, folder: MaskFolder) -> Path:
    return folder.pixels / file.relative_to(folder.images).with_suffix(".png")


def _class_names(root: Path) -> tuple[str, ...] | None:
    """By value, from a line each, where a file has them."""
    file = next((root / name for name in LABEL_FILES if (root / name).is_file()), None)
    if file is None:
        return None
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: not a text file ({error})", "save it as UTF-8") from None
    names = [line.strip() for line in lines if line.strip()]
    hint = "write one name per line, by the masks' values from 0 on, the background first"
    if not names or names[0].lower() not in BACKGROUNDS:
        first = names[0] if names else ""
        raise DataError(f"{file}: value 0 is the background's, not {first!r}'s", hint)
    if len(set(names)) < len(names) or not 2 <= len(names) <= IGNORED:
        raise DataError(f"{file}: expected 2 to {IGNORED} names, all different", hint)
    return ("background", *names[1:])


@dataclass(frozen=True, kw_only=True, eq=False)
class MaskScan:
    """What is known of a mask's file after reading it once."""

    size: Size
    mode: str
    counts: np.ndarray  # int64 (256,): pixels by value; nothing of a mode that is refused
    complaint: str = ""  # why it cannot be read, or nothing


def scan_masks(paths: Sequence[Path]) -> list[MaskScan]:
    """In the paths' order, on all cores: every mask is decoded before training starts."""
    with ThreadPoolExecutor(cores()) as pool:
        return list(pool.map(_scan, paths))


def _scan(path: Path) -> MaskScan:
    nothing = np.zeros(VALUES, np.int64)
    try:
        with Image.open(path) as image:
            if image.mode not in MODES:
                return MaskScan(size=image.size, mode=image.mode, counts=nothing)
            values = np.asarray(image, np.uint8)
            counts = np.bincount(values.reshape(-1), minlength=VALUES)
            return MaskScan(size=image.size, mode=image.mode, counts=counts)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or error
        complaint = f"{path}: cannot be decoded as a mask ({reason})"
        return MaskScan(size=(0, 0), mode="", counts=nothing, complaint=complaint)


def check_mode(path: Path, scan: MaskScan) -> None:
    """Raise DataError for a mask of colors."""
    if scan.mode not in MODES:
        raise DataError(
            f"{path}: a mask of mode {scan.mode}, expected one integer per pixel",
            f"save it as a PNG with a palette or gray: value = class, {IGNORED} = ignored",
        )


@dataclass(frozen=True, eq=False)
class MaskFiles:
    """Masks read anew with each call."""

    files: PackedEntries
    turns: np.ndarray  # uint8 (n,): the orientations to undo

    @classmethod
    def of(cls, paths: Sequence[Path], turns: Sequence[int]) -> MaskFiles:
        """In the pictures' order."""
        entries = [Entry(name=path.name, label="", path=str(path)) for path in paths]
        return cls(files=PackedEntries.of(entries), turns=np.array(turns, np.uint8))

    def read(self, index: int) -> np.ndarray:
        """Uint8 (h, w), upright; raises DataError naming the file."""
        path = self.files[index].path
        try:
            with Image.open(path) as image:
                mask = np.asarray(image, np.uint8)
        except (OSError, SyntaxError, ValueError) as error:
            raise DataError(f"{path}: cannot be decoded as a mask ({error})") from None
        return turned_mask(mask, int(self.turns[index]))
