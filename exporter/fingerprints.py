"""What is kept of a large result: a digest of every image's bytes, and a sample of its values.

A segmenter's logits are megabytes per image. An int8 model has one right answer, so a digest
proves it; a float model is held to the sample.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from exporter.metrics import sqnr_db
from exporter.results import Results
from exporter.verdicts import Tolerance

SAMPLES = 256  # values of an image's result
LABEL_TYPE = "uint8"
FINITE_DB = 100.0  # of results that hold powers of e, where all else is exact


@dataclass(frozen=True, kw_only=True, eq=False)
class Fingerprint:
    """Of one output for n images."""

    shape: tuple[int, ...]  # of one image's result
    dtype: str
    sha256: tuple[str, ...]  # of the little-endian values in row-major order, per image
    stride: int  # every so many values, from the first, are in the sample
    samples: np.ndarray  # (n, k)

    def is_of(self, value: np.ndarray) -> bool:
        """Whether (n, ...) values are these, bit for bit."""
        return self.sha256 == fingerprint(value).sha256

    def is_near(self, value: np.ndarray, tolerance: Tolerance) -> bool:
        """Whether the sampled values are, by their ratio; labels by the share that is equal."""
        if value.shape[1:] != self.shape or len(value) != len(self.samples):
            return False
        found = _sampled(value, self.stride, self.samples.shape[1])
        if self.dtype == LABEL_TYPE:
            return bool((found == self.samples).mean() >= tolerance.min_agreement)
        ratio = tolerance.min_sqnr_db
        return sqnr_db(self.samples, found) >= (FINITE_DB if math.isinf(ratio) else ratio)

    def to_json(self) -> dict[str, Any]:
        """Plain values; float32 widened to double reads back as the same float32."""
        return {
            "shape": list(self.shape),
            "dtype": self.dtype,
            "sha256": list(self.sha256),
            "stride": self.stride,
            "samples": self.samples.astype(float).tolist(),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Fingerprint:
        """Read what `to_json` gave."""
        return cls(
            shape=tuple(data["shape"]),
            dtype=str(data["dtype"]),
            sha256=tuple(data["sha256"]),
            stride=int(data["stride"]),
            samples=np.asarray(data["samples"], np.dtype(data["dtype"])),
        )


def fingerprint(value: np.ndarray, *, whole: bool = False) -> Fingerprint:
    """Of (n, ...) float32 or uint8 values; `whole` puts all of them into the sample."""
    rows = np.ascontiguousarray(value).reshape(len(value), -1)
    stored = rows.astype(rows.dtype.newbyteorder("<"), copy=False)
    stride = 1 if whole else max(1, rows.shape[1] // SAMPLES)
    while math.gcd(stride, value.shape[-1]) > 1:  # or some columns would never be in the sample
        stride += 1
    return Fingerprint(
        shape=value.shape[1:],
        dtype=str(value.dtype),
        sha256=tuple(hashlib.sha256(row.tobytes()).hexdigest() for row in stored),
        stride=stride,
        samples=_sampled(value, stride, rows.shape[1] if whole else SAMPLES),
    )


def _sampled(value: np.ndarray, stride: int, count: int) -> np.ndarray:
    return value.reshape(len(value), -1)[:, ::stride][:, :count].copy()


def is_small(results: Results) -> bool:
    """Whether results are a classifier's: one row of logits per image."""
    return results.keys() == {"logits"} and results["logits"].ndim == 2
