"""Detectors: COCO's mean average precision, with intervals from resampled images.

Detections are matched with labeled objects once per image and model. A resample draws as many
images as there are, with replacement, and ranks their detections anew; `intervals.RESAMPLES` of
them, the same for every model, give the intervals. The mean is over the classes that a resample
shows.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from exporter.coco_tools import check_coco_tools
from exporter.detection.average_precision import WHAT
from exporter.detection.matches import average_precision, class_matches
from exporter.detection.records import Found, Objects, found_in
from exporter.errors import ArtifactError, DataError
from exporter.intervals import RESAMPLES, mean_of_known, resamples
from exporter.labeled_pictures import labeled_objects, seen_by
from exporter.preprocess import normalize
from exporter.results import Results
from exporter.scoring.judge import Extent, batch_of, caution, check_numbers, ratings
from exporter.scoring.models import Models, Runs
from exporter.scoring.records import ClassRating, PictureEvaluation, WeakClass
from exporter.spec import ModelSpec
from exporter.tasks import Task
from exporter.training.object_crops import prepare_objects

AT_50 = 0  # of COCO's ten IoU thresholds
Figures = dict[str, np.ndarray]  # by path


class ObjectJudge:
    """Images with labeled objects, and what every model found."""

    def __init__(self, data: Path, spec: ModelSpec) -> None:
        check_coco_tools(WHAT)
        self.spec = spec
        self.source, self.notes = labeled_objects(data, spec)
        self.truth: list[Objects] = []
        self.found: defaultdict[str, list[Found]] = defaultdict(list)

    @property
    def batch(self) -> int:
        """Fewer of large images."""
        return batch_of(self.spec.resolution)

    def __len__(self) -> int:
        return len(self.source)

    def see(self, indices: Sequence[int]) -> np.ndarray:
        """The images by the contract; objects that it cuts off are ignored."""
        contract = self.spec.preprocess
        pixels = []
        for i in indices:
            with seen_by(self.source, i):
                image, objects = self.source.image(i), self.source.objects(i)
                shown, kept = prepare_objects(image, objects, contract, None)
            pixels.append(shown)
            self.truth.append(kept)
        return normalize(np.stack(pixels), contract)

    def run(self, runner: Runs, images: np.ndarray) -> Results:
        """All outputs; boxes that only the app removes are removed outside the time."""
        return runner.results(images)

    def keep(self, path: str, results: Results, images: int) -> None:
        """The detections of each image."""
        check_numbers(results)
        found = found_in(results, self.spec)
        if len(found) != images:
            raise ArtifactError(f"gives detections of {len(found)} images for {images}")
        self.found[path] += found

    def conclude(self, models: Models, extent: Extent, worst: int) -> PictureEvaluation:
        """Mean AP at an IoU of 0.5, and over IoUs from 0.5 to 0.95."""
        objects = self._objects()
        counts = resamples(len(self.truth))
        paths = [subject.path for subject in models.subjects]
        by_class = self._precisions(paths, counts)
        figures = {
            path: {"map50": mean_of_known(ap[..., AT_50]), "map": mean_of_known(ap.mean(2))}
            for path, ap in by_class.items()
        }
        at_50 = {path: ap[0, :, AT_50] for path, ap in by_class.items()}
        return PictureEvaluation(
            data=extent.data,
            images=extent.images,
            of=extent.of,
            classes=int((objects.sum(0) > 0).sum()),
            task=Task.DETECTION,
            labeled=int(objects.sum()),
            resamples=RESAMPLES,
            scores=ratings(models, figures),
            worst=_worst(self.spec, at_50, objects, worst),
            notes=(*self.notes, *caution(extent.images)),
        )

    def _objects(self) -> np.ndarray:
        """Int64 (n, classes): how many of each class an image shows; raises DataError for none."""
        classes = self.spec.classes
        shown = (truth.classes[~truth.ignored] for truth in self.truth)
        objects = np.stack([np.bincount(labels, minlength=classes) for labels in shown])
        if not objects.any():
            raise DataError(
                f"no labeled object is left on {len(self.truth)} images as the model sees them",
                "evaluate on images with objects in their middle",
            )
        return objects

    def _precisions(self, paths: Sequence[str], counts: np.ndarray) -> Figures:
        """AP by resample, class from 1 on and IoU threshold; equal detections are matched once."""
        known: dict[bytes, np.ndarray] = {}
        values = {}
        for path in paths:
            digest = _digest(self.found[path])
            if digest not in known:
                matches = class_matches(self.found[path], self.truth, self.spec.classes)
                known[digest] = np.stack([average_precision(m, counts) for m in matches], 1)
            values[path] = known[digest]
        return values


def _digest(found: Sequence[Found]) -> bytes:
    """Of everything that a model found; int8 artifacts mostly agree to the last bit."""
    sha256 = hashlib.sha256()
    for one in found:
        for values in (one.boxes, one.scores, one.classes):
            sha256.update(len(values).to_bytes(4))
            sha256.update(np.ascontiguousarray(values).tobytes())
    return sha256.digest()


def _worst(
    spec: ModelSpec, at_50: Mapping[str, np.ndarray], objects: np.ndarray, count: int
) -> tuple[WeakClass, ...]:
    """The lowest AP50 of the first model first; of equal ones the class of more objects."""
    if not (count and at_50):
        return ()
    first, totals = next(iter(at_50.values())), objects.sum(0)
    occurring = (i for i in range(1, spec.classes) if totals[i])
    order = sorted(occurring, key=lambda i: (first[i - 1], -totals[i], i))
    return tuple(
        WeakClass(
            index=i,
            label=spec.label(i),
            images=int((objects[:, i] > 0).sum()),
            labeled=int(totals[i]),
            scores=tuple(
                ClassRating(path=path, value=float(values[i - 1])) for path, values in at_50.items()
            ),
        )
        for i in order[:count]
    )
