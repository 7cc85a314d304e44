"""Finds what ruins quantization before it is quantized, trained or exported.

Every check reads records and changes nothing. Ids H1 are about the model, H2 about the images,
H3 about channels, H4 about an int8 graph or a network on its way there. `docs/health.md` explains
each, with its cure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from torch import nn

from exporter import golden
from exporter.findings import Finding, error, warning
from exporter.graph import (
    QMAX,
    QMIN,
    RELU6,
    WEIGHT_QMAX,
    Conv,
    Linear,
    QParams,
    QuantizedGraph,
)
from exporter.quantize.fake_quant import FakeQuantize, FusedNetwork, Mode
from exporter.quantize.settings import CodeLimits
from exporter.spec import ModelSpec

KINDS = {
    kind.id: kind
    for kind in (
        error(
            "H101",
            "batch norm with another eps than the checkpoint was trained with",
            "build the model from the checkpoint's own spec; a fold with another eps is another "
            "model (torch's quantization tools reset it to 1e-5)",
        ),
        warning(
            "H102",
            "batch norm with another momentum than its neighbours",
            "train with one momentum, or freeze batch norm: mixed statistics lag behind the "
            "weights",
        ),
        error(
            "H103",
            "dropout that is active",
            "call eval() before calibrating or exporting",
        ),
        error(
            "H104",
            "an activation that is not ReLU6",
            "train with ReLU6 or use the activation that the checkpoint was trained with: the "
            "weights do not fit another one",
        ),
        error(
            "H201",
            "calibration images that are noise",
            "calibrate on photos like those that the app will see: noise gives ranges that no "
            "photo needs",
        ),
        error(
            "H202",
            "calibration images that are all the same, or have no content",
            "give different photos",
        ),
        error(
            "H203",
            "images outside the range of the preprocessing contract",
            "normalize them by the spec's contract; raw pixels or another mean and std are "
            "another input",
        ),
        warning(
            "H204",
            "images that use little of the range of the preprocessing contract",
            "check that they were not normalized twice, or by another contract",
        ),
        warning(
            "H301",
            "channels that are always zero",
            "train longer or with less weight decay, or use a smaller width: they cost time and "
            "carry nothing",
        ),
        warning(
            "H302",
            "channels that are always at their upper bound",
            "check the scale of the input and of batch norm: a channel that never moves carries "
            "nothing",
        ),
        error(
            "H401",
            "a depthwise layer quantized with one scale for all channels",
            "quantize weights per channel: depthwise filters differ in size by orders of magnitude",
        ),
        error(
            "H402",
            "a range that was measured before the clamp",
            "quantize after ReLU6: the range of what it cuts off costs precision",
        ),
        error(
            "H403",
            "ranges that are still moving",
            "freeze the observers before training goes on and before the graph is exported; let "
            "learned ranges come to rest with more epochs",
        ),
    )
}
CORRELATED = 0.5  # of neighbouring pixels; photos have 0.9 and more, noise has 0
DIFFERENT = 1e-3  # of the range, standard deviation over pixels or over images
SLACK = 0.02  # of the range, that an image may be outside of the contract
LITTLE = 0.3  # of the range; two dark photos may use no more
MANY = 0.25  # of a layer's channels; a few are dead in every trained network
NEAR = 1e-6
STILL = 0.01  # of its scale, that a range may move in an epoch


def check_model(model: nn.Module, spec: ModelSpec) -> tuple[Finding, ...]:
    """H1: batch norm, dropout and activations of a network that claims to be `spec`'s."""
    norms = {n: m for n, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)}
    found = []
    other = [f"{name} has {norm.eps:g}" for name, norm in norms.items() if norm.eps != spec.bn_eps]
    if other:
        found.append(KINDS["H101"].found(f"{_listed(other)}; the checkpoint has {spec.bn_eps:g}"))
    momenta = {norm.momentum for norm in norms.values()}
    if len(momenta) > 1:
        found.append(KINDS["H102"].found(f"momenta {sorted(map(str, momenta))}"))
    active = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Dropout) and module.training and module.p > 0
    ]
    if active:
        found.append(KINDS["H103"].found(_listed(active)))
    swapped = [
        f"{name} is a {type(module).__name__}"
        for name, module in model.named_modules()
        if type(module).__module__ == "torch.nn.modules.activation"
        and not isinstance(module, nn.ReLU6)
        and not name.startswith("classifier")  # a head may have layers of its own
    ]
    if swapped:
        found.append(KINDS["H104"].found(_listed(swapped)))
    return tuple(found)


