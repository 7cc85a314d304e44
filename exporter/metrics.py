"""How close logits are to others, and how often they are right.

These figures are reported beside parity and are no verdict: a quantized model that is exactly the
golden can still be a poor model.
"""

from __future__ import annotations

import numpy as np

from exporter.results import CLASS_AXES, DETECTIONS, LABELS, Results, agreement
from exporter.verdicts import Accuracy, Quality

MOST_DB = 999.0
LOGITS = ("logits", "lowres_logits")  # whose softmax says something


def sqnr_db(reference: np.ndarray, actual: np.ndarray) -> float:
    """Signal to quantization-noise ratio, 10 log10(sum reference^2 / sum (reference - actual)^2).

    Infinite when equal.
    """
    exact = reference.astype(np.float64)
    noise = float(np.square(exact - actual).sum())
    signal = float(np.square(exact).sum())
    if noise == 0.0:
        return float("inf")
    return float(10.0 * np.log10(signal / noise)) if signal > 0 else float("-inf")


def quality(reference: Results, actual: Results) -> Quality:
    """Figures of results against the float model's, for the same images."""
    real = [name for name in reference if name not in (LABELS, DETECTIONS)]
    logits = [name for name in real if name in LOGITS]
    images = len(next(iter(reference.values())))
    return Quality(
        images=images,
        sqnr_db=joint_sqnr_db(reference, actual) if real else None,
        top1_agreement=agreement(reference, actual),
        kl=_divergence(reference[logits[0]], actual[logits[0]], logits[0]) if logits else None,
        max_abs=max((float(np.abs(reference[n] - actual[n]).max()) for n in real), default=None),
    )


def joint_sqnr_db(reference: Results, actual: Results) -> float:
    """SQNR of all outputs but labels and detections: of their mean relative noise.

    At most 999, since JSON knows no infinity.
    """
    real = [name for name in reference if name not in (LABELS, DETECTIONS)]
    ratios = [sqnr_db(reference[name], actual[name]) for name in real]
    noise = float(np.mean([10.0 ** (-ratio / 10.0) for ratio in ratios]))
    return MOST_DB if noise == 0.0 else min(MOST_DB, float(-10.0 * np.log10(noise)))


def _divergence(reference: np.ndarray, logits: np.ndarray, name: str) -> float:
    axis = CLASS_AXES[name]
    log_p, log_q = _log_softmax(reference, axis), _log_softmax(logits, axis)
    return float((np.exp(log_p) * (log_p - log_q)).sum(axis).mean())


def accuracy(logits: np.ndarray, labels: np.ndarray) -> Accuracy:
    """Top-1 and top-5 of float32 (n, classes) logits against int64 (n,) labels."""
    order = np.argsort(-logits, axis=1, kind="stable")[:, :5]
    hits = order == labels[:, None]
    return Accuracy(
        images=len(labels), top1=float(hits[:, 0].mean()), top5=float(hits.any(1).mean())
    )


def _log_softmax(logits: np.ndarray, axis: int) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(axis, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis, keepdims=True)))
