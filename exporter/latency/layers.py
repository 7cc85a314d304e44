"""Times of a runtime's operations, brought back to the layers of the graph that they compute.

A reader for each format of traces says to which layer every operation belongs; what belongs to none
is "convert" (values moved or converted) or "other" (kernels that are no layer, and what the runtime
does around its operations). Nothing is left out, so shares add up to one.
"""

from __future__ import annotations

import json
from pathlib import Path

from exporter.errors import ArtifactError
from exporter.graph import QuantizedGraph
from exporter.latency.blocks import CONVERT, layers_in
from exporter.latency.etdump import read_etdump
from exporter.latency.operation_times import OperationTime, layer_table
from exporter.latency.ort_trace import ort_operations
from exporter.latency.records import LayerTime
from exporter.latency.xnnpack_trace import xnnpack_operations
from exporter.timing import Trace, TraceFormat

ALIKE = 1.25  # times the other: a table of layers and the median that it is to explain


def layers_of(trace: Trace, graph: QuantizedGraph) -> tuple[LayerTime, ...]:
    """The table of layers of a trace in any format; raises ArtifactError."""
    if trace.format is TraceFormat.ETDUMP:
        return xnnpack_layers(trace.data, graph)
    if trace.format is TraceFormat.ONNXRUNTIME:
        return layer_table(ort_operations(trace.data, graph), graph)
    return _named_layers(trace.data, graph)


def xnnpack_layers(etdump: bytes | Path, graph: QuantizedGraph) -> tuple[LayerTime, ...]:
    """Layers of an ExecuTorch program's ETDump, from this machine or a phone.

    Raises ArtifactError for a damaged dump, and for one of another model.
    """
    data = etdump.read_bytes() if isinstance(etdump, Path) else etdump
    return layer_table(xnnpack_operations(read_etdump(data), graph), graph)


def _named_layers(data: bytes, graph: QuantizedGraph) -> tuple[LayerTime, ...]:
    """Of a runtime that is asked operation by operation, so that names are the graph's."""
    layers = {layer.output for layer in layers_in(graph)}
    try:
        runs = [
            [
                OperationTime(layer=name if name in layers else CONVERT, name=name, ms=float(ms))
                for name, ms in run
            ]
            for run in json.loads(data)
        ]
    except (TypeError, ValueError) as error:
        raise ArtifactError(f"damaged trace ({error})", "profile again") from None
    return layer_table(runs[1:] or runs, graph)


def beside_median(layers: tuple[LayerTime, ...], p50_ms: float) -> str:
    """What a reader must know where a profiler slowed the runtime down, or the machine changed."""
    total = sum(layer.ms for layer in layers)
    ratio = total / p50_ms if p50_ms > 0 else 1.0
    if 1.0 / ALIKE <= ratio <= ALIKE:
        return ""
    return (
        f"times of layers add up to {total:.3g} ms, {ratio:.1f} times the median: they rank "
        "layers, and are not what each takes of the median"
    )


def slowest(layers: tuple[LayerTime, ...], count: int) -> tuple[LayerTime, ...]:
    """The slowest layers of the model, slowest first; what is no layer is not among them."""
    named = [layer for layer in layers if layer.block]
    return tuple(sorted(named, key=lambda layer: -layer.ms)[:count])
