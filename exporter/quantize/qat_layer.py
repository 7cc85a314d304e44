"""A layer whose integers are trained, by blocks or end to end."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import nn

from exporter.graph import QParams, Weight, WeightedOp
from exporter.quantize.fake_quant import accumulate
from exporter.quantize.rounding import round_bias_steps
from exporter.quantize.to_graph import quantize_bias

WITHIN = 0.49  # of a step: how far a float weight may be from the code that it rounds to


class QatLayer(nn.Module):
    """A layer whose weights are learned as shares of their channel's fixed range.

    One learning rate then suits every layer: a step of Adam moves each weight by as many int8
    steps, whatever its channel's size.
    """

    scale: torch.Tensor
    largest: torch.Tensor

    def __init__(
        self,
        original: WeightedOp,
        op: WeightedOp,
        source: QParams,
        limit: int,
        *,
        rounding: bool = True,
    ) -> None:
        """Start from the codes of `op`, as near to the `original` float weights as these allow.

        Without rounding it starts from the original.
        """
        super().__init__()
        assert op.weight.scale is not None
        self.op, self.limit, self.rounding = op, limit, rounding
        scale = torch.from_numpy(op.weight.scale)
        axes = (-1,) + (1,) * (op.weight.values.ndim - 1)
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("largest", (scale * limit).reshape(axes), persistent=False)
        exact = torch.from_numpy(original.weight.dequantized().copy())
        steps = exact / scale.reshape(axes)
        bias = torch.from_numpy(original.bias.copy())
        if rounding:
            codes = torch.from_numpy(op.weight.values).float()
            steps = steps.clamp(codes - WITHIN, codes + WITHIN)
            step = op.weight.scale * np.float32(source.scale)
            bias = torch.from_numpy(op.bias.astype(np.float32) * step)
        self.share = nn.Parameter(steps / limit)
        self.bias = nn.Parameter(bias)

    def forward(self, x: torch.Tensor, source_scale: float | torch.Tensor) -> torch.Tensor:
        """The layer before its clamp, (n, i, ...) -> (n, o, ...)."""
        weight = self.share * self.largest
        if not self.rounding:
            return accumulate(self.op, x, weight, self.bias)
        zero = torch.zeros(len(self.scale), dtype=torch.int32, device=weight.device)
        weight = torch.fake_quantize_per_channel_affine(
            weight, self.scale, zero, 0, -self.limit, self.limit
        )
        step = (self.scale * source_scale).detach()
        return accumulate(self.op, x, weight, round_bias_steps(self.bias, step))

    def quantized(self, source: QParams) -> WeightedOp:
        """The operation with the learned integers."""
        scale = self.scale.cpu()
        largest = self.largest.cpu()
        inverse = (1.0 / scale).reshape(largest.shape)
        codes = (self.share.detach().cpu() * largest * inverse).round_()
        codes = codes.clamp_(-self.limit, self.limit)
        return dataclasses.replace(
            self.op,
            weight=Weight(values=codes.numpy().astype(np.int8), scale=self.op.weight.scale),
            bias=quantize_bias(
                self.bias.detach().cpu().numpy(), np.float32(source.scale) * scale.numpy()
            ),
        )
