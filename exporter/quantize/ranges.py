"""Activation ranges: MSE-optimal for hidden tensors, tie-free for the image."""

from __future__ import annotations

import numpy as np
import torch

from exporter.errors import UnsupportedError
from exporter.graph import QMAX, QMIN, QParams
from exporter.quantize.fake_quant import FakeQuantize, FusedNetwork, Mode, exact_float32
from exporter.spec import Preprocess
from exporter.threads import side_by_side

BATCH = 16
AT_ONCE = BATCH * 224 * 224  # pixels of a batch: larger images go fewer at a time
STEPS = QMAX - QMIN
SMALLEST_RANGE = 2.0**-12
MAX_INPUT_GROWTH = 0.05  # of the input scale
TIE_MARGIN = 1e-3  # of one int8 step; float32 noise in a normalized pixel is below 1e-4
SHRINK = np.linspace(0.3, 1.0, 57)  # of the observed range


def calibrate(network: FusedNetwork, images: torch.Tensor) -> None:
    """Observe float activations on (n, 3, r, r) `images`, set every range, switch rounding on.

    Two passes, range and histogram, so that every value counts: a sample misses the rare large
    values, and ranges fitted to it clip what other photos need.
    """
    batches = torch.split(images, batch_at(network.graph.spec.resolution))
    for mode in (Mode.RANGE, Mode.HISTOGRAM):
        network.set_mode(mode)
        side_by_side(network.results, batches)
    for quantizer in network.all_quantizers():
        quantizer.qparams = mse_qparams(quantizer)
    image = network.quantizer(network.graph.input.name)
    image.qparams = image_qparams(network.graph.spec.preprocess)
    network.set_mode(Mode.ON)


def batch_at(resolution: int) -> int:
    """Images that go through a network together: their maps are hundreds of megabytes."""
    return max(1, min(BATCH, AT_ONCE // resolution**2))


def affine_qparams(low: float, high: float, codes: tuple[int, int] = (QMIN, QMAX)) -> QParams:
    """Parameters whose codes cover [low, high] and represent 0 exactly."""
    low, high = min(low, 0.0), max(high, 0.0)
    first, last = codes
    scale = exact_float32(max((high - low) / (last - first), SMALLEST_RANGE))
    return QParams(scale=scale, zero_point=int(np.clip(first - round(low / scale), first, last)))


def mse_qparams(quantizer: FakeQuantize) -> QParams:
    """The shrunken range whose rounding and clipping errors have the smallest mean square."""
    low, high = quantizer.low, quantizer.high
    counts = quantizer.histogram.numpy()
    values = low + (np.arange(len(counts)) + 0.5) * (high - low) / len(counts)  # bin centers
    best: tuple[float, QParams] | None = None
    for shrink in SHRINK:
        q = affine_qparams(low * shrink, high * shrink, quantizer.codes)
        codes = np.clip(np.rint(values / q.scale) + q.zero_point, *quantizer.codes)
        rounded = (codes - q.zero_point) * q.scale
        error = float((np.square(rounded - values) * counts).sum())
        if best is None or error < best[0]:
            best = (error, q)
    assert best is not None
    return best[1]


def image_qparams(contract: Preprocess) -> QParams:
    """The finest input scale at which no 8-bit pixel of any channel is a rounding tie.

    At the naive scale (range / 255) of x = u / 127.5 - 1 every pixel is a tie, so float noise
    decides its code and an app that normalizes by an equivalent expression gets another answer.
    The scale grows from the naive one in small steps until every code is `TIE_MARGIN` away.
    Raises UnsupportedError where no scale up to 5 % coarser does it.
    """
    scale, bias = (v.astype(np.float64) for v in contract.affine())
    pixels = np.arange(256)[:, None] * scale + bias  # (256, 3)
    low, high = float(pixels.min()), float(pixels.max())
    naive = affine_qparams(low, high).scale
    for growth in np.arange(0.0, MAX_INPUT_GROWTH, 1e-5):
        qparams = affine_qparams(low, low + STEPS * naive * (1.0 + growth))
        if tie_margin(pixels, qparams) >= TIE_MARGIN:
            return qparams
    raise UnsupportedError(
        "no int8 input scale keeps every 8-bit pixel of this preprocessing from a rounding tie",
        "the channels' std or mean are too different: check --preprocess",
    )


def tie_margin(pixels: np.ndarray, qparams: QParams) -> float:
    """Smallest distance of any normalized pixel to a rounding tie or to clipping, in int8 steps."""
    steps = pixels / qparams.scale
    tie = np.abs(steps - np.floor(steps) - 0.5).min()
    codes = np.rint(steps) + qparams.zero_point
    fits = codes.min() >= QMIN and codes.max() <= QMAX
    return float(tie) if fits else -1.0
