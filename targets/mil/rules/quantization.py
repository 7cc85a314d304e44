"""Between real numbers and 8-bit integers.

The arithmetic is torch's: `torch.ops.quantized_decomposed` in float32, rounding ties to even.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from exporter.errors import UnsupportedError
from targets.mil.rules.arguments import Rule, Value, by_name, per_channel

QUANTIZED: Mapping[str, torch.dtype] = {"int8": torch.int8, "uint8": torch.uint8}


def quantize(
    input: Tensor,  # noqa: A002  MIL's name
    scale: Value,
    output_dtype: str,
    zero_point: Value | None = None,
    axis: int | None = None,
) -> Tensor:
    """As MIL defines it: round(input / scale)."""
    return _stepped(input / along(scale, axis, input), output_dtype, zero_point, axis)


def quantize_reciprocal(
    input: Tensor,  # noqa: A002  MIL's name
    scale: Value,
    output_dtype: str,
    zero_point: Value | None = None,
    axis: int | None = None,
) -> Tensor:
    """As torch and XNNPACK compute it: round(input * (1 / scale)), where ties fall differently."""
    return _stepped(input * (1 / along(scale, axis, input)), output_dtype, zero_point, axis)


def dequantize(
    input: Tensor,  # noqa: A002  MIL's name
    scale: Value,
    zero_point: Value | None = None,
    axis: int | None = None,
) -> Tensor:
    """In the type of a vector of scales, in float32 for a single one."""
    factor = along(scale, axis, input)
    steps = input.to(factor.dtype if isinstance(factor, Tensor) else torch.float32)
    if zero_point is not None:
        steps = steps - along(zero_point, axis, input)
    return steps * factor


def along(parameter: Value, axis: int | None, x: Tensor) -> Value:
    """A scale or zero point that broadcasts along `axis`; a single one serves all channels."""
    if not isinstance(parameter, Tensor) or parameter.dim() == 0:
        return parameter
    if axis is None:
        raise ValueError("a vector of scales or zero points needs an axis")
    return per_channel(parameter, int(axis), x)


def _stepped(
    steps: Tensor, output_dtype: str, zero_point: Value | None, axis: int | None
) -> Tensor:
    if output_dtype not in QUANTIZED:
        raise UnsupportedError(f"quantize to {output_dtype!r} is not evaluated")
    steps = torch.round(steps)
    if zero_point is not None:
        steps = steps + along(zero_point, axis, steps)
    limits = torch.iinfo(QUANTIZED[output_dtype])
    return steps.clamp(limits.min, limits.max).to(QUANTIZED[output_dtype])


RULES: Mapping[str, Rule] = by_name(dequantize, quantize)
