"""Quantization scales that float16 cannot hold well (ML305 to ML307).

Float16 numbers below 6.1e-5 are subnormal: hardware may take them for zero. Of an activation that
is fatal; of the weights of one channel it often changes nothing, so what it changes is computed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from exporter.findings import Finding
from targets.mil.lint.findings import found, listed
from targets.mil.lint.flow import Flow, Node
from targets.mil.lint.quantization import DEQUANTIZE, QUANTIZE, activated, origin

FP16_NORMAL = float(np.finfo(np.float16).tiny)
# Of one int8 step: less than that is lost in rounding anyway.
NOTICEABLE_STEPS = 0.5
# Of a layer's largest channel, where steps are not known: what float16 rounds off it.
NOTICEABLE_SHARE = 2.0**-11
MATRICES = ("conv", "linear")  # the first dimension of their weights is the output channel
# Operation that makes weights of codes -> its inputs for the codes and for what is subtracted.
COMPRESSED_WEIGHTS = {
    "constexpr_affine_dequantize": ("quantized_data", "zero_point"),
    "constexpr_blockwise_shift_scale": ("data", "offset"),
}


def scale_findings(flow: Flow) -> Iterator[Finding]:
    """Of all pairs of quantize and dequantize, and of all weights with scales."""
    yield from _activation_scales(flow)
    yield from _weight_scales(flow)


def _activation_scales(flow: Flow) -> Iterator[Finding]:
    small, broken, smallest = [], [], FP16_NORMAL
    for node in flow.nodes:
        scale = flow.constant(node, "scale") if node.type in (QUANTIZE, DEQUANTIZE) else None
        if scale is None:
            continue
        if not (np.isfinite(scale).all() and (scale > 0).all()):
            broken.append(node.name)
        elif _subnormal(scale).any():
            small.append(node.name)
            smallest = min(smallest, float(scale.min()))
    if small:
        yield found("ML305", f"{listed(small)}: down to {smallest:.2g}")
    if broken:
        yield found("ML307", listed(broken))


def _weight_scales(flow: Flow) -> Iterator[Finding]:
    losses, broken = {}, []
    for node in flow.nodes:
        scale = flow.constant(node, "scale") if node.type in COMPRESSED_WEIGHTS else None
        if scale is None:
            continue
        if not np.isfinite(scale).all():
            broken.append(node.name)
        elif _subnormal(scale).any() and (loss := _loss(flow, node, scale)) is not None:
            losses[node.name] = loss
    if losses:
        yield found("ML306", f"{listed(losses)}: {_loss_text(list(losses.values()))}")
    if broken:
        yield found("ML307", listed(broken))


def _subnormal(scale: np.ndarray) -> np.ndarray:
    """Where float16 scales may be taken for zero; a zero is zero everywhere."""
    small = (np.abs(scale) < FP16_NORMAL) & (scale != 0)
    return small if scale.dtype == np.float16 else np.zeros_like(small)


@dataclass(frozen=True, kw_only=True)
class _Loss:
    """What becomes of a layer whose subnormal weight scales are taken for zero."""

    channels: int
    steps: float | None  # largest change of an output in its int8 steps; None where it has none


def _loss_text(losses: list[_Loss]) -> str:
    channels = sum(loss.channels for loss in losses)
    count = f"{channels} channel{'s' if channels > 1 else ''}"
    steps = [loss.steps for loss in losses if loss.steps is not None]
    if not steps:
        return f"{count}, more than float16 rounds off the layer's largest"
    return f"{count}, without which an activation changes by up to {max(steps):.1f} int8 steps"


def _loss(flow: Flow, node: Node, scale: np.ndarray) -> _Loss | None:
    """None where nobody would notice."""
    data_name, offset_name = COMPRESSED_WEIGHTS[node.type]
    data, offset = flow.constant(node, data_name), flow.constant(node, offset_name)
    if data is None or data.ndim == 0:
        return None
    codes, axis = data.astype(np.float64), flow.constant(node, "axis")
    if offset is not None:
        codes -= _spread(offset.astype(np.float64), codes.shape, axis)
    weights = codes * _spread(scale.astype(np.float64), codes.shape, axis)
    lost = np.where(_spread(_subnormal(scale), codes.shape, axis), weights, 0.0)
    rows = lost.reshape(len(lost), -1)
    channels = int(rows.any(1).sum())
    steps = [_steps(flow, reader, rows) for reader in flow.readers(node.name)]
    known = [s for s in steps if s is not None]
    if known and len(known) == len(steps):
        noticed = max(known) >= NOTICEABLE_STEPS
        return _Loss(channels=channels, steps=max(known)) if noticed else None
    sums = np.abs(weights).reshape(len(weights), -1).sum(1)
    noticed = bool(np.abs(rows).sum(1).max() > NOTICEABLE_SHARE * sums.max())
    return _Loss(channels=channels, steps=None) if noticed else None


def _spread(values: np.ndarray, shape: tuple[int, ...], axis: np.ndarray | None) -> np.ndarray:
    """A value per element of one per tensor, per channel along `axis`, or per block."""
    if values.ndim < len(shape):
        place = int(axis) if axis is not None and values.size > 1 else 0
        values = values.reshape([-1 if d == place % len(shape) else 1 for d in range(len(shape))])
    for dimension, size in enumerate(shape):
        values = values.repeat(size // values.shape[dimension], axis=dimension)
    return values


def _steps(flow: Flow, layer: Node, rows: np.ndarray) -> float | None:
    """Largest change that any input can make in any output without these weights."""
    source = origin(flow, layer, "x") if layer.type in MATRICES else None
    readers = [r for r in flow.readers(activated(flow, layer).name) if r.type == QUANTIZE]
    if source is None or not readers:
        return None
    step, bounds = flow.constant(readers[0], "scale"), _range(flow, source)
    if step is None or step.size != 1 or float(step) <= 0 or bounds is None:
        return None
    low, high = bounds
    rising, falling = np.maximum(rows, 0).sum(1), np.minimum(rows, 0).sum(1)
    change = np.maximum(rising * high + falling * low, -(rising * low + falling * high))
    return float(change.max() / float(step))


def _range(flow: Flow, dequantize: Node) -> tuple[float, float] | None:
    """Lowest and highest real number that 8-bit codes stand for."""
    scale, zero = flow.constant(dequantize, "scale"), flow.constant(dequantize, "zero_point")
    writer = flow.source(dequantize, "input")
    if scale is None or scale.size != 1 or writer is None:
        return None
    lowest, highest = (0, 255) if writer.gives("uint8") else (-128, 127)
    offset = 0.0 if zero is None else float(zero)
    return (lowest - offset) * float(scale), (highest - offset) * float(scale)