def check_images(images: np.ndarray, spec: ModelSpec) -> tuple[Finding, ...]:
    """H2: float32 (n, 3, r, r), normalized, against the contract and against what photos are."""
    scale, bias = (v.reshape(1, 3, 1, 1).astype(np.float32) for v in spec.preprocess.affine())
    pixels = images - bias
    pixels /= scale * 255  # 0 to 1 by the contract
    low, high = float(pixels.min()), float(pixels.max())
    found = []
    if low < -SLACK or high > 1 + SLACK:
        text = f"pixels from {255 * low:.0f} to {255 * high:.0f} where the contract has 0 to 255"
        found.append(KINDS["H203"].found(text))
    elif high - low < LITTLE:
        text = f"only {high - low:.0%} of the range, from {255 * low:.0f} to {255 * high:.0f}"
        found.append(KINDS["H204"].found(text))
    flat = pixels.std((1, 2, 3)) < DIFFERENT
    same = len(pixels) > 1 and bool((pixels.std(0) < DIFFERENT).all())
    if flat.all() or same:
        found.append(KINDS["H202"].found(f"{len(pixels)} images"))
        return tuple(found)
    correlation = float(np.median([_correlation(image) for image in pixels[~flat]]))
    if correlation < CORRELATED:
        text = f"neighbouring pixels correlate by {correlation:.2f}; in photos by 0.9 and more"
        found.append(KINDS["H201"].found(text))
    return tuple(found)


def check_channels(graph: QuantizedGraph, images: np.ndarray) -> tuple[Finding, ...]:
    """H3: a float graph's clamped layers on normalized images; only where many channels stand."""
    bounds = {op.output: op.clamp for op in graph.weighted() if op.clamp is not None}
    dead: list[str] = []
    full: list[str] = []

    def look(name: str, value: np.ndarray) -> None:
        if name not in bounds or value.ndim != 4:
            return
        low, high = bounds[name]
        flat = value.transpose(1, 0, 2, 3).reshape(value.shape[1], -1)
        for held, names in (((flat <= low).all(1), dead), ((flat >= high).all(1), full)):
            if held.mean() >= MANY:
                names.append(f"{name} ({held.sum()} of {held.size})")

    golden.run_outputs(graph, images, trace=look)
    rows = (("H301", dead), ("H302", full))
    return tuple(KINDS[code].found(_listed(names)) for code, names in rows if names)


def check_graph(graph: QuantizedGraph, limits: CodeLimits | None = None) -> tuple[Finding, ...]:
    """H4 of an int8 graph: scales per channel, and ranges behind their clamps.

    `limits` are the codes of tensors with fewer than 8 bits.
    """
    codes = limits or {}
    shared = [op.output for op in graph.weighted() if isinstance(op, Conv) and _one_scale(op)]
    wide = [
        op.output
        for op in graph.weighted()
        if op.clamp == RELU6
        and _beyond(graph.qparams(op.output), RELU6, codes.get(op.output, (QMIN, QMAX)))
    ]
    rows = (("H401", shared), ("H402", wide))
    return tuple(KINDS[code].found(_listed(names)) for code, names in rows if names)


def check_network(
    network: FusedNetwork, before: dict[str, QParams | None] | None = None
) -> tuple[Finding, ...]:
    """H4 of a network in training: observers that run, or ranges unlike those of `before`."""
    moving = [
        name
        for name, quantizer in network.quantizers.items()
        if isinstance(quantizer, FakeQuantize)
        and (
            quantizer.mode in (Mode.RANGE, Mode.HISTOGRAM)
            or (before is not None and before.get(name) != quantizer.qparams)
        )
    ]
    return (KINDS["H403"].found(_listed(moving)),) if moving else ()


def check_frozen(before: QuantizedGraph, after: QuantizedGraph) -> tuple[Finding, ...]:
    """H403 of two states of one graph in training: scales that have not come to rest."""
    moving = [
        name
        for name, tensor in after.tensors.items()
        if tensor.qparams is not None
        and abs(tensor.qparams.scale / before.qparams(name).scale - 1) > STILL
    ]
    return (KINDS["H403"].found(_listed(moving)),) if moving else ()


def ranges(network: FusedNetwork) -> dict[str, QParams | None]:
    """Every quantizer's parameters, for `check_network` to compare with later."""
    return {
        name: quantizer.qparams
        for name, quantizer in network.quantizers.items()
        if isinstance(quantizer, FakeQuantize)
    }


def told(findings: Iterable[Finding]) -> Iterator[str]:
    """A line for a person of each."""
    for finding in findings:
        yield f"{finding.id} {finding.title}: {finding.message}; {finding.cure}"


def _correlation(image: np.ndarray) -> float:
    """Of pixels with their right neighbours, over an image (3, h, w)."""
    left, right = image[..., :-1].ravel(), image[..., 1:].ravel()
    spread = left.std() * right.std()
    if spread < NEAR:
        return 1.0
    return float(((left - left.mean()) * (right - right.mean())).mean() / spread)


def _one_scale(op: Conv | Linear) -> bool:
    """Whether depthwise channels of different sizes share a scale, and codes are lost by it."""
    scale, values = op.weight.scale, op.weight.values
    if not isinstance(op, Conv) or not op.depthwise or scale is None or len(scale) < 2:
        return False
    largest = np.abs(values.reshape(len(values), -1).astype(int)).max(1)
    return bool(np.ptp(scale) == 0 and np.median(largest) < WEIGHT_QMAX / 2)


def _beyond(qparams: QParams, clamp: tuple[float, float], codes: tuple[int, int]) -> bool:
    """Whether a quarter of the codes or more stands for values that the clamp cuts off."""
    low, high = ((code - qparams.zero_point) * qparams.scale for code in codes)
    outside = max(0.0, clamp[0] - low) + max(0.0, high - clamp[1])
    return outside > MANY * (high - low)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
