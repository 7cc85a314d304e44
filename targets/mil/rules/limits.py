"""How much memory one operation of an untrusted program may ask for."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from exporter.errors import UnsupportedError

LARGEST_TENSOR = 1 << 28  # elements: 1 GiB of float32, far above what a phone would run


def bounded(shape: Iterable[int]) -> list[int]:
    """The shape itself, so that it can be asked right where the memory is asked for.

    Raises UnsupportedError for a tensor that is too large to make.
    """
    sizes = [int(size) for size in shape]
    if any(size < 0 for size in sizes) or math.prod(sizes) > LARGEST_TENSOR:
        raise UnsupportedError(f"a tensor of shape {sizes} is beyond {LARGEST_TENSOR} elements")
    return sizes


def broadcast(*shapes: Sequence[int]) -> list[int]:
    """The shape that all of them stretch to; operations with several tensors ask here first."""
    return bounded(np.broadcast_shapes(*map(tuple, shapes)))
