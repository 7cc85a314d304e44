"""ExecuTorch's own lowering of the same graph: slow, and the oracle of the direct emitter."""

from __future__ import annotations

from exporter.graph import QuantizedGraph
from targets.executorch_sdk import quiet


def lower(graph: QuantizedGraph) -> bytes:
    """The `.pte` that `to_edge_transform_and_lower` makes of the graph's torch program."""
    with quiet():
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

        from targets.qdq_program import export_program

        edge = to_edge_transform_and_lower(
            export_program(graph), partitioner=[XnnpackPartitioner()]
        )
        return bytes(edge.to_executorch().buffer)
