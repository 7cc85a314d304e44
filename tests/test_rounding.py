"""Faster ways to the same bits as torch's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from exporter.graph import QMAX, QMIN, QParams
from exporter.quantize.rounding import codes_of, histogram, real_of, round_to_codes

SHAPES = [(16, 24, 28, 28), (3, 3, 7, 9), (4, 10), (1, 1, 1, 1)]


def values(shape: tuple[int, ...]) -> torch.Tensor:
    """What a layer writes, and among it every rounding tie of a scale of 1/4."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 3
    flat = x.view(-1)
    ties = torch.arange(-60, 60)[: len(flat)] * 0.25 + 0.125
    flat[: len(ties)] = ties
    return x


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("zero_point", [-128, 3])
@pytest.mark.parametrize("scale", [0.25, float(np.float32(6 / 255)), 1e-3])
def test_rounds_as_torch_does(shape: tuple[int, ...], zero_point: int, scale: float) -> None:
    x, q = values(shape), QParams(scale=scale, zero_point=zero_point)
    expected = torch.fake_quantize_per_tensor_affine(x, scale, zero_point, QMIN, QMAX)
    codes = codes_of(x, q, QMIN, QMAX)
    assert torch.equal(round_to_codes(x, q, QMIN, QMAX), expected)
    assert codes.dtype is torch.int8
    assert torch.equal(real_of(codes, q), expected)


def test_fewer_codes_are_as_narrow_as_asked_for() -> None:
    codes = codes_of(values((4, 100)), QParams(scale=0.5, zero_point=-128), -128, -113)
    assert (codes.min(), codes.max()) == (-128, -113)


@pytest.mark.parametrize("shape", SHAPES[:3])
def test_counts_as_torch_does(shape: tuple[int, ...]) -> None:
    for x in (values(shape), values(shape).clamp(0, 6)):
        low, high = min(0.0, x.min().item()), max(1.0, x.max().item())
        assert torch.equal(histogram(x, 2048, low, high), torch.histc(x, 2048, low, high).double())


def test_a_tensor_of_zeros_is_counted_once_each() -> None:
    assert histogram(torch.zeros(2, 3), 8, 0.0, 0.0).sum() == 6
