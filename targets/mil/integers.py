"""int8 layers as integers: dequantize -> conv, linear, add or mean -> clamp -> quantize, in one.

A W8A8 program says in real numbers what hardware computes in integers. Where the pattern is whole,
a layer here takes the int8 codes of its inputs and gives those of its output by the golden's rules
(`exporter.golden`, those of XNNPACK), so an int8 program has one right answer, bit for bit. A
resize, a sigmoid or a concatenation of codes is a layer too; `patterns` finds what surrounds one.

A layer that the pattern does not cover stays real; `unmatched` names it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from exporter import golden
from exporter.graph import Clamp, QParams
from exporter.resize import resize_xnnpack
from exporter.spec import Rules
from targets.mil.patterns import DEQUANTIZE, QUANTIZE, Codes, NoMatch, Patterns, numbers
from targets.mil.rules import RULES
from targets.mil.rules.arguments import axis_of
from targets.mil.steps import Step, Value

SUFFIX = " as integers"
SPATIAL = [2, 3]
HALF_PIXEL = "UNALIGN_CORNERS"


def with_integers(
    steps: Sequence[Step], constants: Mapping[str, Value], outputs: Sequence[str]
) -> tuple[Step, ...]:
    """The same program with every layer that allows it in integers, and without what is unused."""
    lowering = _Lowering(patterns=Patterns(steps=steps, constants=constants))
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
class _Lowering:
    patterns: Patterns

    def lowered(self, step: Step) -> Step:
        """A quantize that ends a layer becomes the layer; anything else stays."""
        if step.kind != QUANTIZE:
            return step
        try:
            layer, clamp = self.patterns.layer(step)
            return self._layer(step, layer, clamp, self.patterns.qparams(step)) or step
        except NoMatch:
            return step

    def _layer(self, step: Step, layer: Step, clamp: Clamp | None, target: QParams) -> Step | None:
        if layer.kind in ("conv", "linear"):
            return self._weighted(step, layer, clamp, target)
        if clamp is not None:
            return None
        if layer.kind == "add":
            return self._add(step, layer, target)
        if layer.kind == "reduce_mean":
            return self._mean(step, layer, target)
        if layer.kind == "resize_bilinear":
            return self._resize(step, layer, target)
        if layer.kind == "sigmoid":
            return self._sigmoid(step, layer, target)
        if layer.kind == "concat":
            return self._concat(step, layer, target)
        return None

    def _weighted(self, step: Step, layer: Step, clamp: Clamp | None, target: QParams) -> Step:
        source = self.patterns.codes(layer, "x")
        op = self.patterns.operation(layer, clamp, source.qparams)

        def run(x: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(golden.weighted(op, x.numpy(), source.qparams, target))

        return _integer_step(step, layer, run, {"x": source})

    def _add(self, step: Step, layer: Step, target: QParams) -> Step:
        a, b = self.patterns.codes(layer, "x"), self.patterns.codes(layer, "y")

        def run(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            if x.shape != y.shape:
                raise ValueError("the golden adds tensors of one shape")
            codes = golden.add_xnnpack(x.numpy(), y.numpy(), a.qparams, b.qparams, target)
            return torch.from_numpy(codes)

        return _integer_step(step, layer, run, {"x": a, "y": b})

    def _mean(self, step: Step, layer: Step, target: QParams) -> Step:
        source = self.patterns.codes(layer, "x")
        axes = sorted(numbers(self.patterns.constant(layer, "axes")))
        keep = bool(self.patterns.constant(layer, "keep_dims", default=False))
        if axes != SPATIAL:
            raise NoMatch

        def run(x: torch.Tensor) -> torch.Tensor:
            codes = torch.from_numpy(golden.pool_xnnpack(x.numpy(), source.qparams, target))
            return codes if keep else codes.flatten(1)

        return _integer_step(step, layer, run, {"x": source})

    def _resize(self, step: Step, layer: Step, target: QParams) -> Step:
        source = self.patterns.codes(layer, "x")
        sides = ("target_size_height", "target_size_width")
        height, width = (int(self.patterns.constant(layer, s, default=1)) for s in sides)
        mode = self.patterns.constant(layer, "sampling_mode", default="DEFAULT")
        if mode != HALF_PIXEL or source.qparams != target:
            raise NoMatch

        def run(x: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(resize_xnnpack(x.numpy(), (height, width)))

        return _integer_step(step, layer, run, {"x": source})

    def _sigmoid(self, step: Step, layer: Step, target: QParams) -> Step:
        source = self.patterns.codes(layer, "x")

        def run(x: torch.Tensor) -> torch.Tensor:
            return torch.from_numpy(golden.sigmoid(x.numpy(), source.qparams, target))

        return _integer_step(step, layer, run, {"x": source})

    def _concat(self, step: Step, layer: Step, target: QParams) -> Step:
        sources = self.patterns.every_codes(layer, "values")
        axis = int(self.patterns.constant(layer, "axis"))
        if self.patterns.constant(layer, "interleave", default=False):
            raise NoMatch

        def run(**read: torch.Tensor) -> torch.Tensor:
            parts = [read[str(place)].numpy() for place in range(len(sources))]
            along = axis_of(axis, parts[0].ndim)
            qparams = [source.qparams for source in sources]
            codes = golden.concat(parts, qparams, target, along, Rules.XNNPACK)
            return torch.from_numpy(codes)

        return _integer_step(step, layer, run, {str(i): x for i, x in enumerate(sources)})


def _integer_step(
    quantize: Step, layer: Step, run: Callable[..., torch.Tensor], codes: Mapping[str, Codes]
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
