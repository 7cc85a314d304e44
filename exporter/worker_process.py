"""What a process does that makes artifacts beside another one; `workers` starts and asks it."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
import tempfile
import types
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, cast

from exporter.memory import keep_pages
from exporter.quiet import silence_environment
from exporter.target import Backend, ExportOptions, Target, TargetInfo

if TYPE_CHECKING:
    from exporter.events import TargetFailed
    from exporter.made import Made
    from exporter.rating import Labeled
    from exporter.reference import Reference
    from exporter.spec import Precision

    Result = Made | TargetFailed

TINY_SIDE = 32


@dataclass(frozen=True, kw_only=True, eq=False)
class Sent:
    """A target on its way to another process: of a module the name."""

    info: TargetInfo
    backend: str | Backend

    @classmethod
    def of(cls, target: Target) -> Sent:
        """Pack it."""
        backend = target.backend
        named = backend.__name__ if isinstance(backend, types.ModuleType) else backend
        return cls(info=target.info, backend=named)

    def target(self) -> Target:
        """Unpack it; importing a target's module loads no SDK."""
        named = self.backend
        backend = importlib.import_module(named) if isinstance(named, str) else named
        return Target(info=self.info, backend=cast(Backend, backend))


@dataclass(frozen=True, kw_only=True, eq=False)
class Order:
    """One job for a worker."""

    target: Sent
    precision: Precision
    options: ExportOptions
    reference: Path
    labeled: Labeled | None  # the reference's, which is not on disk
    path: Path


def begin_process(scratch: Path) -> None:
    """What a process of ours does first: it ends when it is told to, and leaves nothing.

    Its temporary files go where its parent, which may have to kill it, will remove them.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us when it is interrupted
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    os.dup2(2, 1)  # standard output holds the parent's one document
    tempfile.tempdir = str(scratch)
    silence_environment()
    keep_pages()  # before there are other threads


def work(
    connection: Connection, targets: Sequence[Sent], options: ExportOptions, scratch: Path
) -> None:
    """Get ready, then serve orders until the other end hangs up; say before each that we are."""
    begin_process(scratch)
    from exporter.threads import one_thread

    kept: dict[Path, Reference] = {}
    with one_thread(), contextlib.suppress(EOFError, ConnectionError):
        for sent in targets:
            _get_ready(sent.target(), options)
        while True:
            connection.send(True)
            connection.send(_made(connection.recv(), kept))


def _made(order: Order, kept: dict[Path, Reference]) -> Result:
    from exporter.making import attempt
    from exporter.reference_file import load_reference

    if order.reference not in kept:
        kept[order.reference] = load_reference(order.reference, order.labeled)
    job = (order.target.target(), order.precision)
    return attempt(job, order.options, kept[order.reference], order.path)


def _get_ready(target: Target, options: ExportOptions) -> None:
    """Write and open a network of no use: what is loaded for it need not be loaded later."""
    from exporter.fold import fold_core
    from exporter.models import make_network
    from exporter.published import default_spec
    from exporter.spec import Precision
    from exporter.tasks import Task

    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(Exception):
        path = Path(folder) / f"tiny{target.info.suffix_for(options)}"
        spec = default_spec(Task.CLASSIFICATION, width=0.35, resolution=TINY_SIDE, classes=2)
        graph = fold_core(make_network(spec).eval())
        target.backend.emit(graph, Precision.FP32, options, path)
        target.backend.load(path)
