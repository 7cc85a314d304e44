"""How near a float artifact must come to the golden, which depends on the network.

The logits of a hardly trained network lie little above the rounding noise of its layers, and two
right programs differ by that noise. So a network is first asked how far its own rounding takes it
from float64; where that is not far enough for FP32 and FP16 an artifact may lie a margin below it.
Integers stay EXACT.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from exporter.float_rules import real_step
from exporter.graph import ArgMax, Conv, Linear, Nms, Op, Output, QuantizedGraph, WeightedOp
from exporter.metrics import sqnr_db
from exporter.results import Results, joined
from exporter.spec import Precision
from exporter.verdicts import TOLERANCES, Tolerance

PROBES = 4  # images that a network's own noise is measured on
# A program may add so many times the noise that the network has itself: kernels sum in other orders
# (ten times in amplitude), fp16 runtimes round at other places (three times).
MARGINS_DB = {Precision.FP32: 20.0, Precision.FP16: 10.0}
HEALTHY_DB = {Precision.FP32: 110.0, Precision.FP16: 45.0}  # from here on nothing is let off
LEAST_AGREEMENT = 0.9  # of labels and detections, where less than the usual ratio is asked for
FLOOR_DB = 10.0  # nearer than this whatever the noise: logits that are all zero have 0 dB

Rounding = Callable[[torch.Tensor], torch.Tensor]


def tolerances(graph: QuantizedGraph, images: np.ndarray) -> dict[Precision, Tolerance]:
    """What is asked of the artifacts of a float graph, given (n, 3, r, r) golden vectors."""
    chosen = np.linspace(0, len(images) - 1, min(PROBES, len(images))).round().astype(int)
    probes = images[chosen]
    exact = simulated(graph, probes, torch.float64)
    own = {
        Precision.FP32: own_db(exact, simulated(graph, probes, torch.float32)),
        Precision.FP16: own_db(exact, simulated(graph, probes, torch.float32, _to_fp16)),
    }
    return {**TOLERANCES, **{precision: relative(precision, db) for precision, db in own.items()}}


def measured(graph: QuantizedGraph) -> tuple[str, ...]:
    """The real tensors that results are made of: those before labels or suppression."""
    names: list[str] = []
    for op in graph.ops:
        if isinstance(op, Output):
            last = graph.producer(op.input)
            names += last.inputs if isinstance(last, ArgMax | Nms) else op.inputs
    return tuple(names)


def relative(precision: Precision, own: float) -> Tolerance:
    """The precision's tolerance for a network whose own rounding leaves it `own` dB SQNR."""
    usual = TOLERANCES[precision]
    asked = max(own - MARGINS_DB[precision], FLOOR_DB)
    if own >= HEALTHY_DB[precision] or asked >= usual.min_sqnr_db:
        return usual
    why = (
        f"at least {asked:.0f} dB SQNR wanted, not {usual.min_sqnr_db:.0f}: "
        f"rounding to {precision} leaves this network {own:.0f} dB"
    )
    agreement = min(usual.min_agreement, LEAST_AGREEMENT)
    return dataclasses.replace(usual, min_sqnr_db=asked, min_agreement=agreement, why=why)


def own_db(exact: Results, rounded: Results) -> float:
    """SQNR of the noisiest rounded result.

    Infinite where one overflows, which is no noise and excuses none.
    """
    if not all(np.isfinite(value).all() for value in rounded.values()):
        return float("inf")
    return min(sqnr_db(exact[name], rounded[name]) for name in exact)


def simulated(
    graph: QuantizedGraph, images: np.ndarray, dtype: torch.dtype, rounding: Rounding | None = None
) -> dict[str, np.ndarray]:
    """A float graph's `measured` tensors in another arithmetic, weights and all tensors rounded.

    One image at a time: float64 takes twice the memory.
    """
    rounded = rounding or (lambda tensor: tensor)
    with torch.no_grad():
        return joined(_results(graph, image[None], dtype, rounded) for image in images)


def _results(
    graph: QuantizedGraph, image: np.ndarray, dtype: torch.dtype, rounded: Rounding
) -> dict[str, np.ndarray]:
    values: dict[str, torch.Tensor] = {}
    for op in graph.ops:
        if isinstance(op, ArgMax | Nms | Output):
            continue
        inputs = [values[name] for name in op.inputs] or [torch.from_numpy(image).to(dtype)]
        values[op.output] = rounded(_step(op, inputs, rounded))
    return {name: values[name].numpy() for name in measured(graph)}


def _step(op: Op, inputs: list[torch.Tensor], rounded: Rounding) -> torch.Tensor:
    x = inputs[0]
    if isinstance(op, Conv | Linear):
        weight = rounded(torch.from_numpy(op.weight.dequantized()).to(x.dtype))
        bias = rounded(torch.from_numpy(op.bias).to(x.dtype))
        y = _weighted(op, x, weight, bias)
        return y if op.clamp is None else y.clamp(*op.clamp)
    return real_step(op, inputs)


def _weighted(
    op: WeightedOp, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    if isinstance(op, Linear):
        return F.linear(x, weight, bias)
    top, left, bottom, right = op.padding
    padded = F.pad(x, (left, right, top, bottom))
    return F.conv2d(padded, weight, bias, op.stride, 0, op.dilation, op.groups)


def _to_fp16(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.half().float()
