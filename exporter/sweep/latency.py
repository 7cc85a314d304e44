"""Artifacts of many builds, each in a process of its own, run in turn: nothing else runs meanwhile.

All artifacts of one target and precision take turns with each other, each fed a picture of its own
build, so that a busy machine slows all of them. `profile` measures one build in more depth.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from exporter.devices.host_process import Worker, WorkerError, workers
from exporter.devices.host_rounds import LEAD, START_SECONDS, Subject, turn_lengths
from exporter.devices.host_subjects import artifact_at, scratch_with_image, why_not
from exporter.devices.request import Tell
from exporter.latency.records import Latency, Settings
from exporter.latency.statistics import summarize
from exporter.target import Target

MOST_AT_ONCE = 12  # processes, each with an SDK in memory
RUN_SECONDS = 300.0  # for one turn


@dataclass(kw_only=True, eq=False)
class _Timed:
    subject: Subject
    worker: Worker
    samples: list[float] = field(default_factory=list)
    load_ms: float = 0.0
    first_ms: float = 0.0
    problem: str = ""


def measure(
    artifacts: Sequence[Path], settings: Settings, targets: Mapping[str, Target], tell: Tell
) -> dict[Path, Latency | str]:
    """Every artifact's latency, or why it has none."""
    found: dict[Path, Latency | str] = {}
    groups: dict[tuple[str, str], list[Subject]] = {}
    for path in artifacts:
        subject = artifact_at(path, targets)
        unmeasured = why_not(subject)
        if unmeasured is not None:
            found[path] = unmeasured.reason
        else:
            groups.setdefault((subject.target.info.name, subject.precision), []).append(subject)
    for (target, precision), subjects in groups.items():
        for start in range(0, len(subjects), MOST_AT_ONCE):
            part = subjects[start : start + MOST_AT_ONCE]
            tell(f"measuring {target} {precision}: {len(part)} artifacts in turn")
            found |= _in_turn(part, settings)
    return found


def _in_turn(subjects: Sequence[Subject], settings: Settings) -> dict[Path, Latency | str]:
    with contextlib.ExitStack() as stack:
        started = stack.enter_context(workers(len(subjects), settings.threads))
        timed = [_Timed(subject=s, worker=w) for s, w in zip(subjects, started, strict=True)]
        for one in timed:
            _, image = stack.enter_context(scratch_with_image(one.subject.path.parent))
            with _problem_of(one):
                _open(one, image, settings)
        for number, runs in enumerate(turn_lengths(settings.iterations)):
            for one in timed if number % 2 else timed[::-1]:
                if not one.problem:
                    with _problem_of(one):
                        one.samples += _run(one, runs, LEAD)
    return {one.subject.path: _latency(one) for one in timed}


@contextlib.contextmanager
def _problem_of(one: _Timed) -> Iterator[None]:
    try:
        yield
    except WorkerError as error:
        one.problem = error.reason


def _open(one: _Timed, image: Path, settings: Settings) -> None:
    subject, worker = one.subject, one.worker
    name = subject.target.info.name
    worker.ask("prepare", START_SECONDS, target=name, threads=settings.threads)
    answer = worker.ask(
        "open", START_SECONDS, path=str(subject.path), image=str(image), graph=False
    )
    one.load_ms, one.first_ms = answer["load_ms"], answer["first_ms"]
    if settings.warmup:
        _run(one, settings.warmup, 0)


def _run(one: _Timed, runs: int, lead: int) -> list[float]:
    samples: list[float] = one.worker.ask("run", RUN_SECONDS, runs=runs, lead=lead)["samples_ms"]
    return samples


def _latency(one: _Timed) -> Latency | str:
    if one.problem:
        return one.problem
    return summarize(one.samples, load_ms=one.load_ms, first_ms=one.first_ms)
