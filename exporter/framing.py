"""The part of a photo that a network sees, and the way back from its input to the photo."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from exporter.spec import Preprocess
from exporter.training.windows import contract_window


@dataclass(frozen=True, kw_only=True)
class Framing:
    """What `exporter.preprocess.to_pixels` leaves of an upright photo of this size."""

    width: int  # of the photo, px
    height: int
    contract: Preprocess

    @property
    def edges(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom of what is seen, in the photo's pixels."""
        seen = contract_window((self.width, self.height), self.contract)
        return seen.left, seen.top, seen.left + seen.width, seen.top + seen.height

    @property
    def share(self) -> float:
        """Of the photo that is seen, 1 where nothing is cropped."""
        left, top, right, bottom = self.edges
        return (right - left) * (bottom - top) / (self.width * self.height)

    def boxes_to_photo(self, boxes: np.ndarray) -> np.ndarray:
        """Corners (n, 4) in fractions of the network's input -> float64 (n, 4) in pixels.

        What reaches beyond the input is cut off: nothing is known there.
        """
        left, top, right, bottom = self.edges
        low = np.array([left, top, left, top])
        size = np.array([right - left, bottom - top] * 2)
        return np.asarray(low + np.clip(boxes.astype(np.float64), 0.0, 1.0) * size)

    def labels_to_photo(self, labels: np.ndarray) -> np.ndarray:
        """Uint8 (h, w) of the network's input -> (height, width), 0 where it did not look.

        Each pixel takes the label that its center falls on.
        """
        left, top, right, bottom = self.edges
        rows, seen_rows = _nearest(self.height, top, bottom, labels.shape[0])
        columns, seen_columns = _nearest(self.width, left, right, labels.shape[1])
        found = np.zeros((self.height, self.width), np.uint8)
        found[np.ix_(seen_rows, seen_columns)] = labels[np.ix_(rows, columns)]
        return found


def _nearest(side: int, low: float, high: float, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Cell indices of the pixels whose centers lie in low..high, and those pixels."""
    index = np.floor((np.arange(side) + 0.5 - low) / (high - low) * cells).astype(np.int64)
    seen = np.flatnonzero((index >= 0) & (index < cells))
    return index[seen], seen
