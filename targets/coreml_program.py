"""A QuantizedGraph as a Core ML program (MIL), operation by operation.

A float program computes in fp16 or fp32 throughout. In an int8 program every tensor of the graph
is a quantize -> dequantize pair, a layer's clamp stands between the layer and its quantize, and
the int8 weights are dequantized constants: the pattern that Core ML runs as integers where the
hardware can.

coreml_values.py keeps what is written; coreml_heads.py and coreml_suppression.py have the
operations of detectors and segmenters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from coremltools import target as ios
from coremltools.converters.mil import Builder as mb  # noqa: N813 (coremltools' own spelling)

from exporter.graph import (
    Add,
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
)
from targets.coreml_heads import write_head, write_result
from targets.coreml_sdk import PROBABILITIES
from targets.coreml_values import Real, Values, Var


def build(
    graph: QuantizedGraph, real: Real, opset: ios, *, pixels: bool = True, classifier: bool = True
) -> Any:
    """The MIL program: 8-bit pixels in the network's channel order -> the graph's results.

    Without `pixels` it takes normalized float32 instead. A `classifier` gives probabilities after
    its logits. `real` types everything that is not an integer, except the two ends (see `Values`).
    Raises UnsupportedError for a value that `real` cannot hold.
    """

    def program(image: Var) -> Any:  # coremltools takes the input's name from it
        values = Values(graph=graph, real=real)
        walk = _Walk(values=values, blockwise=opset >= ios.iOS18, pixels=pixels)
        for op in graph.ops:
            walk.step(op, image)
        results = tuple(values.results.values())
        if not classifier:
            return results
        # In float32: e^x of an fp16 logit would lose the digits that tell close classes apart.
        return (*results, mb.softmax(x=results[0], axis=-1, name=PROBABILITIES))

    mb.name_count.clear()  # numbers of constants; a build that raised would have left some used
    image = mb.TensorSpec(shape=graph.input.shape)
    return mb.program(input_specs=[image], opset_version=opset)(program)


def graph_name(value: str) -> str:
    """The tensor that a layer's result in a program belongs to, whatever still follows."""
    return value.removesuffix("_real").removesuffix("_unclamped").replace("_", ".")


@dataclass(frozen=True, kw_only=True)
class _Walk:
    """Writes one operation after the other."""

    values: Values
    blockwise: bool
    pixels: bool

    @property
    def graph(self) -> QuantizedGraph:
        return self.values.graph

    def step(self, op: Op, image: Var) -> None:
        """Write one operation."""
        values = self.values
        if isinstance(op, Input):
            self._image(op, image)
        elif isinstance(op, Conv | Linear):
            self._layer(op)
        elif isinstance(op, Add):
            values.write(op, mb.add, x=values.read(op.a), y=values.read(op.b))
        elif isinstance(op, Pool):
            self._pool(op)
        elif isinstance(op, Reshape):
            self._reshape(op)
        elif isinstance(op, Output):
            write_result(values, op)
        else:
            write_head(values, op)

    # --- operations ------------------------------------------------------------------------

    def _image(self, op: Input, image: Var) -> None:
        """The contract's `u * scale + bias`; an ML program has no other place for it than ops."""
        scale, bias = self._affine()
        if self.graph.quantized:
            if np.any(scale != 1):
                image = mb.mul(x=image, y=scale, name="image_scaled")
            if np.any(bias != 0):
                image = mb.add(x=image, y=bias, name="image_biased")
            self.values.quantize(op.output, image, np.float32)
            return
        if self.values.real is np.float16:
            image = mb.cast(x=image, dtype="fp16", name="image_fp16")  # pixels are exact
        if np.any(bias != 0):
            # The scale goes into the weights of the first convolution, where it costs nothing;
            # padding stays zero, so this is exact in real arithmetic for any per-channel std. The
            # bias cannot follow it: a padded zero is not a pixel of value zero.
            bias = bias.astype(np.float64) / scale.astype(np.float64)
            image = mb.add(x=image, y=self.values.constant(bias, op), name=op.output)
        self.values.values[op.output] = image

    def _affine(self) -> tuple[np.ndarray, np.ndarray]:
        """(1, 3, 1, 1) scale and bias from what comes in to the graph's input."""
        if not self.pixels:
            return np.ones((1, 3, 1, 1), np.float32), np.zeros((1, 3, 1, 1), np.float32)
        scale, bias = self.graph.spec.preprocess.affine()
        return scale.reshape(1, 3, 1, 1), bias.reshape(1, 3, 1, 1)

    def _layer(self, op: WeightedOp) -> None:
        arguments: dict[str, Any] = {
            "x": self.values.read(op.input),
            "weight": self._weight(op),
            "bias": self.values.constant(self._bias(op), op),
        }
        if isinstance(op, Linear):
            self.values.write(op, mb.linear, clamp=op.clamp, **arguments)
            return
        top, left, bottom, right = op.padding
        if any(op.padding):
            arguments |= {"pad_type": "custom", "pad": [top, bottom, left, right]}
        else:
            arguments |= {"pad_type": "valid"}
        arguments |= {"strides": op.stride, "dilations": op.dilation, "groups": op.groups}
        self.values.write(op, mb.conv, clamp=op.clamp, **arguments)

    def _weight(self, op: WeightedOp) -> Any:
        """A constant, or the operation that makes one of int8 values and their scales."""
        if op.weight.scale is None:
            return self.values.constant(self._image_weight(op), op)
        name, values = f"{self.values.name(op.output)}_weight", op.weight.values
        scale = self.values.constant(op.weight.scale * self.values.lent(op.input), op)
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
            x = self.values.read(op.input)
            self.values.write(op, mb.reduce_mean, x=x, axes=[2, 3], keep_dims=True)

    def _reshape(self, op: Reshape) -> None:
        pools = [p for p in self.graph.ops if isinstance(p, Pool) and p.output == op.input]
        if pools and self._flattened(pools[0]):
            x = self.values.read(pools[0].input)
            self.values.write(op, mb.reduce_mean, x=x, axes=[2, 3], keep_dims=False)
            return
        shape = (1, *op.shape[1:])
        x = mb.reshape(x=self.values.read(op.input), shape=shape, name=self.values.name(op.output))
        self.values.values[op.output] = x  # the same codes as its input's, already rounded

    def _flattened(self, op: Pool) -> bool:
        """Whether all that follows the pool is a Reshape that drops its two ones."""
        readers = [r for r in self.graph.ops if op.output in r.inputs]
        channels = self.graph.tensors[op.output].shape[1]
        return all(isinstance(r, Reshape) and r.shape[1:] == (channels,) for r in readers)
