"""The embedded demo of every task: its checkpoint, its pictures, and what is on them."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
from PIL import Image

from exporter import demo
from exporter.data import HOLDOUT_COUNT, ImageSet
from exporter.demo import scenes
from exporter.detection.records import Objects
from exporter.preprocess import normalize, to_pixels
from exporter.rating import Labeled
from exporter.spec import ModelSpec
from exporter.tasks import Task

CHECKPOINTS = {
    Task.CLASSIFICATION: demo.CHECKPOINT,
    Task.DETECTION: demo.DETECTION_CHECKPOINT,
    Task.SEGMENTATION: demo.SEGMENTATION_CHECKPOINT,
}


def checkpoint(task: Task) -> Path:
    """The trained network of a task."""
    return CHECKPOINTS[task]


def images(spec: ModelSpec, count: int) -> ImageSet:
    """Pictures to calibrate with, and others of an unseen style that are held out."""
    if spec.task is Task.CLASSIFICATION:
        pixels, _ = _pictures()
        calibration = _fitted(demo.calibration_images(count), spec)
    else:
        pixels = _scenes(spec.resolution).pixels
        calibration = scenes.calibration_scenes(spec.resolution, count)
    chosen = np.linspace(0, len(pixels) - 1, HOLDOUT_COUNT).astype(int)
    return ImageSet(
        calibration=calibration,
        holdout=_fitted(pixels[chosen], spec),
        origin=f"{count} embedded pictures to calibrate, "
        f"{HOLDOUT_COUNT} of an unseen style held out",
    )


def stand_ins(spec: ModelSpec, count: int) -> ImageSet:
    """The classifier's pictures at any network's size, for one that came without photos."""
    pixels, _ = _pictures()
    chosen = np.linspace(0, len(pixels) - 1, HOLDOUT_COUNT).astype(int)
    return ImageSet(
        calibration=_fitted(demo.calibration_images(count), spec),
        holdout=_fitted(pixels[chosen], spec),
        origin="no photos given: parity runs on the embedded pictures",
    )


def labeled(spec: ModelSpec) -> Labeled:
    """The test split: a style and backgrounds that training never saw."""
    if spec.task is Task.CLASSIFICATION:
        pixels, classes = _pictures()
        return Labeled(images=normalize(_fitted(pixels, spec), spec.preprocess), truth=classes)
    found = _scenes(spec.resolution)
    inputs = normalize(_fitted(found.pixels, spec), spec.preprocess)
    if spec.task is Task.SEGMENTATION:
        return Labeled(images=inputs, truth=found.masks)
    objects = tuple(
        Objects(boxes=boxes, classes=classes, ignored=np.zeros(len(classes), bool))
        for boxes, classes in zip(found.boxes, found.classes, strict=True)
    )
    return Labeled(images=inputs, truth=objects)


@functools.cache
def _pictures() -> tuple[np.ndarray, np.ndarray]:
    """The classifier's test split, composed once."""
    return demo.unseen_images()


@functools.cache
def _scenes(side: int) -> scenes.Scenes:
    """The other two tasks' test split, composed once."""
    return scenes.unseen_scenes(side)


def _fitted(pixels: np.ndarray, spec: ModelSpec) -> np.ndarray:
    """Embedded pictures (n, h, w, 3) by the spec's contract, (n, r, r, 3)."""
    return np.stack([to_pixels(Image.fromarray(p), spec.preprocess) for p in pixels])
