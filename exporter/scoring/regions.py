"""Segmenters: mean intersection over union and the share of right pixels.

What is resampled are images, each with its pixels by true and by predicted class: a resample draws
as many images as there are, with replacement, and adds up their pixels. `intervals.RESAMPLES` of
them, the same for every model, give the intervals. As on the whole set, the mean is over the
classes that are there or predicted.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from exporter.errors import ArtifactError, DataError
from exporter.intervals import RESAMPLES, mean_of_known, resamples
from exporter.labeled_pictures import labeled_masks, seen_by
from exporter.preprocess import normalize
from exporter.results import Results
from exporter.scoring.judge import Extent, batch_of, caution, check_numbers, ratings
from exporter.scoring.models import Models, Runs
from exporter.scoring.records import ClassRating, Confused, PictureEvaluation, WeakClass
from exporter.segmentation import IGNORED, Confusion
from exporter.segmentation.results import label_map
from exporter.spec import ModelSpec
from exporter.tasks import Task
from exporter.training.object_crops import prepare_mask

HITS, TRUE, SAID = range(3)  # pixels of a class: right ones, those of it, those taken for it


@dataclass(kw_only=True, eq=False)
class _Pixels:
    """A model's, by class."""

    confusion: Confusion  # of all images
    images: list[np.ndarray] = field(default_factory=list)  # int64 (3, classes) of each

    def add(self, predicted: np.ndarray, truth: np.ndarray) -> None:
        """One image's label maps."""
        classes = len(self.confusion.counts)
        image = Confusion(classes)
        image.add(predicted, truth)
        counts = image.counts
        self.confusion.counts += counts
        self.images.append(np.stack([counts.diagonal(), counts.sum(1), counts.sum(0)]))


class MaskJudge:
    """Images with a label for every pixel, and every model's pixels."""

    def __init__(self, data: Path, spec: ModelSpec) -> None:
        self.spec = spec
        self.source, self.notes = labeled_masks(data, spec)
        self.truth: list[np.ndarray] = []  # the label maps of the batch that is seen
        self.shown: list[np.ndarray] = []  # bool (classes,) of every image
        self.labeled = np.zeros(spec.classes, np.int64)  # pixels
        self.pixels = defaultdict[str, _Pixels](lambda: _Pixels(confusion=Confusion(spec.classes)))

    @property
    def batch(self) -> int:
        """Fewer of large images."""
        return batch_of(self.spec.resolution)

    def __len__(self) -> int:
        return len(self.source)

    def see(self, indices: Sequence[int]) -> np.ndarray:
        """The images by the contract, and their masks as it shows them."""
        contract, classes = self.spec.preprocess, self.spec.classes
        pixels, self.truth = [], []
        for i in indices:
            with seen_by(self.source, i):
                image, mask = self.source.image(i), self.source.mask(i)
                shown, labels = prepare_mask(image, mask, contract, None)
            pixels.append(shown)
            self.truth.append(labels)
            counts = np.bincount(labels[labels != IGNORED], minlength=classes)
            self.labeled += counts
            self.shown.append(counts > 0)
        return normalize(np.stack(pixels), contract)

    def run(self, runner: Runs, images: np.ndarray) -> Results:
        """All outputs."""
        return runner.results(images)

    def keep(self, path: str, results: Results, images: int) -> None:
        """The pixels of each image by class: logits of a data set would fill any memory."""
        check_numbers(results)
        labels, side = label_map(results, self.spec), self.spec.resolution
        if labels.shape != (images, side, side):
            raise ArtifactError(f"gives labels {labels.shape} for {images} images of {side} px")
        for predicted, truth in zip(labels, self.truth, strict=True):
            self.pixels[path].add(predicted, truth)

    def conclude(self, models: Models, extent: Extent, worst: int) -> PictureEvaluation:
        """Mean IoU and the share of right pixels; raises DataError where no pixel has a label."""
        if not self.labeled.any():
            raise DataError(
                f"no pixel of {len(self.shown)} masks has a label as the model sees them",
                f"label them with classes from 0 on; {IGNORED} is left out",
            )
        counts = resamples(len(self.shown))
        pixels = {subject.path: self.pixels[subject.path] for subject in models.subjects}
        sums = {path: resampled_pixels(each.images, counts) for path, each in pixels.items()}
        figures = {
            path: {"miou": mean_of_known(intersection_over_union(s)), "pixels": right_pixels(s)}
            for path, s in sums.items()
        }
        return PictureEvaluation(
            data=extent.data,
            images=extent.images,
            of=extent.of,
            classes=int((self.labeled > 0).sum()),
            task=Task.SEGMENTATION,
            labeled=int(self.labeled.sum()),
            resamples=RESAMPLES,
            scores=ratings(models, figures),
            worst=self._worst(pixels, worst),
            notes=(*self.notes, *caution(extent.images)),
        )

    def _worst(self, pixels: Mapping[str, _Pixels], count: int) -> tuple[WeakClass, ...]:
        """The lowest IoU of the first model first; of equal ones the class of more pixels."""
        if not (count and pixels):
            return ()
        ious = {path: each.confusion.iou() for path, each in pixels.items()}
        first, shown = next(iter(ious.values())), np.stack(self.shown)
        occurring = np.flatnonzero(~np.isnan(first)).tolist()
        order = sorted(occurring, key=lambda i: (first[i], -self.labeled[i], i))
        return tuple(
            WeakClass(
                index=i,
                label=self.spec.label(i),
                images=int(shown[:, i].sum()),
                labeled=int(self.labeled[i]),
                scores=tuple(
                    ClassRating(
                        path=path,
                        value=None if np.isnan(values[i]) else float(values[i]),
                        taken_for=_confused(pixels[path].confusion.counts[i], i, self.spec),
                    )
                    for path, values in ious.items()
                ),
            )
            for i in order[:count]
        )


def resampled_pixels(images: Sequence[np.ndarray], counts: np.ndarray) -> np.ndarray:
    """Float64 (resamples, 3, classes), exact: a resample's pixels number less than 2^53."""
    of_images = np.stack(images).astype(np.float64)
    sums = counts.astype(np.float64) @ of_images.reshape(len(of_images), -1)
    return np.asarray(sums.reshape(len(counts), *of_images.shape[1:]))


def intersection_over_union(sums: np.ndarray) -> np.ndarray:
    """(resamples, classes): NaN for a class that is neither there nor predicted."""
    union = sums[:, TRUE] + sums[:, SAID] - sums[:, HITS]
    return np.asarray(np.where(union > 0, sums[:, HITS] / np.maximum(union, 1.0), np.nan))


def right_pixels(sums: np.ndarray) -> np.ndarray:
    """(resamples,): NaN where no pixel is labeled."""
    right, labeled = sums[:, HITS].sum(1), sums[:, TRUE].sum(1)
    return np.asarray(np.where(labeled > 0, right / np.maximum(labeled, 1.0), np.nan))


def _confused(said: np.ndarray, index: int, spec: ModelSpec) -> Confused | None:
    """From what one class' pixels were taken for, int64 (classes,)."""
    wrong = said.copy()
    wrong[index] = 0
    if not wrong.any():
        return None
    other = int(wrong.argmax())
    return Confused(index=other, label=spec.label(other), share=float(wrong[other] / said.sum()))
