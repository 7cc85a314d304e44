"""What must hold for every QuantizedGraph, checked when one is made and when one is loaded."""

from __future__ import annotations

import numpy as np

from exporter.errors import GraphError
from exporter.graph import (
    QMAX,
    QMIN,
    WEIGHT_QMAX,
    Add,
    ArgMax,
    Conv,
    DecodeBoxes,
    Dequantize,
    Input,
    Linear,
    Nms,
    Op,
    Output,
    Permute,
    Pool,
    QParams,
    QuantizedGraph,
    Reshape,
    Resize,
    WeightedOp,
    accumulator_scale,
)
from exporter.validate_shapes import check_results, check_shape

SMALLEST_NORMAL = float(np.finfo(np.float32).tiny)  # runtimes flush subnormal scales to zero
ACCUMULATOR_LIMIT = 2**31
LARGEST_MULTIPLIER = 256.0  # XNNPACK: "requantization scale ... must be below 256"
# XNNPACK's qs8 add keeps 8 to 10 bits of headroom for the ratio of input to output scale
# (xnn_define_binary: "input-to-output scale ratio" in [2^-10, 2^8)).
ADD_RATIO = (2.0**-10, 2.0**8)


def validate(graph: QuantizedGraph) -> None:
    """Raise GraphError naming the operation that breaks a rule."""
    if not graph.ops or not isinstance(graph.ops[0], Input):
        raise GraphError("the graph does not begin with its Input")
    if not isinstance(graph.ops[-1], Output):
        raise GraphError("the graph does not end with its Output")
    _check_order(graph)
    written: set[str] = set()
    for op in graph.ops:
        _check_names(op, graph, written)
        if not isinstance(op, Input):
            check_shape(op, graph)
        _check_qparams(op, graph)
        if isinstance(op, Conv | Linear):
            _check_weight(op, graph)
        written.add(op.output)
    if orphans := sorted(set(graph.tensors) - written):
        raise GraphError(f"tensors that no operation writes: {orphans}")
    check_results(graph)


def _check_order(graph: QuantizedGraph) -> None:
    """One Input, first; the Outputs last, together, each of another tensor."""
    kinds = [type(op) for op in graph.ops]
    if kinds.count(Input) != 1:
        raise GraphError("the graph has more than one Input")
    results = [op for op in graph.ops if isinstance(op, Output)]
    if not all(isinstance(op, Output) for op in graph.ops[-len(results) :]):
        raise GraphError("an Output stands before other operations")
    if len({op.input for op in results}) != len(results):
        raise GraphError("two Outputs are of one tensor")


def _check_names(op: Op, graph: QuantizedGraph, written: set[str]) -> None:
    kind = type(op).__name__
    if op.output in written:
        raise GraphError(f"{kind} {op.output!r} writes a tensor that exists already")
    if op.output not in graph.tensors:
        raise GraphError(f"{kind} {op.output!r} has no tensor record")
    for name in op.inputs:
        if name not in written:
            raise GraphError(f"{kind} {op.output!r} reads {name!r} before it is written")


def _check_qparams(op: Op, graph: QuantizedGraph) -> None:
    q = graph.tensors[op.output].qparams
    if (q is not None) != _holds_codes(op, graph):
        raise GraphError(f"tensor {op.output!r} mixes float and int8 in one graph")
    if q is None:
        return
    check_scale(q.scale, f"tensor {op.output!r}")
    if float(np.float32(q.scale)) != q.scale:
        raise GraphError(f"tensor {op.output!r}: scale {q.scale!r} is not an exact float32")
    if not QMIN <= q.zero_point <= QMAX:
        raise GraphError(f"tensor {op.output!r}: zero point {q.zero_point} is not an int8")
    if isinstance(op, Pool | Reshape | Permute | Resize | Output) and q != graph.qparams(op.input):
        # XNNPACK lowers a mismatch and then fails at load, so it is caught here.
        raise GraphError(f"{type(op).__name__} {op.output!r} changes the quantization parameters")
    if isinstance(op, Add):
        for name in op.inputs:
            _check_add_ratio(op, graph.qparams(name), q)


def _holds_codes(op: Op, graph: QuantizedGraph) -> bool:
    """Whether what `op` writes has to be int8 codes, by what it is and what it reads."""
    read = [graph.tensors[name].qparams is not None for name in op.inputs]
    where = f"{type(op).__name__} {op.output!r}"
    if isinstance(op, DecodeBoxes | Nms):
        if any(read):
            raise GraphError(f"{where} reads codes: boxes are never quantized")
        return False
    if isinstance(op, Dequantize):
        if not all(read):
            raise GraphError(f"{where} reads what is float already")
        return False
    if isinstance(op, ArgMax):
        return False
    if isinstance(op, Input | Conv | Linear | Add | Pool):
        if graph.quantized and not all(read):
            raise GraphError(f"{where} reads real values in an int8 graph")
        return graph.quantized
    if len(set(read)) > 1:
        raise GraphError(f"{where} mixes float and int8 in one operation")
    return read[0]


def _check_add_ratio(op: Add, source: QParams, target: QParams) -> None:
    ratio = source.scale / target.scale
    if not ADD_RATIO[0] <= ratio < ADD_RATIO[1]:
        raise GraphError(f"Add {op.output!r}: scale ratio {ratio:.3g} is outside XNNPACK's range")


def check_scale(scale: float, where: str) -> None:
    """Raise GraphError unless `scale` is a finite, positive, normal float32."""
    if not np.isfinite(scale) or scale < SMALLEST_NORMAL:
        raise GraphError(f"{where}: scale {scale!r} is not a finite normal float32")


def _check_weight(op: WeightedOp, graph: QuantizedGraph) -> None:
    where, weight = f"{type(op).__name__} {op.output!r}", op.weight
    channels = weight.values.shape[0]
    if op.bias.shape != (channels,):
        raise GraphError(f"{where}: bias {op.bias.shape} for {channels} output channels")
    if not graph.quantized:
        if weight.values.dtype != np.float32 or op.bias.dtype != np.float32:
            raise GraphError(f"{where}: a float graph holds float32 weights and biases")
        if not (np.isfinite(weight.values).all() and np.isfinite(op.bias).all()):
            raise GraphError(f"{where}: a weight or bias is NaN or infinite after folding")
        return
    if weight.values.dtype != np.int8 or weight.scale is None or op.bias.dtype != np.int32:
        raise GraphError(f"{where}: an int8 graph holds int8 weights, their scales, int32 biases")
    if weight.scale.shape != (channels,) or weight.scale.dtype != np.float32:
        raise GraphError(f"{where}: weight scales must be float32 ({channels},)")
    check_scale(float(weight.scale.min()), where)
    check_scale(float(weight.scale.max()), where)
    if int(weight.values.min()) < -WEIGHT_QMAX:
        raise GraphError(f"{where}: weight -128 is outside the symmetric int8 range")
    _check_accumulator(op, where)
    multiplier = accumulator_scale(op, graph).max() / graph.qparams(op.output).scale
    if multiplier >= LARGEST_MULTIPLIER:
        raise GraphError(f"{where}: XNNPACK takes no requantization multiplier of {multiplier:.0f}")


def _check_accumulator(op: WeightedOp, where: str) -> None:
    taps = np.abs(op.weight.values.astype(np.int64)).reshape(op.weight.values.shape[0], -1)
    worst = taps.sum(1) * (QMAX - QMIN) + np.abs(op.bias.astype(np.int64))
    if int(worst.max()) >= ACCUMULATOR_LIMIT:
        raise GraphError(f"{where}: the int32 accumulator can overflow (|acc| up to {worst.max()})")
