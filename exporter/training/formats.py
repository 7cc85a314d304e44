"""Which format a data set of labeled pictures is in, and what its parts are."""

from __future__ import annotations

from pathlib import Path

from exporter.errors import DataError
from exporter.training import coco_files, masks, voc
from exporter.training.annotated import Part, Parts
from exporter.training.coco import CocoFile

YOLO = ("data.yaml", "data.yml")


def find_parts(path: Path, val: Path | None, kind: voc.Kind) -> Parts:
    """What to train on, and what to validate on where it is said; raises DataError."""
    train, held = _located(path, kind)
    if val is None:
        return train, held
    only, second = _located(val, kind)
    return train, second or only


def _located(path: Path, kind: voc.Kind) -> Parts:
    if not path.exists():
        raise DataError(f"{path}: no such file or folder", "check the path")
    in_voc = voc.locate(path, kind)
    if in_voc is not None:
        return in_voc
    in_folders = masks.locate(path)
    if in_folders is not None and kind is voc.Kind.MASKS:
        return in_folders
    in_coco = coco_files.locate(path)
    if in_coco is not None:
        train, held = in_coco
        second: Part | None = CocoFile(held) if held else None
        return CocoFile(train), second
    if in_folders is not None:
        return in_folders
    if any((path / name).is_file() for name in YOLO):
        raise DataError(f"{path}: YOLO's text format is not read", "export the data set as COCO")
    kinds = "a COCO JSON, a folder with one, or Pascal VOC"
    more = ", or images/ and masks/" if kind is voc.Kind.MASKS else ""
    raise DataError(f"{path}: not a data set of labeled pictures", f"pass {kinds}{more}")
