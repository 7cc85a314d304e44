"""Which artifacts nothing beats: the Pareto front of accuracy against latency, and against size.

Compared are artifacts of one target: an app has one. Where the accuracy is the published one of the
float network it says nothing of precisions, so those are not compared with each other either.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from exporter.sweep.published import LABEL
from exporter.sweep.records import Row


def with_fronts(rows: Sequence[Row]) -> tuple[Row, ...]:
    """The rows with their marks, in their order."""
    fast = _front(rows, lambda row: row.latency_ms.value if row.latency_ms else None)
    small = _front(rows, lambda row: float(row.size_bytes))
    return tuple(
        dataclasses.replace(row, fastest_so_right=i in fast, smallest_so_right=i in small)
        for i, row in enumerate(rows)
    )


def kind(row: Row) -> tuple[str, ...]:
    """What rows must have in common to be compared."""
    if row.accuracy_of == LABEL:
        return (row.target, LABEL, row.precision)
    return (row.target, row.accuracy_of)


def _front(rows: Sequence[Row], cost: Callable[[Row], float | None]) -> set[int]:
    """Indices of rows that no other of their kind is as good as at both, and better at one."""
    known = []
    for index, row in enumerate(rows):
        paid = cost(row)
        if row.accuracy is not None and paid is not None:
            known.append((index, kind(row), row.accuracy, paid))
    return {
        index
        for index, own, right, paid in known
        if not any(
            other == own and better >= right and less <= paid and (better, less) != (right, paid)
            for _, other, better, less in known
        )
    }
