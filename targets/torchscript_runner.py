"""A TorchScript artifact running in either of torch's interpreters, any number of images."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from exporter.results import joined
from exporter.target import one_result

AT_ONCE = 32 * 224 * 224  # pixels of one call: it holds every layer's values of all its images


@dataclass(frozen=True, kw_only=True)
class TorchScriptRunner:
    """`exporter.target.Runner` over an opened module."""

    module: Callable[..., Any]
    names: tuple[str, ...]  # of its results, in their order

    def results(self, images: np.ndarray) -> Mapping[str, np.ndarray]:
        """Float32 (n, 3, r, r) -> every result by its name."""
        count = max(1, AT_ONCE // math.prod(images.shape[2:]))
        starts = range(0, max(1, len(images)), count)
        return joined(self._run(images[start : start + count]) for start in starts)

    def _run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        import torch

        with torch.inference_mode():
            results = self.module(torch.from_numpy(np.ascontiguousarray(images)))
        values = (results,) if len(self.names) == 1 else results
        return {n: np.asarray(v.numpy()) for n, v in zip(self.names, values, strict=True)}

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Float32 (n, 3, r, r) -> the one result, such as float32 (n, classes)."""
        return one_result(self.results(images))

    def layers(self, images: np.ndarray) -> Mapping[str, np.ndarray]:
        """Empty: TorchScript shows nothing but its results."""
        del images
        return {}
