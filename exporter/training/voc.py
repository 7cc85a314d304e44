"""Pascal VOC: an XML file per picture, lists of pictures, and masks with a palette."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import NoReturn

import numpy as np

from exporter.data import SUFFIXES
from exporter.errors import DataError
from exporter.training.annotated import FoundMasks, FoundObjects, MaskPicture, ObjectPicture, Size
from exporter.training.entries import Entry

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip
PICTURES, BOXES, MASKS, LISTS = "JPEGImages", "Annotations", "SegmentationClass", "ImageSets"
CORNERS = ("xmin", "ymin", "xmax", "ymax")
HINT = "export the data set as Pascal VOC once more"


class Kind(StrEnum):
    """The folder of lists for what is looked for."""

    OBJECTS = "Main"
    MASKS = "Segmentation"


def locate(path: Path, kind: Kind) -> tuple[VocPart, VocPart | None] | None:
    """What to train on, and what to validate on where lists say it; None: not Pascal VOC.

    `path` is a folder like VOC2012, one that holds it, or one of its lists. Raises DataError where
    several years lie in it.
    """
    if path.is_file():
        listed = path.suffix == ".txt" and len(path.parents) > 2
        in_root = listed and _is_root(path.parents[2], kind)
        return (VocPart(path.parents[2], path), None) if in_root else None
    root = _root(path, kind)
    if root is None:
        return None
    folder = root / LISTS / kind
    train, val, both = (folder / f"{name}.txt" for name in ("train", "val", "trainval"))
    if train.is_file() and val.is_file():
        return VocPart(root, train), VocPart(root, val)
    listed_in = next((file for file in (train, both, val) if file.is_file()), None)
    return VocPart(root, listed_in), None


def _root(path: Path, kind: Kind) -> Path | None:
    if _is_root(path, kind):
        return path
    for folder in (path, path / "VOCdevkit"):
        roots = sorted(f for f in folder.glob("VOC*") if _is_root(f, kind))
        if len(roots) > 1:
            names = ", ".join(root.name for root in roots)
            raise DataError(f"{folder}: holds {names}", "pass the one that is meant")
        if roots:
            return roots[0]
    return None


def _is_root(path: Path, kind: Kind) -> bool:
    labels = BOXES if kind is Kind.OBJECTS else MASKS
    return (path / PICTURES).is_dir() and (path / labels).is_dir()


@dataclass(frozen=True)
class VocPart:
    """The pictures of one list, or all that have an annotation."""

    root: Path
    listed: Path | None

    @property
    def origin(self) -> Path:
        """What a person passed or would pass."""
        return self.listed or self.root

    def objects(self) -> FoundObjects:
        """Raises DataError naming the file and the object."""
        names = self._names(BOXES, ".xml")
        files = [self.root / BOXES / f"{name}.xml" for name in names]
        read = [_annotation(file) for file in files]
        found = {label for annotation in read for label in annotation.labels}
        classes = CLASSES if found <= set(CLASSES) else tuple(sorted(found))
        index = {label: i for i, label in enumerate(classes)}
        entries = self._entries(names)
        pictures = [
            ObjectPicture(
                entry=entry,
                size=annotation.size,
                boxes=np.array(annotation.boxes, np.float64).reshape(-1, 4),
                categories=np.array([index[label] for label in annotation.labels], np.int64),
                ignored=np.array(annotation.difficult, np.bool_),
            )
            for entry, annotation in zip(entries, read, strict=True)
        ]
        return FoundObjects(origin=self.origin, names=classes, pictures=pictures)

    def masks(self) -> FoundMasks:
        """Raises DataError for a listed picture without a mask."""
        names = self._names(MASKS, ".png")
        masks = [self.root / MASKS / f"{name}.png" for name in names]
        there = {file.name for file in (self.root / MASKS).iterdir()}
        for mask in masks:
            if mask.name not in there:
                raise DataError(f"{self.origin}: {mask.stem} has no mask {mask}", HINT)
        pictures = [
            MaskPicture(entry=entry, size=None, mask=mask)
            for entry, mask in zip(self._entries(names), masks, strict=True)
        ]
        return FoundMasks(origin=self.origin, names=("background", *CLASSES), pictures=pictures)

    def _names(self, folder: str, suffix: str) -> list[str]:
        """The pictures' names without a suffix."""
        if self.listed is None:
            files = sorted((self.root / folder).glob(f"*{suffix}"))
            names = [file.stem for file in files if file.name[0] != "."]
        else:
            try:
                lines = self.listed.read_text(encoding="utf-8-sig").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise DataError(f"{self.listed}: not a text file ({error})", HINT) from None
            names = list(dict.fromkeys(line.split()[0] for line in lines if line.strip()))
        if not names:
            raise DataError(f"{self.origin}: no pictures in it", HINT)
        return names

    def _entries(self, names: Sequence[str]) -> list[Entry]:
        """A picture that is missing is found out when it is read."""
        folder = self.root / PICTURES
        files = {f.stem: f for f in folder.iterdir() if f.suffix.lower() in SUFFIXES}
        paths = [files.get(name, folder / f"{name}.jpg") for name in names]
        return [Entry(name=path.name, label="", path=str(path)) for path in paths]


@dataclass(frozen=True, kw_only=True)
class _Annotation:
    size: Size | None
    boxes: list[list[float]]
    labels: list[str]
    difficult: list[bool]


class _NoDoctype(ET.TreeBuilder):
    """Entities could name files or grow without end, and no annotation has them."""

    def doctype(self, name: str, *_: object) -> NoReturn:
        raise ValueError(f"a document type, {name}, which annotations do not have")


def _annotation(file: Path) -> _Annotation:
    try:
        root = ET.fromstring(file.read_bytes(), ET.XMLParser(target=_NoDoctype()))
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})", HINT) from None
    except (ET.ParseError, ValueError, LookupError) as error:
        raise DataError(f"{file}: not XML of an annotation ({error})", HINT) from None
    if root.tag != "annotation":
        raise DataError(f"{file}: <{root.tag}> instead of <annotation>", HINT)
    objects = root.findall("object")
    places = [f"{file}: object {number}" for number in range(1, len(objects) + 1)]
    return _Annotation(
        size=_size(root, file),
        boxes=[_corners(o, where) for o, where in zip(objects, places, strict=True)],
        labels=[_label(o, where) for o, where in zip(objects, places, strict=True)],
        difficult=[(o.findtext("difficult") or "0").strip() == "1" for o in objects],
    )


def _size(root: ET.Element, file: Path) -> Size | None:
    """None where it is not said; some tools write 0 for that."""
    texts = [root.findtext(f"size/{side}") for side in ("width", "height")]
    if None in texts:
        return None
    width, height = (int(_number(text, f"{file}: size")) for text in texts)
    return (width, height) if width > 0 and height > 0 else None


def _label(item: ET.Element, where: str) -> str:
    label = (item.findtext("name") or "").strip()
    if not label or label == "background":
        raise DataError(f"{where}: {label or 'nothing'!r} is no class's name", HINT)
    return label


def _corners(item: ET.Element, where: str) -> list[float]:
    """From VOC's pixels, counted from 1 with the last one inside, to edges counted from 0."""
    texts = [item.findtext(f"bndbox/{corner}") for corner in CORNERS]
    x1, y1, x2, y2 = (_number(text, f"{where}: bndbox") for text in texts)
    return [x1 - 1, y1 - 1, x2, y2]


def _number(text: str | None, where: str) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{where}: {text!r} is not a number", HINT)
    return value
