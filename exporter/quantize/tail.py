"""Where an int8 graph stops being int8: what follows the first rearranged map is float.

Maps of one head have scales of their own. Joined as codes they would have to be rounded once more
to a common one; so each is dequantized, and what remains of a head only moves values about.
"""

from __future__ import annotations

import dataclasses

from exporter.graph import (
    Concat,
    DecodeBoxes,
    Dequantize,
    Nms,
    Op,
    Output,
    Permute,
    QuantizedGraph,
    Reshape,
    Tensor,
)

REAL = ".real"  # ends the name of what a Dequantize writes


def float_tail(graph: QuantizedGraph) -> frozenset[str]:
    """Names of the tensors that stay float when a graph is quantized."""
    tail: set[str] = set()
    for op in graph.ops:
        begins = isinstance(op, Permute | DecodeBoxes | Nms)
        goes_on = isinstance(op, Reshape | Concat | Output) and all(n in tail for n in op.inputs)
        if begins or goes_on:
            tail.add(op.output)
    return frozenset(tail)


def with_dequantize(graph: QuantizedGraph) -> QuantizedGraph:
    """A float graph with a Dequantize wherever its float tail reads what will be codes."""
    tail = float_tail(graph)
    ops: list[Op] = []
    tensors = dict(graph.tensors)
    for op in graph.ops:
        if isinstance(op, Permute) and op.input not in tail:
            real = op.input + REAL
            if real not in tensors:
                ops.append(Dequantize(input=op.input, output=real))
                tensors[real] = Tensor(name=real, shape=tensors[op.input].shape)
            op = dataclasses.replace(op, input=real)
        ops.append(op)
    return dataclasses.replace(graph, ops=tuple(ops), tensors=tensors)
