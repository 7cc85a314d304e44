"""Mean intersection over union, from a confusion matrix that grows batch by batch."""

from __future__ import annotations

import numpy as np

from exporter.errors import DataError
from exporter.segmentation.loss import IGNORED


class Confusion:
    """Pixels by true and by predicted class; ignored ones are not counted."""

    def __init__(self, classes: int) -> None:
        self.counts = np.zeros((classes, classes), np.int64)  # [true, predicted]

    def add(self, predicted: np.ndarray, labels: np.ndarray) -> None:
        """Integer label maps of one shape; raises DataError for a label that is no class."""
        classes = len(self.counts)
        labeled = labels != IGNORED
        true, said = labels[labeled].astype(np.int64), predicted[labeled].astype(np.int64)
        if (wrong := true[(true < 0) | (true >= classes)]).size:
            raise DataError(
                f"a mask has label {wrong[0]}, the model has classes 0 to {classes - 1}",
                f"label what is to be left out {IGNORED}",
            )
        pairs = np.bincount(true * classes + said, minlength=classes * classes)
        self.counts += pairs.reshape(classes, classes)

    def iou(self) -> np.ndarray:
        """Float64 (classes,): NaN for a class that is neither there nor predicted."""
        hits = self.counts.diagonal()
        union = self.counts.sum(0) + self.counts.sum(1) - hits
        return np.where(union > 0, hits / np.maximum(union, 1), np.nan)

    def mean_iou(self) -> float:
        """Over the classes that occur; NaN when nothing was labeled."""
        values = self.iou()
        found = values[~np.isnan(values)]
        return float(found.mean()) if found.size else float("nan")

    def pixel_accuracy(self) -> float:
        """Share of labeled pixels that are right; NaN when nothing was labeled."""
        total = self.counts.sum()
        return float(self.counts.diagonal().sum() / total) if total else float("nan")
