"""Activation ranges: MSE-optimal for hidden tensors, tie-free for the image."""

from __future__ import annotations

import numpy as np
import torch

from exporter.graph import QMAX, QMIN, QParams
from exporter.quantize.fake_quant import FakeQuantize, FusedNetwork, Mode, exact_float32
from exporter.spec import Preprocess

BATCH = 16
STEPS = QMAX - QMIN
SMALLEST_RANGE = 2.0**-12
TIE_MARGIN = 1e-3  # of one int8 step; float32 noise in a normalized pixel is below 1e-4
SHRINK_HIGH = np.linspace(0.3, 1.0, 29)
SHRINK_LOW = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)  # of the low end, relative to the high end's
MAX_MSE_SAMPLES = 50_000


def calibrate(network: FusedNetwork, images: torch.Tensor) -> None:
    """Observe float activations on (n, 3, r, r) `images`, set every range, switch rounding on."""
    network.set_mode(Mode.OBSERVE)
    for start in range(0, len(images), BATCH):
        network(images[start : start + BATCH])
    for quantizer in network.all_quantizers():
        quantizer.qparams = mse_qparams(quantizer)
        quantizer.samples = []
    image = network.quantizer(network.graph.input.name)
    image.qparams = image_qparams(network.graph.spec.preprocess)
    network.set_mode(Mode.ON)


def affine_qparams(low: float, high: float) -> QParams:
    """Parameters whose int8 range covers [low, high] and represents 0 exactly."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = exact_float32(max((high - low) / STEPS, SMALLEST_RANGE))
    return QParams(scale=scale, zero_point=int(np.clip(QMIN - round(low / scale), QMIN, QMAX)))


def mse_qparams(quantizer: FakeQuantize) -> QParams:
    """The range among 29 (or 174, when values go below zero) that rounds observed samples best."""
    values = torch.cat(quantizer.samples)
    values = values[:: max(1, len(values) // MAX_MSE_SAMPLES)]
    shrink_low = SHRINK_LOW if quantizer.low < 0 else (1.0,)
    best: tuple[float, QParams] | None = None
    for shrink in SHRINK_HIGH:
        for extra in shrink_low:
            low, high = quantizer.low * shrink * extra, quantizer.high * shrink
            candidate = affine_qparams(low, high)
            rounded = torch.fake_quantize_per_tensor_affine(
                values, candidate.scale, candidate.zero_point, QMIN, QMAX
            )
            error = (rounded - values).square().mean().item()
            if best is None or error < best[0]:
                best = (error, candidate)
    assert best is not None
    return best[1]


def image_qparams(contract: Preprocess) -> QParams:
    """The finest input scale at which no 8-bit pixel of any channel is a rounding tie.

    At the naive scale (range / 255) of x = u / 127.5 - 1 every pixel is a tie, so float noise
    decides its code and an app that normalizes by an equivalent expression gets another answer.
    The scale grows from the naive one in small steps until every code is `TIE_MARGIN` away.
    """
    scale, bias = (v.astype(np.float64) for v in contract.affine())
    pixels = np.arange(256)[:, None] * scale + bias  # (256, 3)
    low, high = float(pixels.min()), float(pixels.max())
    naive = affine_qparams(low, high).scale
    best: tuple[float, QParams] | None = None
    for growth in np.arange(0.0, 0.02, 1e-5):
        qparams = affine_qparams(low, low + STEPS * naive * (1.0 + growth))
        margin = tie_margin(pixels, qparams)
        if margin >= TIE_MARGIN:
            return qparams
        if best is None or margin > best[0]:
            best = (margin, qparams)
    assert best is not None
    return best[1]


def tie_margin(pixels: np.ndarray, qparams: QParams) -> float:
    """Smallest distance of any normalized pixel to a rounding tie or to clipping, in int8 steps."""
    steps = pixels / qparams.scale
    tie = np.abs(steps - np.floor(steps) - 0.5).min()
    codes = np.rint(steps) + qparams.zero_point
    fits = codes.min() >= QMIN and codes.max() <= QMAX
    return float(tie) if fits else -1.0
