"""What surrounds an int8 layer in a program: where its codes come from, what clamps its result.

Everything here either finds the pattern or raises NoMatch; `integers` computes what was found.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

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
from targets.mil.steps import FOLDED, Step, Value

QUANTIZE, DEQUANTIZE = "quantize", "dequantize"
VIEWS = ("reshape", "squeeze", "expand_dims", "transpose")  # the same values in another arrangement
CLAMPS: Mapping[str, Clamp] = {"relu": RELU, "relu6": RELU6}


@dataclass(frozen=True, kw_only=True)
class Codes:
    """int8 values that something is quantized to."""

    name: str
    qparams: QParams
    views: tuple[Step, ...] = ()  # between the codes and their reader


class NoMatch(Exception):  # noqa: N818 (no error: the layer stays real)
    """The pattern is not whole."""


@dataclass(frozen=True, kw_only=True)
class Patterns:
    """The steps of a program, asked for their surroundings."""

    steps: Sequence[Step]
    constants: Mapping[str, Value]
    producers: dict[str, Step] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.producers.update({name: step for step in self.steps for name in step.outputs})

    def layer(self, step: Step) -> tuple[Step, Clamp | None]:
        """The operation before a quantize, and the clamp between them."""
        before = self.producer(step, "input")
        if before.kind in CLAMPS:
            return self.producer(before, "x"), CLAMPS[before.kind]
        if before.kind == "clip":
            low, high = (float(self.constant(before, name)) for name in ("alpha", "beta"))
            return self.producer(before, "x"), (low, high)
        return before, None

    def codes(self, layer: Step, name: str) -> Codes:
        """The int8 codes that an input of a layer is dequantized from."""
        return self._traced(self.producer(layer, name))

    def every_codes(self, layer: Step, name: str) -> list[Codes]:
        """Of an input that is a list."""
        producers = [self.producers.get(read) for read in layer.reads.get(name, ())]
        if not producers or None in producers:
            raise NoMatch
        return [self._traced(step) for step in producers if step is not None]

    def _traced(self, step: Step) -> Codes:
        views: list[Step] = []
        while step.kind in VIEWS:
            views.insert(0, step)
            step = self.producer(step, "x")
        if step.kind != DEQUANTIZE or "input" not in step.reads:
            raise NoMatch
        return Codes(name=step.reads["input"][0], qparams=self.qparams(step), views=tuple(views))

    def producer(self, step: Step, name: str) -> Step:
        """What writes an input, the first of several."""
        producer = self.producers.get((step.reads.get(name) or ("",))[0])
        if producer is None:
            raise NoMatch
        return producer

    def qparams(self, step: Step) -> QParams:
        """Of a quantize or dequantize with one scale for the whole tensor."""
        scale = self.constant(step, "scale")
        zero_point = self.constant(step, "zero_point", default=0)
        dtype = self.constant(step, "output_dtype", default="int8")
        if np.ndim(scale) or np.ndim(zero_point) or dtype != "int8":
            raise NoMatch
        return QParams(scale=float(scale), zero_point=int(zero_point))

    def constant(self, step: Step, name: str, **default: Value) -> Value:
        """The value that an input is bound to; the default where it is bound to nothing."""
        if name in step.constants:
            return step.constants[name]
        if name in step.reads:
            (read,) = step.reads[name]
            if read in self.constants:
                return self.constants[read]
        elif default:
            return default["default"]
        raise NoMatch

    def operation(self, layer: Step, clamp: Clamp | None, source: QParams) -> WeightedOp:
        """The layer as an operation of a QuantizedGraph, its bias in steps of the accumulator."""
        weight = self._weight(layer)
        op: WeightedOp
        names: dict[str, Any] = {"input": "", "output": layer.outputs[0], "clamp": clamp}
        zeros = np.zeros(len(weight.values), np.int32)
        if layer.kind == "linear":
            op = Linear(weight=weight, bias=zeros, **names)
        else:
            op = Conv(weight=weight, bias=zeros, **names, **self._geometry(layer, weight))
        bias = self.constant(layer, "bias", default=None)
        if bias is None:
            return op
        steps = round_bias(np.asarray(bias, np.float64) / accumulator_step(op, source))
        if np.abs(steps).max(initial=0.0) > np.iinfo(np.int32).max:
            raise NoMatch
        return dataclasses.replace(op, bias=steps.astype(np.int32))

    def _geometry(self, layer: Step, weight: Weight) -> dict[str, Any]:
        if weight.values.ndim != 4:
            raise NoMatch
        strides, dilations = (
            pair(self.constant(layer, name, default=[1, 1])) for name in ("strides", "dilations")
        )
        pad_type = self.constant(layer, "pad_type", default="valid")
        if pad_type not in ("valid", "custom"):  # "same" depends on the size of the input
            raise NoMatch
        pad = [0] * 4 if pad_type == "valid" else numbers(self.constant(layer, "pad"))
        if len(pad) != 4:
            raise NoMatch
        top, bottom, left, right = pad
        groups = int(self.constant(layer, "groups", default=1))
        padding = (top, left, bottom, right)
        return {"stride": strides, "padding": padding, "dilation": dilations, "groups": groups}

    def _weight(self, layer: Step) -> Weight:
        """int8 values and a scale per output channel; the zero point must be zero."""
        (name,) = layer.reads.get("weight", ("",))
        folded = self.producers.get(name)
        if folded is None or not folded.kind.startswith(FOLDED):
            raise NoMatch
        data = self.constant(folded, "data", default=None)
        if data is None:
            data = self.constant(folded, "quantized_data")
        values = np.asarray(data)
        scale = np.asarray(self.constant(folded, "scale"), np.float32)
        offsets = [self.constant(folded, k, default=None) for k in ("zero_point", "offset")]
        per_channel = scale.ndim == 0 or scale.shape[0] == scale.size == len(values)
        axis = self.constant(folded, "axis", default=0)
        symmetric = all(o is None or not np.any(np.asarray(o)) for o in offsets)
        if values.dtype != np.int8 or not (per_channel and symmetric and axis == 0):
            raise NoMatch
        return Weight(values=values, scale=np.broadcast_to(scale.ravel(), len(values)).copy())


def numbers(value: Value) -> list[int]:
    """Of a constant vector."""
    return [int(v) for v in np.asarray(value).ravel()]


def pair(value: Value) -> tuple[int, int]:
    """Of a constant vector of two numbers."""
    found = numbers(value)
    if len(found) != 2:
        raise NoMatch
    return found[0], found[1]
