"""Operations of a runtime with the layers they belong to, added up to a table of layers."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from exporter.graph import QuantizedGraph, multiply_adds
from exporter.latency.blocks import CONVERT, OTHER, block_of, kind_of, layers_in
from exporter.latency.records import LayerTime

OPS_PER_MS = 1e6  # of one GMAC/s


@dataclass(frozen=True, kw_only=True)
class OperationTime:
    """One operation of one run, and what it belongs to."""

    layer: str  # a layer's tensor, CONVERT or OTHER
    name: str  # as the runtime calls it
    ms: float


def layer_table(
    runs: Sequence[Sequence[OperationTime]], graph: QuantizedGraph
) -> tuple[LayerTime, ...]:
    """A row for each layer that was seen, in the graph's order, then CONVERT and OTHER.

    Times are interquartile means over the runs. Means, since profilers count whole microseconds;
    without the extremes, since another program that takes the core for a moment would make a
    slowest layer of whichever was running. `Latency` keeps every sample; this table says where the
    time goes.
    """
    seen: dict[str, list[float]] = defaultdict(lambda: [0.0] * len(runs))
    names: dict[str, dict[str, None]] = defaultdict(dict)  # a set that keeps its order
    for index, run in enumerate(runs):
        for operation in run:
            seen[operation.layer][index] += operation.ms
            names[operation.layer][operation.name] = None
    ms = {layer: interquartile_mean(times) for layer, times in seen.items()}
    total = sum(ms.values()) or 1.0
    rows = [
        LayerTime(
            name=op.output,
            block=block_of(op.output, graph.spec.task),
            kind=kind_of(op),
            ms=ms[op.output],
            share=ms[op.output] / total,
            multiply_adds=multiply_adds(op, graph),
            gmacs_per_s=_speed(multiply_adds(op, graph), ms[op.output]),
            operations=tuple(names[op.output]),
        )
        for op in layers_in(graph)
        if op.output in ms
    ]
    rows += [
        LayerTime(
            name=rest,
            block="",
            kind=rest,
            ms=ms[rest],
            share=ms[rest] / total,
            operations=tuple(names[rest]),
        )
        for rest in (CONVERT, OTHER)
        if rest in ms
    ]
    return tuple(rows)


def interquartile_mean(values: Sequence[float]) -> float:
    """Without the lowest and the highest quarter."""
    cut = len(values) // 4
    return statistics.fmean(sorted(values)[cut : len(values) - cut])


def _speed(multiplied: int, ms: float) -> float | None:
    return multiplied / ms / OPS_PER_MS if multiplied and ms else None
