"""A calibrated FusedNetwork becomes an int8 QuantizedGraph."""

from __future__ import annotations

import dataclasses

import numpy as np

from exporter.errors import GraphError
from exporter.graph import (
    Conv,
    Linear,
    QParams,
    QuantizedGraph,
    Weight,
    WeightedOp,
    round_bias,
)
from exporter.quantize import health
from exporter.quantize.fake_quant import FusedNetwork
from exporter.quantize.tail import with_dequantize
from exporter.validate import validate


def to_graph(network: FusedNetwork) -> QuantizedGraph:
    """Round weights and biases to integers; raises GraphError where a rule of the graph breaks.

    Ranges that are still observed (H403) are refused: the integers would not be those that ran.
    """
    for finding in health.check_network(network):
        raise GraphError(f"{finding.id} {finding.title}: {finding.message}", finding.cure)
    float_graph = with_dequantize(network.graph)
    tensors = {
        name: dataclasses.replace(tensor, qparams=_qparams(network, name))
        if network.rounds(name)
        else tensor
        for name, tensor in float_graph.tensors.items()
    }
    ops = tuple(
        _quantize_op(network, op, _qparams(network, op.input))
        if isinstance(op, Conv | Linear)
        else op
        for op in float_graph.ops
    )
    graph = QuantizedGraph(spec=float_graph.spec, ops=ops, tensors=tensors)
    validate(graph)
    return graph


def _qparams(network: FusedNetwork, name: str) -> QParams:
    qparams = network.quantizer(name).qparams
    if qparams is None:
        raise GraphError(f"tensor {name!r} was never calibrated")
    return qparams


def _quantize_op(network: FusedNetwork, op: WeightedOp, source: QParams) -> WeightedOp:
    layer = network.layer(op)
    scale = layer.weight_scale().numpy().astype(np.float32)
    real, limit = layer.weight.detach().numpy(), layer.largest_code
    # Multiplied by the reciprocal, as torch's fake_quantize does, so that the two never differ.
    inverse = (np.float32(1.0) / scale).reshape((-1,) + (1,) * (real.ndim - 1))
    values = np.clip(np.rint(real * inverse), -limit, limit).astype(np.int8)
    bias = quantize_bias(layer.bias.detach().numpy(), np.float32(source.scale) * scale)
    return dataclasses.replace(op, weight=Weight(values=values, scale=scale), bias=bias)


def quantize_bias(bias: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Int32 (o,): `round_bias(bias / step)` with float32 `step` = input scale x weight scale."""
    codes = round_bias(bias.astype(np.float64) / step.astype(np.float64))
    limit = np.iinfo(np.int32)
    if codes.min() < limit.min or codes.max() > limit.max:
        raise GraphError("a bias does not fit the int32 accumulator")
    return codes.astype(np.int32)
