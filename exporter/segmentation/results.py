"""Label maps from whichever of its outputs a segmenter gives."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from exporter.errors import UnsupportedError
from exporter.models.deeplabv3 import enlarge
from exporter.outputs import MOST_LABELS
from exporter.spec import ModelSpec


def label_map(results: Mapping[str, np.ndarray], spec: ModelSpec) -> np.ndarray:
    """Uint8 (n, r, r): the class of every pixel, of equal logits the first.

    "labels" are taken as they are, "lowres_logits" are enlarged as the network does it. Raises
    UnsupportedError for anything else, and for labels that are none of the spec's classes.
    """
    if spec.segmentation is None:
        raise TypeError(f"the spec is of a model for {spec.task}")
    if spec.classes > MOST_LABELS:
        raise UnsupportedError(
            f"{spec.classes} classes do not fit into a label map of {MOST_LABELS} values"
        )
    labels = _labels(results, spec.resolution)
    if labels.size and (largest := int(labels.max())) >= spec.classes:
        raise UnsupportedError(f"the artifact gives label {largest} of {spec.classes} classes")
    return labels.astype(np.uint8)


def _labels(results: Mapping[str, np.ndarray], side: int) -> np.ndarray:
    if "labels" in results:
        return results["labels"]
    if "logits" in results:
        return np.asarray(results["logits"].argmax(1))
    if "lowres_logits" in results:
        logits = torch.from_numpy(results["lowres_logits"])
        return np.asarray(enlarge(logits, torch.Size((side, side))).numpy().argmax(1))
    raise UnsupportedError(f"no label map in the outputs {', '.join(results)}")
