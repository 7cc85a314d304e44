"""What a target adds so that its artifacts can be timed; none of it is needed to build."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np

    from exporter.graph import QuantizedGraph


class TraceFormat(StrEnum):
    """Whose way of writing down how long each operation took."""

    ETDUMP = "etdump"  # ExecuTorch's flatbuffer
    ONNXRUNTIME = "onnxruntime"  # the JSON of its profiler
    LAYERS = "layers"  # JSON: for every run a list of [the graph's tensor, milliseconds]


@dataclass(frozen=True, kw_only=True)
class Trace:
    """Times of the operations of several runs, as the runtime wrote them down."""

    format: TraceFormat
    data: bytes


class TimedSession(Protocol):
    """One artifact in its runtime, in a process of its own: only `run` is meant for a clock."""

    runtime: str  # "ExecuTorch 1.5.1, XNNPACK"
    threads: int  # as the runtime itself says, where it does

    def load(self, path: Path) -> None:
        """From the file to ready; the SDK is imported already."""
        ...

    def feed(self, image: np.ndarray) -> None:
        """Put one image, float32 (1, 3, r, r), where the runtime reads it."""
        ...

    def run(self) -> None:
        """One inference; its results stay in the runtime's memory."""
        ...

    def trace(self, runs: int) -> Trace | None:
        """Run again under the runtime's own profiler; None where it has none."""
        ...


@runtime_checkable
class Timed(Protocol):
    """A target whose artifacts can be timed on this machine."""

    def timed_session(self, threads: int) -> TimedSession:
        """Import the SDK and set how many threads this process computes with."""
        ...


@runtime_checkable
class FloatBaseline(Protocol):
    """A target that also runs a float graph as its framework does before any export."""

    def float_session(self, graph: QuantizedGraph, threads: int) -> TimedSession:
        """As `Timed.timed_session`; `load` builds the network and reads no file."""
        ...
