"""A QuantizedGraph as a Core ML program (MIL), operation by operation.

A float program computes in fp16 or fp32 throughout. In an int8 program every tensor of the graph
is a quantize -> dequantize pair, a layer's clamp stands between the layer and its quantize, and
the int8 weights are dequantized constants: the pattern that Core ML runs as integers where the
hardware can.

Names are those of the graph, with "_" for ".": the value of tensor `features.0` is `features_0`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from coremltools import target as ios
from coremltools.converters.mil import Builder as mb  # noqa: N813 (coremltools' own spelling)

from exporter.errors import UnsupportedError
from exporter.graph import (
    RELU,
    RELU6,
    Add,
    Clamp,
    Conv,
    Input,
    Linear,
    Op,
    Output,
    Pool,
    QuantizedGraph,
    Reshape,
    WeightedOp,
    accumulator_scale,
    no_rule,
)
from targets.coreml_sdk import LOGITS, PROBABILITIES

FP16_NORMAL = float(np.finfo(np.float16).tiny)  # 6.1e-5; below it hardware may flush to zero

Var = Any  # coremltools' Var, which carries no types that mypy could check


def build(
    graph: QuantizedGraph, real: type[np.floating[Any]], opset: ios, *, pixels: bool = True
) -> Any:
    """The MIL program: 8-bit pixels in the network's channel order -> logits and probabilities.

    Without `pixels` it is the graph alone: normalized float32 -> logits. `real` types everything
    that is not an integer, except the two ends (see `_Walk`). Raises UnsupportedError for a value
    that `real` cannot hold.
    """

    def program(image: Var) -> Var | tuple[Var, Var]:  # coremltools takes the input's name from it
        walk = _Walk(graph=graph, real=real, blockwise=opset >= ios.iOS18, pixels=pixels)
        for op in graph.ops:
            walk.step(op, image)
        logits = walk.values[graph.output.name]
        if not pixels:
            return logits
        # In float32: e^x of an fp16 logit would lose the digits that tell close classes apart.
        return logits, mb.softmax(x=logits, axis=-1, name=PROBABILITIES)

    mb.name_count.clear()  # numbers of constants; a build that raised would have left some used
    image = mb.TensorSpec(shape=graph.input.shape)
    return mb.program(input_specs=[image], opset_version=opset)(program)


def graph_name(value: str) -> str:
    """The tensor that a layer's result in a program belongs to, whatever still follows."""
    return value.removesuffix("_real").removesuffix("_unclamped").replace("_", ".")


