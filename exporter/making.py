"""One artifact: written, reloaded from disk, compared; in this process or in a worker."""

from __future__ import annotations

import errno
import time
import traceback
from pathlib import Path

import numpy as np

from exporter.errors import ExportError
from exporter.events import TargetFailed
from exporter.layout import companions, discard
from exporter.made import GOLDEN, Job, Made
from exporter.manifest import Failure
from exporter.proof import Evidence, Proved, prove
from exporter.reference import Reference
from exporter.results import Results
from exporter.spec import Precision
from exporter.target import ExportOptions, Target


def make(job: Job, options: ExportOptions, reference: Reference, path: Path) -> Made:
    """Write one artifact and its companions, reload and compare; raises what the target raises."""
    target, precision = job
    graph = reference.graphs[precision.graph]
    started = time.perf_counter()
    notes = target.backend.emit(graph, precision, options, path)
    emit_seconds = time.perf_counter() - started
    evidence = reference.evidence(precision, target.info.rules)
    found: list[Proved] = []
    seconds: list[float] = []
    for file in [path, *(c for c in companions(target, path) if c.exists())]:
        started = time.perf_counter()
        found.append(prove(target, file, evidence, notes if file == path else ()))
        seconds.append(time.perf_counter() - started)
    return Made(
        records=tuple(p.record for p in found),
        results=tuple(_unlike(p.results, evidence) for p in found),
        tolerances=evidence.tolerances,
        emit_seconds=emit_seconds,
        check_seconds=tuple(seconds),
    )


def attempt(
    job: Job, options: ExportOptions, reference: Reference, path: Path
) -> Made | TargetFailed:
    """`make`, whatever is raised: one SDK's bug must not stop the other targets."""
    try:
        return make(job, options, reference, path)
    except Exception as error:
        discard(job[0], path)
        return failed(*job, error)


def failed(target: Target, precision: Precision, error: Exception) -> TargetFailed:
    """An expected failure says it all; of any other the traceback is kept for `--verbose`."""
    name, expected = target.info.name, isinstance(error, ExportError)
    message = (
        error.message if isinstance(error, ExportError) else f"{type(error).__name__}: {error}"
    )
    return TargetFailed(
        failure=Failure(target=name, precision=precision, error=message),
        hint=_hint(error),
        trace="" if expected else "".join(traceback.format_exception(error)),
    )


def _hint(error: Exception) -> str:
    if isinstance(error, ExportError):
        return error.hint
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "make room on that disk"
    return "this is a bug: see --verbose"


def _unlike(results: Results | None, evidence: Evidence) -> Results | None:
    """The results, unless they are the expected ones."""
    if results is None or results.keys() != evidence.expected.keys():
        return results
    same = all(
        value.dtype == results[name].dtype and np.array_equal(value, results[name])
        for name, value in evidence.expected.items()
    )
    return GOLDEN if same else results
