"""int8 layers as integers: dequantize -> conv, linear, add or mean -> clamp -> quantize, in one.

A W8A8 program says in real numbers what hardware computes in integers. Where the pattern is whole,
a layer here takes the int8 codes of its inputs and gives those of its output by the golden's rules
(`exporter.golden`, those of XNNPACK), so an int8 program has one right answer, bit for bit.

A layer that the pattern does not cover stays real; `unmatched` names it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from exporter import golden
from exporter.graph import (
    RELU,
    RELU6,
    Clamp,
    Conv,
    Linear,
    QParams,
    Weight,
    WeightedOp,
    accumulator_step,
    round_bias,
)
from targets.mil.rules import RULES
from targets.mil.steps import FOLDED, Step, Value

QUANTIZE, DEQUANTIZE = "quantize", "dequantize"
VIEWS = ("reshape", "squeeze", "expand_dims")  # the same values under another shape
CLAMPS: Mapping[str, Clamp] = {"relu": RELU, "relu6": RELU6}
SUFFIX = " as integers"
SPATIAL = [2, 3]


def with_integers(
    steps: Sequence[Step], constants: Mapping[str, Value], outputs: Sequence[str]
) -> tuple[Step, ...]:
    """The same program with every layer that allows it in integers, and without what is unused."""
    lowering = _Lowering(steps=steps, constants=constants)
    return _needed([lowering.lowered(step) for step in steps], outputs)


def unmatched(steps: Sequence[Step]) -> tuple[str, ...]:
    """Quantized values whose layers stayed real; the quantized image is nobody's layer."""
    producers = {name: step for step in steps for name in step.outputs}
    real = []
    for step in (s for s in steps if s.kind == QUANTIZE):
        kinds = _ancestors(step, producers)
        if kinds & {"conv", "linear", "reduce_mean", DEQUANTIZE}:
            real.append(step.outputs[0])
    return tuple(real)


@dataclass(frozen=True, kw_only=True)
class _Codes:
    """int8 values that something is quantized to."""

    name: str
    qparams: QParams
    views: tuple[Step, ...] = ()  # reshapes between the codes and their reader


class _NoMatch(Exception):  # noqa: N818 (no error: the layer stays real)
    pass


