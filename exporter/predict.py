"""Run an artifact on photos: its top classes, or what it found and a picture of that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from exporter.detection.records import found_in
from exporter.drawing import draw_objects, draw_regions
from exporter.errors import ArtifactError, DataError, UnsupportedError
from exporter.files import added_to
from exporter.framing import Framing
from exporter.inspection import inspect
from exporter.manifest import FILE_NAME
from exporter.picture_files import plan_pictures
from exporter.predictions import (
    Classification,
    Detection,
    Prediction,
    Segmentation,
    classes_of,
    objects_of,
    regions_of,
)
from exporter.preprocess import normalize, read_image, to_pixels
from exporter.segmentation.results import label_map
from exporter.spec import ModelSpec, Preprocess
from exporter.target import Runner, Target
from exporter.tasks import Task

DEFAULT_THRESHOLD = 0.4
COMPRESSION = 4  # of zlib's 9: faster than its usual 6, for files a little larger


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What is to be shown; `threshold` is for detectors, `out` for them and segmenters."""

    top: int = 5
    threshold: float | None = None
    out: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the picture of one image is written for now, and where it will be found."""

    temporary: Path
    final: Path


@dataclass(frozen=True, kw_only=True, eq=False)
class Photo:
    """An upright photo, and what the network gets of it."""

    path: Path
    image: Image.Image
    framing: Framing
    tensor: np.ndarray  # float32 (1, 3, r, r)


def predict(
    path: Path, images: Sequence[Path], targets: Mapping[str, Target], wishes: Wishes
) -> list[Prediction]:
    """What any artifact that runs on this machine says of each image.

    Pictures appear under `wishes.out` when all are drawn, so a bad image leaves none.
    """
    found = inspect(path, targets)
    if found.spec is None:
        raise ArtifactError(
            f"{path}: carries no preprocessing and has no {FILE_NAME} beside it",
            "keep the artifact in the directory that `mnv2-export build` wrote",
        )
    spec = found.spec
    check_wishes(wishes, spec.task, path)
    load = targets[found.target].backend.load
    if wishes.out is None:
        runner = load(path)
        return [_predict_one(image, runner, spec, wishes, None) for image in images]
    files = plan_pictures(wishes.out, path, images)
    with added_to(files.folder) as folder:
        runner = load(path)
        places = [Place(temporary=folder / p.name, final=p) for p in files.paths()]
        return [
            _predict_one(image, runner, spec, wishes, place)
            for image, place in zip(images, places, strict=True)
        ]


def check_wishes(wishes: Wishes, task: Task, path: Path) -> None:
    """Raise UnsupportedError for what a model of this task cannot be asked."""
    if wishes.threshold is not None:
        if task is not Task.DETECTION:
            raise UnsupportedError(
                f"{path}: a model for {task} has no scores of objects", "leave --threshold out"
            )
        if not 0 <= wishes.threshold <= 1:
            raise UnsupportedError(f"threshold {wishes.threshold:g} is outside 0..1")
    if wishes.out is not None and task is Task.CLASSIFICATION:
        raise UnsupportedError(
            f"{path}: a model for {task} finds nothing to draw", "leave --out out"
        )


def _predict_one(
    path: Path, runner: Runner, spec: ModelSpec, wishes: Wishes, place: Place | None
) -> Prediction:
    photo = _read(path, spec.preprocess)
    if spec.task is Task.CLASSIFICATION:
        classes = classes_of(runner(photo.tensor)[0], spec, wishes.top)
        return Classification(image=str(path), classes=classes)
    results = runner.results(photo.tensor)
    if spec.task is Task.DETECTION:
        threshold = DEFAULT_THRESHOLD if wishes.threshold is None else wishes.threshold
        return _detection(photo, results, spec, threshold, place)
    return _segmentation(photo, results, spec, place)


def _detection(
    photo: Photo,
    results: Mapping[str, np.ndarray],
    spec: ModelSpec,
    threshold: float,
    place: Place | None,
) -> Detection:
    (found,) = found_in(results, spec)
    objects = objects_of(found, spec, photo.framing, threshold)
    if place is not None:
        _save(draw_objects(photo.image, objects), place)
    return Detection(
        image=str(photo.path),
        width=photo.framing.width,
        height=photo.framing.height,
        threshold=threshold,
        objects=objects,
        picture=None if place is None else str(place.final),
    )


def _segmentation(
    photo: Photo, results: Mapping[str, np.ndarray], spec: ModelSpec, place: Place | None
) -> Segmentation:
    (labels,) = label_map(results, spec)
    regions = regions_of(labels, spec)
    if place is not None:
        on_photo = photo.framing.labels_to_photo(labels)
        _save(draw_regions(photo.image, on_photo, regions), place)
    return Segmentation(
        image=str(photo.path),
        width=photo.framing.width,
        height=photo.framing.height,
        seen=photo.framing.share,
        regions=regions,
        picture=None if place is None else str(place.final),
    )


def _read(path: Path, contract: Preprocess) -> Photo:
    image = read_image(path)
    try:
        pixels = to_pixels(image, contract)
    except DataError as error:
        raise DataError(f"{path}: {error.message}", error.hint) from None
    return Photo(
        path=path,
        image=image,
        framing=Framing(width=image.width, height=image.height, contract=contract),
        tensor=normalize(pixels[None], contract),
    )


def _save(picture: Image.Image, place: Place) -> None:
    picture.save(place.temporary, format="PNG", compress_level=COMPRESSION)
