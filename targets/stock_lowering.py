"""ExecuTorch's own lowering of the same graph: slow, and the oracle of the direct emitter."""

from __future__ import annotations

from exporter.errors import UnsupportedError
from exporter.graph import Nms, QuantizedGraph, Resize
from targets.executorch_sdk import quiet
from targets.pte import NAMES_METHOD, stated_names

SINGLE = (1, 1)  # a map that is broadcast, not interpolated


def lower(graph: QuantizedGraph) -> bytes:
    """The `.pte` that `to_edge_transform_and_lower` makes of the graph's torch program.

    Raises UnsupportedError for what it cannot lower, or not to the golden's integers.
    """
    _check(graph)
    with quiet():
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        from targets.qdq_program import export_program

        names = stated_names(graph)
        edge = to_edge_transform_and_lower(
            export_program(graph),
            partitioner=[XnnpackPartitioner()],
            constant_methods={NAMES_METHOD: names} if names else None,
        )
        return bytes(edge.to_executorch().buffer)


def _check(graph: QuantizedGraph) -> None:
    for op in graph.ops:
        if isinstance(op, Nms):
            raise UnsupportedError(
                "the stock lowering has no loop for non-maximum suppression",
                "choose --lowering direct, or --nms none and do it in the app",
            )
        enlarges = isinstance(op, Resize) and graph.tensors[op.input].shape[2:] != SINGLE
        if enlarges and graph.quantized:
            raise UnsupportedError(
                "the stock lowering enlarges an int8 map in float32, which is not bit-exact",
                "choose --lowering direct, or --outputs lowres_logits",
            )