@dataclass(frozen=True, kw_only=True)
class _Lowering:
    steps: Sequence[Step]
    constants: Mapping[str, Value]
    producers: dict[str, Step] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.producers.update({name: step for step in self.steps for name in step.outputs})

    def lowered(self, step: Step) -> Step:
        """A quantize that ends a layer becomes the layer; anything else stays."""
        if step.kind != QUANTIZE:
            return step
        try:
            layer, clamp = self._layer(step)
            target = self._qparams(step)
            if layer.kind in ("conv", "linear"):
                return self._weighted(step, layer, clamp, target)
            if layer.kind == "add" and clamp is None:
                return self._add(step, layer, target)
            if layer.kind == "reduce_mean" and clamp is None:
                return self._mean(step, layer, target)
        except _NoMatch:
            pass
        return step

    # --- layers ------------------------------------------------------------------------------

    def _weighted(self, step: Step, layer: Step, clamp: Clamp | None, target: QParams) -> Step:
        source = self._codes(layer, "x")
        op = self._operation(layer, clamp, source.qparams)

        def run(x: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(golden.weighted(op, x.numpy(), source.qparams, target))

        return _integer_step(step, layer, run, {"x": source})

    def _add(self, step: Step, layer: Step, target: QParams) -> Step:
        a, b = self._codes(layer, "x"), self._codes(layer, "y")

        def run(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            if x.shape != y.shape:
                raise ValueError("the golden adds tensors of one shape")
            codes = golden.add_xnnpack(x.numpy(), y.numpy(), a.qparams, b.qparams, target)
            return torch.from_numpy(codes)

        return _integer_step(step, layer, run, {"x": a, "y": b})

    def _mean(self, step: Step, layer: Step, target: QParams) -> Step:
        source = self._codes(layer, "x")
        axes = sorted(_numbers(self._constant(layer, "axes")))
        keep = bool(self._constant(layer, "keep_dims", default=False))
        if axes != SPATIAL:
            raise _NoMatch

        def run(x: torch.Tensor) -> torch.Tensor:
            codes = torch.from_numpy(golden.pool_xnnpack(x.numpy(), source.qparams, target))
            return codes if keep else codes.flatten(1)

        return _integer_step(step, layer, run, {"x": source})

    def _operation(self, layer: Step, clamp: Clamp | None, source: QParams) -> WeightedOp:
        """The layer as an operation of a QuantizedGraph, its bias in steps of the accumulator."""
        weight = self._weight(layer)
        op: WeightedOp
        names: dict[str, Any] = {"input": "", "output": layer.outputs[0], "clamp": clamp}
        zeros = np.zeros(len(weight.values), np.int32)
        if layer.kind == "linear":
            op = Linear(weight=weight, bias=zeros, **names)
        else:
            op = Conv(weight=weight, bias=zeros, **names, **self._geometry(layer, weight))
        bias = self._constant(layer, "bias", default=None)
        if bias is None:
            return op
        steps = round_bias(np.asarray(bias, np.float64) / accumulator_step(op, source))
        if np.abs(steps).max(initial=0.0) > np.iinfo(np.int32).max:
            raise _NoMatch
        return dataclasses.replace(op, bias=steps.astype(np.int32))

    def _geometry(self, layer: Step, weight: Weight) -> dict[str, Any]:
        if weight.values.ndim != 4:
            raise _NoMatch
        strides, dilations = (
            _pair(self._constant(layer, name, default=[1, 1])) for name in ("strides", "dilations")
        )
        pad_type = self._constant(layer, "pad_type", default="valid")
        if pad_type not in ("valid", "custom"):  # "same" depends on the size of the input
            raise _NoMatch
        pad = [0] * 4 if pad_type == "valid" else _numbers(self._constant(layer, "pad"))
        if len(pad) != 4:
            raise _NoMatch
        top, bottom, left, right = pad
        groups = int(self._constant(layer, "groups", default=1))
        padding = (top, left, bottom, right)
        return {"stride": strides, "padding": padding, "dilation": dilations, "groups": groups}

    def _weight(self, layer: Step) -> Weight:
        """int8 values and a scale per output channel; the zero point must be zero."""
        (name,) = layer.reads.get("weight", ("",))
        folded = self.producers.get(name)
        if folded is None or not folded.kind.startswith(FOLDED):
            raise _NoMatch
        data = self._constant(folded, "data", default=None)
        if data is None:
            data = self._constant(folded, "quantized_data")
        values = np.asarray(data)
        scale = np.asarray(self._constant(folded, "scale"), np.float32)
        offsets = [self._constant(folded, k, default=None) for k in ("zero_point", "offset")]
        per_channel = scale.ndim == 0 or scale.shape[0] == scale.size == len(values)
        axis = self._constant(folded, "axis", default=0)
        symmetric = all(o is None or not np.any(np.asarray(o)) for o in offsets)
        if values.dtype != np.int8 or not (per_channel and symmetric and axis == 0):
            raise _NoMatch
        return Weight(values=values, scale=np.broadcast_to(scale.ravel(), len(values)).copy())

    # --- what surrounds a layer --------------------------------------------------------------

    def _layer(self, step: Step) -> tuple[Step, Clamp | None]:
        """The operation before a quantize, and the clamp between them."""
        before = self._producer(step, "input")
        if before.kind in CLAMPS:
            return self._producer(before, "x"), CLAMPS[before.kind]
        if before.kind == "clip":
            low, high = (float(self._constant(before, name)) for name in ("alpha", "beta"))
            return self._producer(before, "x"), (low, high)
        return before, None

    def _codes(self, layer: Step, name: str) -> _Codes:
        """The int8 codes that an input of a layer is dequantized from."""
        views: list[Step] = []
        step = self._producer(layer, name)
        while step.kind in VIEWS:
            views.insert(0, step)
            step = self._producer(step, "x")
        if step.kind != DEQUANTIZE or "input" not in step.reads:
            raise _NoMatch
        return _Codes(name=step.reads["input"][0], qparams=self._qparams(step), views=tuple(views))

    def _producer(self, step: Step, name: str) -> Step:
        producer = self.producers.get((step.reads.get(name) or ("",))[0])
        if producer is None:
            raise _NoMatch
        return producer

    def _qparams(self, step: Step) -> QParams:
        """Of a quantize or dequantize with one scale for the whole tensor."""
        scale = self._constant(step, "scale")
        zero_point = self._constant(step, "zero_point", default=0)
        dtype = self._constant(step, "output_dtype", default="int8")
        if np.ndim(scale) or np.ndim(zero_point) or dtype != "int8":
            raise _NoMatch
        return QParams(scale=float(scale), zero_point=int(zero_point))

    def _constant(self, step: Step, name: str, **default: Value) -> Value:
        if name in step.constants:
            return step.constants[name]
        if name in step.reads:
            (read,) = step.reads[name]
            if read in self.constants:
                return self.constants[read]
        elif default:
            return default["default"]
        raise _NoMatch


def _integer_step(
    quantize: Step, layer: Step, run: Callable[..., torch.Tensor], codes: Mapping[str, _Codes]
) -> Step:
    """A step from the codes of a layer's inputs to the codes that `quantize` would give."""

    def viewed(**read: torch.Tensor) -> torch.Tensor:
        for name, source in codes.items():
            for view in source.views:
                read[name] = RULES[view.kind](**{**view.constants, "x": read[name]})
        return run(**read)

    return Step(
        kind=layer.kind + SUFFIX,
        run=viewed,
        constants={},
        reads={name: (source.name,) for name, source in codes.items()},
        results=quantize.results,
    )


def _needed(steps: Sequence[Step], outputs: Sequence[str]) -> tuple[Step, ...]:
    """Steps that an output depends on, in order."""
    wanted, kept = set(outputs), []
    for step in reversed(steps):
        if wanted.intersection(step.outputs):
            wanted.update(step.inputs)
            kept.append(step)
    return tuple(reversed(kept))


def _ancestors(step: Step, producers: Mapping[str, Step]) -> set[str]:
    """Kinds of everything that a step is computed from, up to the nearest codes."""
    kinds: set[str] = set()
    ahead = [*step.inputs]
    while ahead:
        before = producers.get(ahead.pop())
        if before is not None:
            kinds.add(before.kind)
            ahead += [] if before.kind == DEQUANTIZE else before.inputs
    return kinds


def _numbers(value: Value) -> list[int]:
    return [int(v) for v in np.asarray(value).ravel()]


def _pair(value: Value) -> tuple[int, int]:
    numbers = _numbers(value)
    if len(numbers) != 2:
        raise _NoMatch
    return numbers[0], numbers[1]
