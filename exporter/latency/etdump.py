"""ExecuTorch's ETDump, read straight from its flatbuffer (schema: etdump_schema_flatcc.fbs).

The SDK's own reader starts a compiler process and imports pandas for the same few fields. A dump
may come from a phone that was unplugged, so whatever is wrong with it is an ArtifactError.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from flatbuffers import number_types
from flatbuffers.table import Table

from exporter.errors import ArtifactError

IDENTIFIER = b"ED00"
SIZE_PREFIX = 4  # the runtime writes the buffer's size before it
EXECUTE = "Method::execute"  # the event around a whole inference, written when it ends
NANOSECONDS = 1e-6  # of a millisecond, as clocks tick on Linux, Android and Apple's systems

# Places of fields in their tables, as a virtual table counts: 4 + 2 x position.
RUN_DATA, EVENTS, PROFILE_EVENT = 6, 10, 4
NAME, DELEGATED, START, END = 4, 12, 16, 18


@dataclass(frozen=True, kw_only=True)
class TraceEvent:
    """One operation of one run."""

    name: str
    ms: float


@dataclass(frozen=True, kw_only=True)
class TracedRun:
    """One inference: its operations in the order in which they ended, and how long it took."""

    events: tuple[TraceEvent, ...]
    ms: float


def read_etdump(data: bytes) -> tuple[TracedRun, ...]:
    """Every whole inference in a dump, in order; raises ArtifactError."""
    starts = [at for at in (0, SIZE_PREFIX) if data[at + 4 : at + 8] == IDENTIFIER]
    if not starts:
        raise ArtifactError("not an ETDump (no ED00 identifier)", "profile again")
    try:
        runs = tuple(_runs(data, starts[0]))
    except (struct.error, IndexError, TypeError, ValueError, OverflowError) as error:
        raise ArtifactError(f"damaged ETDump ({error})", "profile again") from None
    if not runs:
        raise ArtifactError("an ETDump without a finished inference", "profile again")
    return runs


def _runs(data: bytes, start: int) -> Iterator[TracedRun]:
    """A block may hold one inference or many: each ends with the event around it."""
    root = Table(data, start + struct.unpack_from("<I", data, start)[0])
    for block in _tables(root, RUN_DATA):
        events: list[TraceEvent] = []
        for event in _events(block):
            if event.name == EXECUTE:
                yield TracedRun(events=tuple(events), ms=event.ms)
                events = []
            else:
                events.append(event)


def _events(block: Table) -> Iterator[TraceEvent]:
    for record in _tables(block, EVENTS):
        place = record.Offset(PROFILE_EVENT)
        if not place:
            continue  # of memory, or of values inside
        event = Table(record.Bytes, record.Indirect(place + record.Pos))
        name = _text(event, DELEGATED) or _text(event, NAME)  # a delegate's events have one name
        start, end = (_unsigned(event, field) for field in (START, END))
        yield TraceEvent(name=name, ms=(end - start) * NANOSECONDS)


def _tables(table: Table, field: int) -> Iterator[Table]:
    """The tables of a vector, none where the field is absent."""
    place = table.Offset(field)
    if not place:
        return
    start = table.Vector(place)
    for index in range(table.VectorLen(place)):
        yield Table(table.Bytes, table.Indirect(start + 4 * index))


def _text(table: Table, field: int) -> str:
    place = table.Offset(field)
    return str(table.String(place + table.Pos), "utf-8") if place else ""


def _unsigned(table: Table, field: int) -> int:
    place = table.Offset(field)
    return int(table.Get(number_types.Uint64Flags, place + table.Pos)) if place else 0
