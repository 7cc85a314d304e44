"""Processes that make artifacts beside this one; one that crashes costs its own artifact only.

A worker is started before there is anything to make, and loads what its targets need meanwhile: an
SDK's import takes seconds. It gets targets as values and reads the reference from disk, so nothing
of this process is shared with it but the folder that it writes to.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from exporter.errors import TargetError
from exporter.events import TargetFailed
from exporter.target import ExportOptions, Target
from exporter.worker_process import Order, Sent, work

if TYPE_CHECKING:
    from exporter.made import Job, Made
    from exporter.reference import Reference

    Result = Made | TargetFailed

PATIENCE_SECONDS = 2.0  # for a worker to end when it is told to
SPARE_CORES = 4  # from here on some are idle while the network is quantized
MOST_BY_DEFAULT = 2  # each holds the reference and an SDK in memory


def cores() -> int:
    """Those that this process may use; as `exporter.threads` says, but without torch."""
    available = getattr(os, "sched_getaffinity", None)
    return len(available(0)) if available else os.cpu_count() or 1


def default_workers() -> int:
    """How many are used where nothing is said.

    Quantizing, the goldens and the evaluator keep two cores busy with threads; another process then
    only adds what it loads itself.
    """
    return MOST_BY_DEFAULT if cores() >= SPARE_CORES else 1


@dataclass(frozen=True, kw_only=True, eq=False)
class _Work:
    """What all jobs of a build have in common."""

    reference: Reference
    folder: Path
    places: tuple[Path, ...]


class Workers:
    """This process and `count - 1` others; leaving the block ends those, whatever they are at.

    A thread for each hands out one job after another. This process takes what is left while it
    waits for a result, first what no worker got ready for.
    """

    def __init__(
        self,
        count: int,
        jobs: Sequence[Job],
        options: ExportOptions,
        todo: Sequence[int],
        scratch: Path,
    ) -> None:
        self.jobs, self.options, self.scratch = tuple(jobs), options, scratch
        named = {jobs[i][0].info.name: jobs[i][0] for i in todo}
        share = min(count, len(named))
        names = list(named)
        # Every n-th target; the last share is this process's.
        self.ready_for = [tuple(named[n] for n in names[i::share]) for i in range(share - 1)]
        self.theirs = {target.info.name for targets in self.ready_for for target in targets}
        self.results: dict[int, Result] = {}
        self.waiting: list[int] | None = None  # None until the reference is there
        self.work: _Work | None = None
        self.changed = threading.Condition()  # guards all that follows and the three above
        self.processes: list[SpawnProcess] = []
        self.ended = False

    def __enter__(self) -> Workers:
        """Start them, each getting ready for its targets."""
        for targets in self.ready_for:
            threading.Thread(target=self._serve, args=(targets,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self.changed:
            self.ended = True
            self.changed.notify_all()
            processes = list(self.processes)
        for process in processes:
            process.terminate()
        for process in processes:
            process.join(PATIENCE_SECONDS)
            if process.is_alive():
                process.kill()
                process.join()

    def begin(
        self, todo: Sequence[int], reference: Reference, folder: Path, places: Sequence[Path]
    ) -> None:
        """Hand out jobs, by index; the reference lies in `folder`, and every job has its place."""
        with self.changed:
            self.work = _Work(reference=reference, folder=folder, places=tuple(places))
            self.waiting = list(todo)
            self.changed.notify_all()

    def result(self, index: int) -> Result:
        """What came of a job that was begun; works on others until it is there."""
        from exporter.making import attempt

        work = self.work
        assert work is not None, "nothing was begun"
        while True:
            with self.changed:
                self.changed.wait_for(lambda: index in self.results or self.waiting)
                if index in self.results:
                    return self.results[index]
                mine = self._next(lambda name: name not in self.theirs)
            found = attempt(self.jobs[mine], self.options, work.reference, work.places[mine])
            self._put(mine, found)

    def _next(self, suits: Callable[[str], bool]) -> int:
        """Take the first waiting job of a target that suits, or the first."""
        assert self.waiting, "nothing waits"
        first = self.waiting[0]
        index = next((i for i in self.waiting if suits(self.jobs[i][0].info.name)), first)
        self.waiting.remove(index)
        return index

    def _put(self, index: int, found: Result) -> None:
        with self.changed:
            self.results[index] = found
            self.changed.notify_all()

    def _serve(self, targets: tuple[Target, ...]) -> None:
        """A thread: jobs for one process after another, the next when one has died."""
        names = {target.info.name for target in targets}
        started = self._started(targets)
        while started is not None:
            process, connection = started
            with self.changed:
                self.changed.wait_for(lambda: self.ended or self.waiting is not None)
                if self.ended or not self.waiting:
                    return
            if not _is_ready(connection):  # it died of its preparation: no job has to
                started = self._started(())
                continue
            with self.changed:
                if not self.waiting:
                    return
                index = self._next(lambda name: name in names)
            if not self._served(process, connection, index):
                started = self._started(())

    def _served(self, process: SpawnProcess, connection: Connection, index: int) -> bool:
        """Whether the process is still there after a job."""
        try:
            connection.send(self._order(index))
            self._put(index, connection.recv())
        except (EOFError, ConnectionError):
            self._put(index, self._crashed(process, index))
            return False
        except Exception as error:  # a target that cannot be sent
            from exporter.making import failed

            self._put(index, failed(*self.jobs[index], error))
        return True

    def _order(self, index: int) -> Order:
        target, precision = self.jobs[index]
        assert self.work is not None, "nothing was begun"
        return Order(
            target=Sent.of(target),
            precision=precision,
            options=self.options,
            reference=self.work.folder,
            labeled=self.work.reference.labeled,
            path=self.work.places[index],
        )

    def _started(self, targets: tuple[Target, ...]) -> tuple[SpawnProcess, Connection] | None:
        context = multiprocessing.get_context("spawn")
        sent = [Sent.of(target) for target in targets]
        with self.changed:
            if self.ended:
                return None
            ours, theirs = context.Pipe()
            process = context.Process(
                target=work, args=(theirs, sent, self.options, self.scratch), daemon=True
            )
            process.start()
            self.processes.append(process)
        theirs.close()
        return process, ours

    def _crashed(self, process: SpawnProcess, index: int) -> TargetFailed:
        from exporter.making import failed

        how = how_it_ended(process)
        hint = "a library crashed, or memory ran out; --jobs 1 runs it without another process"
        return failed(*self.jobs[index], TargetError(f"its process died ({how})", hint))


def how_it_ended(process: SpawnProcess) -> str:
    """The signal or the exit code of a process that has gone, or is going."""
    process.join()
    code = process.exitcode or 0
    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name
    return f"exit code {code}"


def _is_ready(connection: Connection) -> bool:
    try:
        return bool(connection.recv())
    except (EOFError, ConnectionError):
        return False
