"""Points of a sweep, built: from the cache in this process, all others side by side in their own.

Each has one thread; as many run as are asked for. One that fails, or whose process dies, is told
and the others go on.
"""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.errors import ExportError
from exporter.events import Finished, StageStarted, TargetFailed
from exporter.spec import Precision
from exporter.sweep.points import Point
from exporter.sweep.records import Lost
from exporter.target import ExportOptions
from exporter.worker_process import Sent, begin_process
from exporter.workers import PATIENCE_SECONDS, how_it_ended

if TYPE_CHECKING:
    from exporter.cache.store import Store
    from exporter.pipeline import BuildRequest

THREADS = "OMP_NUM_THREADS"  # read by torch when it is imported
WEIGHTS, PHOTOS = "weights", "photos"  # a kind of entry in the cache; the demo's in such an entry
BUG = "this is a bug: --jobs does not change it, --verbose shows more"

Tell = Callable[[Point, str], None]  # what a point is at


@dataclass(frozen=True, kw_only=True, eq=False)
class Order:
    """One point for a process."""

    point: Point
    jobs: tuple[tuple[Sent, Precision], ...]
    options: ExportOptions
    calibration: tuple[Path, ...]
    out: Path
    command: str
    store: Store | None
    only_cached: bool = False


@dataclass(frozen=True, kw_only=True)
class Built:
    """What became of all points."""

    lost: tuple[Lost, ...]
    from_cache: int


def build_points(orders: Sequence[Order], processes: int, tell: Tell) -> Built:
    """Every point in its directory; those that fail are in `lost`."""
    waiting = [order for order in orders if not _is_cached(order, tell)]
    lost: list[Lost] = []
    if waiting:
        with tempfile.TemporaryDirectory(prefix="mnv2-export-") as scratch:
            running = _Running(Path(scratch))
            pool = ThreadPoolExecutor(min(processes, len(waiting)))
            try:
                futures = [pool.submit(running.build, order, tell) for order in waiting]
                lost = [found for future in futures if (found := future.result()) is not None]
            finally:
                running.end()
                pool.shutdown(cancel_futures=True)
    return Built(lost=tuple(lost), from_cache=len(orders) - len(waiting))


class _Running:
    """The processes of a sweep, so that none outlives it."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.lock = threading.Lock()
        self.processes: list[SpawnProcess] = []
        self.ended = threading.Event()

    def build(self, order: Order, tell: Tell) -> Lost | None:
        """One point in a process of its own."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_serve, args=(order, theirs, self.scratch), daemon=True)
        with self.lock:
            if self.ended.is_set():
                return None
            process.start()
            self.processes.append(process)
        theirs.close()
        said: Lost | str | None = ""
        try:
            while isinstance(said := ours.recv(), str):
                tell(order.point, said)
        except (EOFError, OSError):
            _remove_unfinished(order.out)
            hint = "a library crashed, or memory ran out: try --jobs 1"
            said = Lost(
                point=order.point.name,
                what="",
                error=f"its process died ({how_it_ended(process)})",
                hint=hint,
            )
        process.join()
        lost = said if isinstance(said, Lost) else None
        if self.ended.is_set():  # by us: it did not fail
            return None
        tell(order.point, "done" if lost is None else "failed")
        return lost

    def end(self) -> None:
        """Stop them all."""
        with self.lock:
            self.ended.set()
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.join(PATIENCE_SECONDS)
            if process.is_alive():
                process.kill()


def _remove_unfinished(out: Path) -> None:
    """What a process that was killed has left beside a point's directory."""
    for folder in out.parent.glob(f".{out.name}.*"):
        shutil.rmtree(folder, ignore_errors=True)


def _serve(order: Order, connection: Connection, scratch: Path) -> None:
    """In the process of a point: what it is at, then None or how it failed."""
    begin_process(scratch)
    os.environ[THREADS] = "1"
    with contextlib.suppress(BrokenPipeError):
        lost = None
        failed: list[str] = []
        try:
            for stage in _stages(order, failed):
                connection.send(stage)
        except ExportError as error:
            text = "; ".join(failed) or error.message
            hint = "" if failed else error.hint
            lost = Lost(point=order.point.name, what="", error=text, hint=hint)
        except Exception as error:  # one point's bug must not stop the others
            text = f"{type(error).__name__}: {error}"
            lost = Lost(point=order.point.name, what="", error=text, hint=BUG)
        connection.send(lost)


def _is_cached(order: Order, tell: Tell) -> bool:
    """Whether a point could be had without making anything; then it is in its place."""
    from exporter.cache.builds import NotCachedError

    if order.store is None:
        return False
    try:
        for _ in _stages(dataclasses.replace(order, only_cached=True), []):
            pass
    except (NotCachedError, ExportError, OSError):  # what is wrong will be told when it is built
        return False
    tell(order.point, "from the cache")
    return True


def _stages(order: Order, failed: list[str]) -> Iterator[str]:
    """What a point is at; `failed` gets what the targets that wrote nothing said."""
    from exporter.pipeline import build

    with tempfile.TemporaryDirectory(prefix="mnv2-export-") as scratch:
        if order.point.checkpoint is None:
            yield "weights"
        for event in build(_request(order, Path(scratch))):
            if isinstance(event, StageStarted):
                yield event.stage
            elif isinstance(event, TargetFailed):
                failure = event.failure
                failed.append(f"{failure.target} {failure.precision}: {failure.error}")
            elif isinstance(event, Finished):
                return


def _request(order: Order, scratch: Path) -> BuildRequest:
    from exporter.checkpoints import Overrides
    from exporter.pipeline import BuildRequest
    from exporter.request import Request

    point, calibration = order.point, order.calibration
    checkpoint = point.checkpoint
    if checkpoint is None:
        folder = _weights(order, scratch)
        checkpoint = folder / _file_name(point)
        calibration = calibration or (folder / PHOTOS,)
    return BuildRequest(
        request=Request(
            checkpoint=checkpoint,
            overrides=Overrides(resolution=point.resolution),
            calibration=calibration,
        ),
        jobs=tuple((sent.target(), precision) for sent, precision in order.jobs),
        options=order.options,
        out=order.out,
        command=order.command,
        cache=order.store,
        only_cached=order.only_cached,
    )


def _weights(order: Order, scratch: Path) -> Path:
    """A folder with random weights for a point, and pictures where the user gave none."""
    from exporter.cache import keys, sources
    from exporter.cache.builds import Kept, NotCachedError

    point, cache = order.point, Kept(order.store, scratch)
    key = cache.key(
        lambda: keys.key(
            WEIGHTS,
            width=point.width,
            resolution=point.resolution,
            calibration=keys.calibration(order.calibration, None),
            tools=keys.tools(),
            code=sources.digest("exporter.sweep.weights"),
        )
    )
    kept = cache.fetch(WEIGHTS, key)
    if kept is not None:
        return kept[0]
    if order.only_cached:
        raise NotCachedError("random weights")
    from exporter.sweep.weights import write_random
    from exporter.threads import one_thread

    folder = scratch / WEIGHTS
    folder.mkdir()
    with one_thread():
        write_random(
            folder / _file_name(point),
            point.width,
            point.resolution,
            order.calibration,
            folder / PHOTOS,
        )
    cache.keep(WEIGHTS, key, folder, f"random weights of {point.name}")
    return folder


def _file_name(point: Point) -> str:
    return f"random-{point.name}.safetensors"
