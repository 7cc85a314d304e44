"""Artifacts that take turns: a machine that is busy for a moment is so for all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from exporter.devices.host_facts import cores
from exporter.devices.host_process import Worker, WorkerError
from exporter.devices.request import Tell
from exporter.latency.records import ArtifactProfile, Latency, Measured, Settings
from exporter.latency.statistics import summarize
from exporter.spec import Precision
from exporter.target import Target
from exporter.timing import Trace, TraceFormat

ROUNDS = 50  # turns of every artifact, or as many as it is run: short turns see the same machine
LEAD = 1  # runs at the start of a turn that are not timed: the others' data is in the caches
TRACED_RUNS = 40
START_SECONDS = 300.0  # importing an SDK on a machine that does other things too
PATIENCE = 100.0  # times as long as the first inference took, for each run of a turn
LEAST_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is measured: an artifact, or the float network as its framework runs it."""

    name: str
    path: Path  # of a network: its graph
    target: Target
    precision: Precision
    sha256: str
    size_bytes: int
    graph: Path | None  # that its layers are named after
    is_network: bool = False

    def profile(self, outcome: Measured, reason: str = "") -> ArtifactProfile:
        """What is known without measuring."""
        return ArtifactProfile(
            artifact=self.name,
            target=self.target.info.name,
            precision=self.precision,
            sha256=self.sha256,
            size_bytes=self.size_bytes,
            outcome=outcome,
            reason=reason,
        )


@dataclass(kw_only=True)
class Timing:
    """A subject in its process, and what was measured of it so far."""

    subject: Subject
    worker: Worker
    image: Path  # that it is fed, in its own build's size
    problem: WorkerError | None = None
    runtime: str = ""
    threads: int = 1
    load_ms: float = 0.0
    first_ms: float = 0.0
    rounds: list[list[float]] = field(default_factory=list)
    base_rss_bytes: int = 0
    peak_rss_bytes: int = 0
    trace: Trace | None = None
    notes: list[str] = field(default_factory=list)

    def latency(self) -> Latency:
        """Of all rounds, in their order."""
        samples = [sample for turn in self.rounds for sample in turn]
        return summarize(samples, load_ms=self.load_ms, first_ms=self.first_ms)


def measure(timings: Sequence[Timing], settings: Settings, scratch: Path, tell: Tell) -> None:
    """Fill in timings; one that fails has its `problem`, and the others go on."""
    _start(timings, settings, tell)
    for timing in _alive(timings):
        tell(f"loading {timing.subject.name}")
        _try(timing, partial(_open, settings=settings))
    for number, runs in enumerate(turn_lengths(settings.iterations), start=1):
        tell(f"round {number} of {min(ROUNDS, settings.iterations)}")
        for timing in in_turn(_alive(timings), number):
            _try(timing, partial(_take_turn, runs=runs))
    for timing in _alive(timings):
        _try(timing, _weigh)
    if settings.layers:
        for timing in _alive(timings):
            tell(f"layers of {timing.subject.name}")
            _trace(timing, scratch / "trace")


def turn_lengths(iterations: int) -> list[int]:
    """How many runs each round times: `iterations` in all, as evenly as they can be."""
    rounds = min(ROUNDS, iterations)
    return [iterations // rounds + (i < iterations % rounds) for i in range(rounds)]


def in_turn(timings: Sequence[Timing], number: int) -> Sequence[Timing]:
    """Forth and back, so that nobody always comes after the same neighbor."""
    return timings if number % 2 else timings[::-1]


def _alive(timings: Sequence[Timing]) -> list[Timing]:
    return [timing for timing in timings if timing.problem is None]


def _try(timing: Timing, step: Callable[[Timing], None]) -> None:
    try:
        step(timing)
    except WorkerError as error:
        timing.problem = error


def _start(timings: Sequence[Timing], settings: Settings, tell: Tell) -> None:
    """SDKs are imported side by side: nothing is timed yet."""
    tell(f"starting {len(timings)} process{'es' * (len(timings) != 1)}")
    for group in _groups(timings, cores()):
        for timing in group:
            name = timing.subject.target.info.name
            timing.worker.send("prepare", target=name, threads=settings.threads)
        for timing in group:
            _try(timing, _prepared)


def _groups(timings: Sequence[Timing], size: int) -> Iterator[Sequence[Timing]]:
    return (timings[start : start + size] for start in range(0, len(timings), size))


def _prepared(timing: Timing) -> None:
    answer = timing.worker.answer(START_SECONDS)
    timing.runtime, timing.threads = answer["runtime"], answer["threads"]


def _open(timing: Timing, settings: Settings) -> None:
    timing.base_rss_bytes = timing.worker.ask("usage", LEAST_SECONDS)["peak_rss_bytes"]
    subject = timing.subject
    answer = timing.worker.ask(
        "open",
        START_SECONDS,
        path=str(subject.path),
        image=str(timing.image),
        graph=subject.is_network,
    )
    timing.runtime = answer["runtime"]
    timing.load_ms, timing.first_ms = answer["load_ms"], answer["first_ms"]
    if settings.warmup:
        _run(timing, settings.warmup, lead=0)


def _take_turn(timing: Timing, runs: int) -> None:
    timing.rounds.append(_run(timing, runs, LEAD))


def _run(timing: Timing, runs: int, lead: int) -> list[float]:
    seconds = _patience(timing, runs + lead)
    samples: list[float] = timing.worker.ask("run", seconds, runs=runs, lead=lead)["samples_ms"]
    return samples


def _patience(timing: Timing, runs: int) -> float:
    return max(LEAST_SECONDS, PATIENCE * timing.first_ms / 1e3 * runs)


def _weigh(timing: Timing) -> None:
    timing.peak_rss_bytes = timing.worker.ask("usage", LEAST_SECONDS)["peak_rss_bytes"]


def _trace(timing: Timing, into: Path) -> None:
    """A runtime that cannot tell of its layers was measured all the same."""
    try:
        seconds = _patience(timing, TRACED_RUNS)
        answer = timing.worker.ask("trace", seconds, runs=TRACED_RUNS, into=str(into))
    except WorkerError as error:
        timing.notes.append(f"no times of layers: {error.reason}")
        return
    if answer["format"] is None:
        timing.notes.append("no times of layers: this runtime's profiler names none")
        return
    timing.trace = Trace(format=TraceFormat(answer["format"]), data=into.read_bytes())
