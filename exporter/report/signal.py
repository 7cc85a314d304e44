"""How much of the float model's signal is left behind every layer of the int8 graph.

Both graphs run the same golden images, float beside int8, one image at a time so that only one
image's layers are held. A layer's ratio is that of its float values' power to the power of the
difference, over all images; it counts the noise of all layers before it too.
"""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np

from exporter import golden
from exporter.graph import QuantizedGraph
from exporter.threads import one_thread
from exporter.vectors import Vectors, vector_images

EDGES = ("black", "white", "checkerboard", "noise")  # golden images that no camera takes


def choose(vectors: Vectors, images: int) -> list[int]:
    """Indices of photos, evenly over those there are; edge images only where these run out."""
    photos = [i for i, name in enumerate(vectors.names) if name not in EDGES]
    edges = [i for i, name in enumerate(vectors.names) if name in EDGES]
    if images >= len(photos):
        return sorted([*photos, *edges[: images - len(photos)]])
    return [photos[i * len(photos) // images] for i in range(images)]


def layer_sqnr(
    integers: QuantizedGraph, floats: QuantizedGraph, vectors: Vectors, indices: list[int]
) -> dict[str, float]:
    """Decibels by tensor, of the tensors that both graphs have; equal ones are left out."""
    signal: defaultdict[str, float] = defaultdict(float)
    noise: defaultdict[str, float] = defaultdict(float)
    pixels = vectors.pixels[indices]
    images = vector_images(
        Vectors(names=tuple(vectors.names[i] for i in indices), pixels=pixels), floats
    )
    with one_thread():
        for image in images:
            real: dict[str, np.ndarray] = {}
            golden.run_outputs(floats, image[None], trace=real.__setitem__)

            def compare(name: str, value: np.ndarray, real: dict[str, np.ndarray] = real) -> None:
                qparams = integers.tensors[name].qparams
                if qparams is None or value.dtype != np.int8 or name not in real:
                    return
                expected = real[name].astype(np.float64)
                difference = golden.dequantize(value, qparams) - expected
                signal[name] += float(np.vdot(expected, expected))
                noise[name] += float(np.vdot(difference, difference))

            golden.run_outputs(integers, image[None], trace=compare)
    return {n: _decibels(signal[n], noise[n]) for n in signal if signal[n] > 0 and noise[n] > 0}


def _decibels(signal: float, noise: float) -> float:
    # A tenth of a millibel: what differs between machines is far below it.
    return round(10.0 * math.log10(signal / noise), 4)
