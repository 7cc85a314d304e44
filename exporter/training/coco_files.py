"""Where a COCO data set has its JSON files, and where those have their images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from exporter.errors import DataError

VAL_NAMES = ("val", "valid", "validation")
OTHER_KINDS = ("captions", "person_keypoints", "image_info", "panoptic", "stuff")
PREFIX = "instances_"
PROBED = 50  # images that decide which folder is theirs


def locate(path: Path) -> tuple[Path, Path | None] | None:
    """The JSON to train on, and the one to validate on where there is one; None: no COCO set.

    Raises DataError where several could be meant.
    """
    if path.is_file():
        return (path, _beside(path)) if path.suffix.lower() == ".json" else None
    for folder in (path, path / "annotations"):
        files = json_files(folder)
        if files:
            return _by_name(files, folder)
    train = json_files(path / "train")
    if not train:
        return None
    val = [file for name in VAL_NAMES for file in json_files(path / name)]
    return _only(train, path / "train"), _only(val, path) if val else None


def _beside(file: Path) -> Path | None:
    """`instances_val2017.json` of `instances_train2017.json`."""
    if "train" not in file.stem:
        return None
    others = (file.with_stem(file.stem.replace("train", name)) for name in VAL_NAMES)
    return next((other for other in others if other.is_file()), None)


def json_files(folder: Path) -> list[Path]:
    """Without those that hold captions and the like; of COCO's own, the instances."""
    if not folder.is_dir():
        return []
    files = sorted(f for f in folder.glob("*.json") if f.is_file() and f.name[0] != ".")
    files = [f for f in files if not f.name.startswith(OTHER_KINDS)]
    return [f for f in files if f.name.startswith(PREFIX)] or files


def _by_name(files: list[Path], folder: Path) -> tuple[Path, Path | None]:
    train = [f for f in files if "train" in f.stem.lower()]
    val = [f for f in files if "val" in f.stem.lower() and f not in train]
    rest = [f for f in files if f not in train + val and "test" not in f.stem.lower()]
    if not train and not rest:
        raise DataError(f"{folder}: no JSON to train on", "pass the JSON file itself")
    return _only(train or rest, folder), _only(val, folder) if val else None


def _only(files: Sequence[Path], folder: Path) -> Path:
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise DataError(f"{folder}: holds {names}", "pass the JSON file that is meant")
    return files[0]


def image_folder(file: Path, names: Sequence[str]) -> Path:
    """The folder that `names` are relative to: the likely one that has the most of them.

    Raises DataError when no such folder has any.
    """
    step = max(1, len(names) // PROBED)
    probes = names[::step][:PROBED]
    counts = [(sum(_is_file(f / n) for n in probes), f) for f in _likely_folders(file)]
    best = max((count for count, _ in counts), default=0)
    if best == 0:
        looked = ", ".join(str(folder) for _, folder in counts)
        raise DataError(
            f"{file}: its images, as {names[0]!r}, are not found in {looked}",
            "put them into one of these folders",
        )
    return next(folder for count, folder in counts if count == best)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that no file can have
        return False


def _likely_folders(file: Path) -> Iterator[Path]:
    """Beside the JSON, beside its folder, and there in folders that are called as the JSON is."""
    part = file.stem.removeprefix(PREFIX)
    for root in (file.parent, file.parent.parent):
        folders = (root, root / "images", root / part, root / "images" / part)
        yield from (folder for folder in folders if folder.is_dir())
