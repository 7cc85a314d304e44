"""The process in which one artifact is timed, and nothing else: asked and answering in JSON lines.

It reads requests from standard input until it ends and answers each with one line on the descriptor
that was standard output; whatever libraries print goes to standard error. A request names what to
do:

    prepare  target, threads            -> runtime, threads: the SDK is imported
    open     path, graph, image         -> load_ms, first_ms (graph: the float network itself)
    run      runs, lead                 -> samples_ms; `lead` runs before them are not timed
    usage                               -> peak_rss_bytes of this process so far
    trace    runs, into                 -> format of the trace in that file, or null

An error that can be told is {"error", "kind"}: "not run" where this machine lacks something,
"failed" where the artifact does not work.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from exporter.errors import ExportError, MissingDependencyError
from exporter.latency.records import Measured
from exporter.target import CannotRunError, Target
from exporter.timing import FloatBaseline, Timed, TimedSession

STATUS = Path("/proc/self/status")
KIB = 1024

Answer = dict[str, Any]


def serve(targets: Mapping[str, Target]) -> None:
    """Answer until standard input ends."""
    answers = _own_output()
    worker = _Worker(targets=targets)
    for line in sys.stdin:
        answers.write(json.dumps(worker.answer(json.loads(line))) + "\n")
        answers.flush()


def _own_output() -> IO[str]:
    """Standard output for answers alone: native libraries print to descriptor 1 too."""
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return stream


@dataclass(kw_only=True)
class _Worker:
    """What was prepared and opened so far."""

    targets: Mapping[str, Target]
    target: Target | None = None
    session: TimedSession | None = None
    threads: int = 1
    tasks: Mapping[str, Callable[[Answer], Answer]] = field(init=False)

    def __post_init__(self) -> None:
        self.tasks = {
            "prepare": self.prepare,
            "open": self.open,
            "run": self.run,
            "usage": self.usage,
            "trace": self.trace,
        }

    def answer(self, request: Answer) -> Answer:
        try:
            return self.tasks[request["do"]](request)
        except (MissingDependencyError, CannotRunError) as error:
            hint = f" ({error.hint})" if error.hint else ""
            return {"error": error.message + hint, "kind": Measured.NOT_RUN}
        except ExportError as error:
            return {"error": error.message, "kind": Measured.FAILED}
        except Exception as error:  # of an SDK, about its file
            reason = (str(error).strip().splitlines() or [""])[0]
            return {"error": f"{type(error).__name__}: {reason}", "kind": Measured.FAILED}

    def prepare(self, request: Answer) -> Answer:
        """Import the SDK; a float network gets its session when it is opened, by its graph."""
        self.target = self.targets[request["target"]]
        self.threads = request["threads"]
        backend = self.target.backend
        assert isinstance(backend, Timed), "asked before"
        self.session = backend.timed_session(self.threads)
        return {"runtime": self.session.runtime, "threads": self.session.threads}

    def open(self, request: Answer) -> Answer:
        """From the file to ready, and the first inference."""
        path, image = Path(request["path"]), np.load(request["image"])
        started = time.perf_counter()
        if request["graph"]:
            self._open_graph(path)
        session = self._ready()
        session.load(path)
        load_ms = _since(started)
        session.feed(image)
        started = time.perf_counter()
        session.run()
        first_ms = _since(started)
        return {"load_ms": load_ms, "first_ms": first_ms, "runtime": session.runtime}

    def _open_graph(self, path: Path) -> None:
        assert self.target is not None, "prepared first"
        backend = self.target.backend
        if not isinstance(backend, FloatBaseline):
            raise CannotRunError(f"{self.target.info.name} runs no float network")
        from exporter.graph_file import load_graph

        self.session = backend.float_session(load_graph(path), self.threads)

    def run(self, request: Answer) -> Answer:
        """Timed one by one, without Python's garbage collector in between."""
        run = self._ready().run
        clock = time.perf_counter_ns
        ticks = []
        gc.disable()
        try:
            for _ in range(request["lead"]):
                run()
            for _ in range(request["runs"]):
                started = clock()
                run()
                ticks.append(clock() - started)
        finally:
            gc.enable()
        return {"samples_ms": [count / 1e6 for count in ticks]}

    def usage(self, request: Answer) -> Answer:
        """Of everything in this process: Python, the SDK and the artifact."""
        del request
        return {"peak_rss_bytes": peak_rss_bytes()}

    def trace(self, request: Answer) -> Answer:
        trace = self._ready().trace(request["runs"])
        if trace is None:
            return {"format": None}
        Path(request["into"]).write_bytes(trace.data)
        return {"format": trace.format}

    def _ready(self) -> TimedSession:
        assert self.session is not None, "prepared first"
        return self.session


def peak_rss_bytes() -> int:
    """The most memory that this process held at once.

    Linux's getrusage counts what a process was before it became this program; its own status does
    not.
    """
    if STATUS.exists():
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * KIB
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * KIB


def _since(started: float) -> float:
    return 1e3 * (time.perf_counter() - started)
