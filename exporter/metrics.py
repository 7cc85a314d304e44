"""How close logits are to others, and how often they are right.

These figures are reported beside parity and are no verdict: a quantized model that is exactly the
golden can still be a poor model.
"""

from __future__ import annotations

import numpy as np

from exporter.verdicts import Accuracy, Quality


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


def quality(reference: np.ndarray, logits: np.ndarray) -> Quality:
    """Figures of float32 (n, classes) logits against the float model's."""
    log_p, log_q = _log_softmax(reference), _log_softmax(logits)
    ratio = sqnr_db(reference, logits)
    return Quality(
        images=len(reference),
        sqnr_db=min(ratio, 999.0),  # JSON knows no infinity
        top1_agreement=float((reference.argmax(1) == logits.argmax(1)).mean()),
        kl=float((np.exp(log_p) * (log_p - log_q)).sum(1).mean()),
        max_abs=float(np.abs(reference - logits).max()),
    )


def accuracy(logits: np.ndarray, labels: np.ndarray) -> Accuracy:
    """Top-1 and top-5 of float32 (n, classes) logits against int64 (n,) labels."""
    order = np.argsort(-logits, axis=1, kind="stable")[:, :5]
    hits = order == labels[:, None]
    return Accuracy(
        images=len(labels), top1=float(hits[:, 0].mean()), top5=float(hits.any(1).mean())
    )


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(1, keepdims=True)))
