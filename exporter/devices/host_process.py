"""A worker process seen from outside: started, asked, and killed whatever happens."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import IO, Any

from exporter.latency.records import Measured

# -P: no module of the folder that the user stands in takes the place of ours.
COMMAND = (sys.executable, "-P", "-m", "exporter", "host-worker")
TAIL = 4096  # bytes of what it printed, to look for a reason in
READ = 1 << 16
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class WorkerError(Exception):
    """An artifact that is not measured, and what became of it."""

    def __init__(self, outcome: Measured, reason: str) -> None:
        super().__init__(reason)
        self.outcome = outcome
        self.reason = reason


class Worker:
    """One process; `ask` raises WorkerError when it says so, dies or takes too long."""

    def __init__(self, threads: int) -> None:
        self._printed: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `close`)
        self._buffer = b""
        # A session of its own: Ctrl-C is for us, who then end it.
        self._process = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._printed,
            env={**os.environ, **dict.fromkeys(THREADS, str(threads))},
            start_new_session=True,
        )

    def ask(self, do: str, seconds: float, **what: object) -> dict[str, Any]:
        """One request and its answer."""
        self.send(do, **what)
        return self.answer(seconds)

    def send(self, do: str, **what: object) -> None:
        """Only the request: several workers can be busy with theirs at once."""
        assert self._process.stdin is not None, "a pipe"
        # A worker that died is told by `answer`.
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps({"do": do, **what}).encode() + b"\n")
            self._process.stdin.flush()

    def answer(self, seconds: float) -> dict[str, Any]:
        """The answer to the last request."""
        line = self._line(time.monotonic() + seconds, seconds)
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError:
            raise WorkerError(Measured.FAILED, f"the process answered {line!r}") from None
        if "error" in answer:
            raise WorkerError(Measured(answer["kind"]), answer["error"])
        return answer

    def close(self) -> None:
        """End it at once: it has nothing to put in order."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._printed.close()

    def _line(self, deadline: float, seconds: float) -> bytes:
        assert self._process.stdout is not None, "a pipe"
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    self._process.kill()
                    raise WorkerError(Measured.FAILED, f"no answer within {seconds:.0f} s")
                data = os.read(self._process.stdout.fileno(), READ)
                if not data:
                    raise WorkerError(Measured.FAILED, self._death())
                self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _death(self) -> str:
        """How it ended, with the last thing it printed."""
        code = self._process.wait()
        how = f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        self._printed.seek(0, os.SEEK_END)
        self._printed.seek(max(0, self._printed.tell() - TAIL))
        lines = self._printed.read().decode(errors="replace").strip().splitlines()
        return f"the process {how}" + (f": {lines[-1].strip()}" if lines else "")


@contextlib.contextmanager
def workers(count: int, threads: int) -> Iterator[list[Worker]]:
    """So many processes, none of which outlives the block."""
    started: list[Worker] = []
    try:
        for _ in range(count):
            started.append(Worker(threads))  # noqa: PERF401 (one that fails leaves those before)
        yield started
    finally:
        for worker in started:
            worker.close()
