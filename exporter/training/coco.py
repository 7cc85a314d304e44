"""COCO's JSON: images, annotations and categories that refer to each other by id."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from exporter.coco_tools import check_coco_tools
from exporter.errors import DataError
from exporter.training.annotated import FoundMasks, FoundObjects, MaskPicture, ObjectPicture, Size
from exporter.training.coco_files import image_folder
from exporter.training.coco_masks import Shape, check_segmentation, pack_shapes
from exporter.training.entries import Entry

BACKGROUND = "background"
HINT = "export the data set as COCO instances once more"
MOST_VALUES = 254  # classes of a mask, beside the background and what is ignored
Id = int | str
Item = dict[str, Any]


@dataclass(frozen=True)
class CocoFile:
    """One part of a data set."""

    path: Path

    def objects(self) -> FoundObjects:
        """Every image of the file, with its boxes; raises DataError naming the entry."""
        document = _read(self.path)
        rows: dict[Id, list[tuple[list[float], int, bool]]] = {i: [] for i in document.images}
        for item, image, category in document.annotations():
            row = (_corners(item, self.path), category, _is_crowd(item, self.path))
            rows[image].append(row)
        pictures = [
            _object_picture(entry, size, rows[i]) for i, (entry, size) in document.images.items()
        ]
        return FoundObjects(
            origin=self.path, names=document.names, pictures=pictures, notes=document.notes
        )

    def masks(self) -> FoundMasks:
        """Every image of the file, with its segmentations; raises DataError naming the entry."""
        check_coco_tools("a COCO data set of segmentations")
        document = _read(self.path)
        if len(document.names) > MOST_VALUES:
            raise DataError(f"{self.path}: more than {MOST_VALUES} categories do not fit a mask")
        shapes: dict[Id, list[Shape]] = {i: [] for i in document.images}
        without = 0
        for item, image, category in document.annotations():
            where = f"{self.path}: annotation {item.get('id')}"
            if item.get("segmentation") in (None, []):
                without += 1
                continue
            segmentation = check_segmentation(item["segmentation"], where)
            value = None if _is_crowd(item, self.path) else category + 1
            shapes[image].append((value, segmentation))
        if without and not any(shapes.values()):
            raise DataError(
                f"{self.path}: boxes only, no segmentation", "export the data set with polygons"
            )
        pictures = [
            MaskPicture(entry=entry, size=size, mask=pack_shapes(shapes[i]))
            for i, (entry, size) in document.images.items()
        ]
        left_out = (f"{self.path}: left out {without} objects without a segmentation",)
        return FoundMasks(
            origin=self.path,
            names=(BACKGROUND, *document.names),
            pictures=pictures,
            notes=document.notes + (left_out if without else ()),
        )


@dataclass(frozen=True, kw_only=True)
class _Document:
    """A file whose ids were looked up."""

    path: Path
    names: tuple[str, ...]
    index: dict[Id, int]  # of a category, into the names
    images: dict[Id, tuple[Entry, Size | None]]
    items: list[Item]
    notes: tuple[str, ...]

    def annotations(self) -> Iterator[tuple[Item, Id, int]]:
        """Each with the image's id and the category's index."""
        for item in self.items:
            where = f"annotation {item.get('id')}"
            image, category = item.get("image_id"), item.get("category_id")
            if not isinstance(image, Id) or image not in self.images:
                raise _bad(self.path, f"{where}: image_id {image!r} is no image's")
            if not isinstance(category, Id) or category not in self.index:
                raise _bad(self.path, f"{where}: category_id {category!r} is no category's")
            yield item, image, self.index[category]


def _read(path: Path) -> _Document:
    data = _loaded(path)
    items = _items(data, "annotations", path)
    used = {c for item in items if isinstance(c := item.get("category_id"), Id)}
    categories, notes = _categories(data, used, path)
    return _Document(
        path=path,
        names=tuple(categories.values()),
        index={key: i for i, key in enumerate(categories)},
        images=_images(data, path),
        items=items,
        notes=notes,
    )


def _loaded(path: Path) -> Item:
    try:
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise _bad(path, f"not JSON ({error})") from None
    if not isinstance(data, dict):
        raise _bad(path, "not COCO: no object with images, annotations and categories")
    return data


def _items(data: Item, key: str, path: Path) -> list[Item]:
    items = data.get(key)
    if not isinstance(items, list):
        raise _bad(path, f"not COCO: no list {key!r} in it")
    for number, item in enumerate(items):
        if not isinstance(item, dict):
            raise _bad(path, f"{key}[{number}] is no object")
    return items


def _categories(data: Item, used: set[Id], path: Path) -> tuple[dict[Id, str], tuple[str, ...]]:
    """Names by id, in the ids' order, without those that stand for no class.

    Some tools write the background as one, or a name for all the others (their supercategory).
    """
    items = _items(data, "categories", path)
    above = {item.get("supercategory") for item in items}
    names: dict[Id, str] = {}
    left_out = []
    for number, item in enumerate(items):
        key, name = item.get("id"), item.get("name")
        if not isinstance(key, Id) or not isinstance(name, str) or not name:
            raise _bad(path, f"categories[{number}] has no id or no name")
        is_none = name == BACKGROUND or (name in above and name != item.get("supercategory"))
        if is_none and key not in used:
            left_out.append(name)
        elif key in names or name in names.values() or name == BACKGROUND:
            raise _bad(path, f"category {name!r} with id {key!r}: an id or a name that is taken")
        else:
            names[key] = name
    if not names:
        raise _bad(path, "no categories")
    ordered = sorted(names, key=lambda key: (isinstance(key, str), key))
    notes = (f"{path}: no class of their own: {', '.join(left_out)}",) if left_out else ()
    return {key: names[key] for key in ordered}, notes


def _images(data: Item, path: Path) -> dict[Id, tuple[Entry, Size | None]]:
    items = _items(data, "images", path)
    names: dict[Id, tuple[str, Size | None]] = {}
    seen = set()
    for number, item in enumerate(items):
        key, name = item.get("id"), item.get("file_name")
        if not isinstance(key, Id) or not isinstance(name, str) or not name or "\0" in name:
            raise _bad(path, f"images[{number}] has no id or no file_name")
        name = name.replace("\\", "/")
        if key in names or name in seen:
            raise _bad(path, f"images[{number}] ({name}): an id or a file_name that is taken")
        seen.add(name)
        names[key] = name, _size(item, path)
    if not names:
        raise _bad(path, "no images in it")
    folder = image_folder(path, [name for name, _ in names.values()])
    return {
        key: (Entry(name=name, label="", path=str(folder / name)), size)
        for key, (name, size) in names.items()
    }


def _size(item: Item, path: Path) -> Size | None:
    width, height = item.get("width"), item.get("height")
    if not width or not height:
        return None  # the picture's own
    if not all(_is_number(side) and side > 0 for side in (width, height)):
        raise _bad(path, f"image {item['file_name']!r}: its size is {width!r} x {height!r}")
    return int(width), int(height)


def _object_picture(
    entry: Entry, size: Size | None, rows: list[tuple[list[float], int, bool]]
) -> ObjectPicture:
    return ObjectPicture(
        entry=entry,
        size=size,
        boxes=np.array([box for box, _, _ in rows], np.float64).reshape(-1, 4),
        categories=np.array([category for _, category, _ in rows], np.int64),
        ignored=np.array([crowd for _, _, crowd in rows], np.bool_),
    )


def _corners(item: Item, path: Path) -> list[float]:
    box = item.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
        raise _bad(path, f"annotation {item.get('id')}: bbox {box!r} is not x, y, width, height")
    x, y, width, height = map(float, box)
    return [x, y, x + width, y + height]


def _is_crowd(item: Item, path: Path) -> bool:
    crowd = item.get("iscrowd", 0)
    if crowd not in (0, 1):
        raise _bad(path, f"annotation {item.get('id')}: iscrowd is {crowd!r}, not 0 or 1")
    return bool(crowd)


def _is_number(value: object) -> bool:
    """Finite; JSON as Python reads it has NaN, and integers beyond any float."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 53


def _bad(path: Path, what: str) -> DataError:
    return DataError(f"{path}: {what}", HINT)
