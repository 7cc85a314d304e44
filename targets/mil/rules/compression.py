"""Weights that are stored smaller than they are: quantized, in lookup tables, sparse.

From iOS 18 on sub-byte integers are types of their own and arrive here one per element; before,
they came packed in bytes, least significant bit first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from targets.mil.rules.arguments import Ints, Rule, Value, axis_of, by_name, ints, tensor
from targets.mil.rules.limits import bounded
from targets.mil.rules.quantization import dequantize


def constexpr_cast(source_val: Value, output_dtype: str) -> Tensor:  # noqa: ARG001
    """From fp16 to fp32, which are one type here."""
    return tensor(source_val)


def constexpr_affine_dequantize(
    quantized_data: Tensor, zero_point: Value, scale: Value, axis: int
) -> Tensor:
    """One scale for all or one per channel, as `dequantize`."""
    return dequantize(quantized_data, scale, zero_point, axis)


def constexpr_blockwise_shift_scale(
    data: Tensor, scale: Tensor, offset: Tensor | None = None
) -> Tensor:
    """One scale per block; blocks divide every dimension evenly."""
    factor = _blockwise(scale, data.shape)
    steps = data.to(factor.dtype)
    return factor * (steps if offset is None else steps - _blockwise(offset, data.shape))


def constexpr_lut_to_dense(
    indices: Tensor,
    lut: Tensor,
    shape: Ints | None = None,
    vector_axis: int | None = None,
) -> Tensor:
    """One flat table with a shape (iOS 16), or a table of vectors per block (iOS 18)."""
    if shape is not None:
        sizes = bounded(ints(shape))
        bits = max(1, math.ceil(math.log2(lut.numel())))
        return lut[_unpacked(indices, bits, math.prod(sizes)).long()].reshape(sizes)
    length = lut.shape[-1]
    bounded([*indices.shape, length])
    flat = lut.reshape(-1, *lut.shape[-2:])  # (tables, palette, vector)
    tables = torch.arange(flat.shape[0]).reshape(lut.shape[:-2])
    vectors = flat[_blockwise(tables, indices.shape), indices.long()]
    if vector_axis is None:
        return vectors.reshape(indices.shape)
    axis = axis_of(vector_axis, indices.dim())
    return vectors.movedim(-1, axis + 1).flatten(axis, axis + 1)


def constexpr_sparse_to_dense(
    nonzero_data: Tensor, mask: Tensor, shape: Ints | None = None
) -> Tensor:
    """Zero where the mask is; it is packed when it comes with a shape (iOS 16)."""
    if shape is not None:
        sizes = bounded(ints(shape))
        mask = _unpacked(mask, 1, math.prod(sizes)).reshape(sizes)
    return _dense(nonzero_data, mask)


def constexpr_lut_to_sparse(
    indices_mask: Tensor,
    indices_nonzero_data: Tensor,
    lut: Tensor,
    vector_axis: int | None = None,
) -> tuple[Tensor, Tensor]:
    """The mask, as wide as the vectors make it, and what it lets through."""
    indices = _dense(indices_nonzero_data, indices_mask)
    dense = constexpr_lut_to_dense(indices, lut, vector_axis=vector_axis)
    mask = indices_mask
    if vector_axis is not None:
        mask = mask.repeat_interleave(lut.shape[-1], int(vector_axis))
    return mask, dense[mask.bool()]


def constexpr_sparse_blockwise_shift_scale(
    data_mask: Tensor, nonzero_data: Tensor, scale: Tensor, offset: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The mask and what it lets through, as `constexpr_blockwise_shift_scale` scales it."""
    dense = constexpr_blockwise_shift_scale(_dense(nonzero_data, data_mask), scale, offset)
    return data_mask, dense[data_mask.bool()]


def _blockwise(parameters: Tensor, shape: torch.Size) -> Tensor:
    """One value per block as one value per element."""
    for dim, (size, blocks) in enumerate(zip(shape, parameters.shape, strict=False)):
        if size % blocks:
            raise ValueError(f"{blocks} blocks do not divide a dimension of {size}")
        parameters = parameters.repeat_interleave(size // blocks, dim)
    return parameters


def _dense(nonzero_data: Tensor, mask: Tensor) -> Tensor:
    dense = torch.zeros(mask.shape, dtype=nonzero_data.dtype)
    if int(mask.count_nonzero()) != nonzero_data.numel():
        raise ValueError(f"{nonzero_data.numel()} values for {int(mask.count_nonzero())} places")
    dense[mask.bool()] = nonzero_data
    return dense


def _unpacked(packed: Tensor, bits: int, count: int) -> Tensor:
    """`count` integers of so many bits each, at most 8, however they fall across bytes."""
    if packed.numel() != math.ceil(count * bits / 8):
        raise ValueError(f"{packed.numel()} bytes for {count} integers of {bits} bits")
    fields = np.unpackbits(packed.numpy(), count=count * bits, bitorder="little")
    places = (1 << np.arange(bits)).astype(np.uint8)
    return torch.from_numpy(fields.reshape(count, bits) @ places)


RULES: Mapping[str, Rule] = by_name(
    constexpr_affine_dequantize,
    constexpr_blockwise_shift_scale,
    constexpr_cast,
    constexpr_lut_to_dense,
    constexpr_lut_to_sparse,
    constexpr_sparse_blockwise_shift_scale,
    constexpr_sparse_to_dense,
)