@dataclass(kw_only=True)
class _Walk:
    """What the program holds so far: real values, and int8 codes, dequantized when first read.

    The ends are float32 whatever `real` is. The image: in fp16 a normalized pixel is off by up to
    0.06 int8 steps, and the graph only promises that pixels keep 0.001 steps from a rounding tie.
    The logits: int8 codes dequantize to them exactly.
    """

    graph: QuantizedGraph
    real: type[np.floating[Any]]
    blockwise: bool
    pixels: bool
    values: dict[str, Var] = field(default_factory=dict)
    codes: dict[str, Var] = field(default_factory=dict)

    def name(self, tensor: str) -> str:
        """What the program calls a tensor's real value."""
        last = self.graph.ops[-1]
        if tensor in last.inputs and not self.graph.quantized and self.real is np.float32:
            return LOGITS  # nothing is left to convert: the last layer writes the output itself
        return tensor.replace(".", "_")

    def step(self, op: Op, image: Var) -> None:
        """Write one operation."""
        if isinstance(op, Input):
            self._image(op, image)
        elif isinstance(op, Conv | Linear):
            self._layer(op)
        elif isinstance(op, Add):
            self._write(op, mb.add, x=self._read(op.a), y=self._read(op.b))
        elif isinstance(op, Pool):
            self._pool(op)
        elif isinstance(op, Reshape):
            self._reshape(op)
        elif isinstance(op, Output):
            self._output(op)
        else:
            raise no_rule(op, "the ios target")

    # --- operations ------------------------------------------------------------------------

    def _image(self, op: Input, image: Var) -> None:
        """The contract's `u * scale + bias`; an ML program has no other place for it than ops."""
        scale, bias = self._affine()
        if self.graph.quantized:
            if np.any(scale != 1):
                image = mb.mul(x=image, y=scale, name="image_scaled")
            if np.any(bias != 0):
                image = mb.add(x=image, y=bias, name="image_biased")
            self._quantize(op.output, image, np.float32)
            return
        if self.real is np.float16:
            image = mb.cast(x=image, dtype="fp16", name="image_fp16")  # pixels are exact
        if np.any(bias != 0):
            # The scale goes into the weights of the first convolution, where it costs nothing;
            # padding stays zero, so this is exact in real arithmetic for any per-channel std. The
            # bias cannot follow it: a padded zero is not a pixel of value zero.
            bias = bias.astype(np.float64) / scale.astype(np.float64)
            image = mb.add(x=image, y=self._constant(bias, op), name=op.output)
        self.values[op.output] = image

    def _affine(self) -> tuple[np.ndarray, np.ndarray]:
        """(1, 3, 1, 1) scale and bias from what comes in to the graph's input."""
        if not self.pixels:
            return np.ones((1, 3, 1, 1), np.float32), np.zeros((1, 3, 1, 1), np.float32)
        scale, bias = self.graph.spec.preprocess.affine()
        return scale.reshape(1, 3, 1, 1), bias.reshape(1, 3, 1, 1)

    def _layer(self, op: WeightedOp) -> None:
        arguments: dict[str, Any] = {
            "x": self._read(op.input),
            "weight": self._weight(op),
            "bias": self._constant(self._bias(op), op),
        }
        if isinstance(op, Linear):
            self._write(op, mb.linear, clamp=op.clamp, **arguments)
            return
        top, left, bottom, right = op.padding
        if any(op.padding):
            arguments |= {"pad_type": "custom", "pad": [top, bottom, left, right]}
        else:
            arguments |= {"pad_type": "valid"}
        arguments |= {"strides": op.stride, "dilations": op.dilation, "groups": op.groups}
        self._write(op, mb.conv, clamp=op.clamp, **arguments)

    def _weight(self, op: WeightedOp) -> Any:
        """A constant, or the operation that makes one of int8 values and their scales."""
        if op.weight.scale is None:
            return self._constant(self._image_weight(op), op)
        name, values = f"{self.name(op.output)}_weight", op.weight.values
        scale = self._constant(op.weight.scale * self._lent(op.input), op)
        if self.blockwise:
            scale = scale.reshape((-1,) + (1,) * (values.ndim - 1))
            return mb.constexpr_blockwise_shift_scale(data=values, scale=scale, name=name)
        return mb.constexpr_affine_dequantize(
            quantized_data=values, zero_point=np.int8(0), scale=scale, axis=np.int32(0), name=name
        )

    def _image_weight(self, op: WeightedOp) -> np.ndarray:
        """Float weights; those that read the image take its per-channel scale in (see `_image`)."""
        weight = op.weight.values
        if op.input != self.graph.input.name:
            return weight
        return np.asarray(weight * self._affine()[0].astype(np.float64))

    def _bias(self, op: WeightedOp) -> np.ndarray:
        if op.weight.scale is None:
            return op.bias
        return np.asarray(op.bias * accumulator_scale(op, self.graph).astype(np.float64))

    def _pool(self, op: Pool) -> None:
        if not self._flattened(op):
            self._write(op, mb.reduce_mean, x=self._read(op.input), axes=[2, 3], keep_dims=True)

    def _reshape(self, op: Reshape) -> None:
        pools = [p for p in self.graph.ops if isinstance(p, Pool) and p.output == op.input]
        if pools and self._flattened(pools[0]):
            x = self._read(pools[0].input)
            self._write(op, mb.reduce_mean, x=x, axes=[2, 3], keep_dims=False)
            return
        shape = (1, *op.shape[1:])
        x = mb.reshape(x=self._read(op.input), shape=shape, name=self.name(op.output))
        self.values[op.output] = x  # the same codes as its input's, already rounded

    def _flattened(self, op: Pool) -> bool:
        """Whether all that follows the pool is a Reshape that drops its two ones."""
        readers = [r for r in self.graph.ops if op.output in r.inputs]
        channels = self.graph.tensors[op.output].shape[1]
        return all(isinstance(r, Reshape) and r.shape[1:] == (channels,) for r in readers)

    def _output(self, op: Output) -> None:
        if self.graph.quantized:
            self.values[op.output] = self._dequantize(op.input, np.float32, LOGITS)
        elif self.real is np.float16:
            x = self._read(op.input)
            self.values[op.output] = mb.cast(x=x, dtype="fp32", name=LOGITS)
        else:
            self.values[op.output] = self._read(op.input)

    # --- values ----------------------------------------------------------------------------

    def _write(
        self, op: Op, kind: Callable[..., Var], clamp: Clamp | None = None, **arguments: Any
    ) -> None:
        """An operation, its clamp and, in an int8 graph, its quantize."""
        name = self.name(op.output)
        quantized = self.graph.quantized
        result = f"{name}_real" if quantized else name
        x = kind(**arguments, name=result if clamp is None else f"{name}_unclamped")
        if clamp is not None:
            x = self._clamp(x, clamp, result)
        if quantized:
            self._quantize(op.output, x, self.real)
        else:
            self.values[op.output] = x

    def _read(self, tensor: str) -> Var:
        """The real value of a tensor; int8 codes are dequantized on first use."""
        if tensor not in self.values:
            name, lent = self.name(tensor), self._lent(tensor)
            self.values[tensor] = self._dequantize(tensor, self.real, name, lent)
        return self.values[tensor]

    def _lent(self, tensor: str) -> float:
        """The power of two that the image's scale lends to the weights that read it.

        With pixels from 0 to 255 these weights are so small that fp16 would lose their scales; a
        power of two moves from one factor to the other without changing a bit of the product.
        """
        first = [op for op in self.graph.weighted() if op.input == tensor]
        if tensor != self.graph.input.name or not first or first[0].weight.scale is None:
            return 1.0
        needed = FP16_NORMAL / min(
            float(op.weight.scale.min()) for op in first if op.weight.scale is not None
        )
        spare = self.graph.qparams(tensor).scale / FP16_NORMAL
        return float(2.0 ** np.clip(np.ceil(np.log2(needed)), 0, np.floor(np.log2(spare))))

    def _quantize(self, tensor: str, x: Var, real: type[np.floating[Any]]) -> None:
        q = self.graph.qparams(tensor)
        self.codes[tensor] = mb.quantize(
            input=x,
            scale=_scale(q.scale, real, tensor),
            zero_point=np.int8(q.zero_point),
            output_dtype="int8",
            name=f"{self.name(tensor)}_quantized",
        )

    def _dequantize(
        self, tensor: str, real: type[np.floating[Any]], name: str, lent: float = 1.0
    ) -> Var:
        q = self.graph.qparams(tensor)
        return mb.dequantize(
            input=self.codes[tensor],
            scale=_scale(q.scale / lent, real, tensor),
            zero_point=np.int8(q.zero_point),
            name=name,
        )

    def _clamp(self, x: Var, clamp: Clamp, name: str) -> Var:
        if clamp == RELU6:
            return mb.relu6(x=x, name=name)
        if clamp == RELU:
            return mb.relu(x=x, name=name)
        low, high = (self.real(bound) for bound in clamp)
        return mb.clip(x=x, alpha=low, beta=high, name=name)

    def _constant(self, values: np.ndarray, op: Op) -> np.ndarray:
        with np.errstate(over="ignore"):
            # Through float32, so that fp16 constants are their float32 twin's, halved.
            constant = values.astype(np.float32).astype(self.real)
        if not np.isfinite(constant).all():
            raise UnsupportedError(
                f"{op.output}: a constant of {np.abs(values).max():.3g} does not fit fp16",
                "export fp32",
            )
        return constant


def _scale(scale: float, real: type[np.floating[Any]], tensor: str) -> np.floating[Any]:
    if real is np.float16 and not FP16_NORMAL <= scale <= float(np.finfo(np.float16).max):
        raise UnsupportedError(
            f"tensor {tensor!r}: the scale {scale:.3g} is outside fp16's normal range",
            "calibrate on images like those the model will see",
        )
    return real(np.float32(scale))
