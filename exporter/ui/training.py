"""A run as it goes: a bar with loss, lr, images/s and the time left, or plain lines."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from exporter.events import Note
from exporter.training.events import Reported, Started, Trained, TrainingEvent, Validated
from exporter.training.recipes import Setting

PLAIN_EVERY_S = 10.0  # between lines where there is no bar


class TrainingProgress:
    """Draws training events; nothing when quiet."""

    def __init__(
        self, stream: TextIO, *, quiet: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.quiet, self.clock = quiet, clock
        self.console = Console(file=stream, highlight=False, soft_wrap=not stream.isatty())
        self.is_live = self.console.is_terminal and not quiet
        self.spoke = -PLAIN_EVERY_S
        self.task: TaskID | None = None
        self.bar = Progress(
            TextColumn("[bold]{task.description}[/]"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            expand=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> TrainingProgress:
        if self.is_live:
            self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.is_live:
            self.bar.stop()

    def show(self, event: TrainingEvent) -> None:
        """Take one event."""
        if self.quiet:
            return
        if isinstance(event, Started):
            self.console.print(escape(_started(event)))
            self.task = self.bar.add_task(
                "starting", total=event.steps, completed=event.step, figures=""
            )
        elif isinstance(event, Reported):
            self._report(event)
        elif isinstance(event, Validated):
            self.console.print(_validated(event))
        elif isinstance(event, Note):
            self.console.print(f"  [dim]{escape(event.text)}[/]")

    def _report(self, event: Reported) -> None:
        epoch = f"epoch {event.epoch}/{event.epochs}"
        figures = f"loss {event.loss:.3f}  lr {event.lr:.2e}  {event.images_per_s:.0f} images/s"
        if self.is_live and self.task is not None:
            self.bar.update(
                self.task, completed=event.step, description=epoch, figures=figures, refresh=True
            )
        elif self.clock() - self.spoke >= PLAIN_EVERY_S:
            self.spoke = self.clock()
            self.console.print(f"{epoch}, update {event.step}/{event.steps}: {figures}")


def print_trained(console: Console, event: Trained) -> None:
    """Where the run stands, and what to do next."""
    if event.top1 is not None and event.top5 is not None:
        console.print(
            f"best epoch {event.best_epoch}: top-1 [bold]{event.top1:.1%}[/], "
            f"top-5 {event.top5:.1%} of {event.images:,} images, {event.seconds:.0f} s",
            soft_wrap=True,
        )
    best = event.folder / "best.safetensors"
    if event.best_epoch is not None:
        console.print(f"Wrote {escape(str(best))}. Next: mnv2-export build {escape(str(best))}")


def print_recipe(console: Console, settings: tuple[Setting, ...], note: str) -> None:
    """Every value with its source."""
    table = Table()
    for column in ("setting", "value", "source"):
        table.add_column(column, overflow="fold")
    for line in settings:
        table.add_row(line.name, escape(line.value), escape(line.source))
    console.print(table)
    console.print(escape(note), soft_wrap=True)


def _started(event: Started) -> str:
    workers = "1 worker" if event.workers == 1 else f"{event.workers} workers"
    resumed = f", resumed after {event.step} updates" if event.step else ""
    return (
        f"{event.folder}: recipe {event.recipe}, {event.train_images:,} images of "
        f"{event.classes} classes, {event.val_images:,} to validate, {workers} on {event.device}, "
        f"{event.precision}, {event.epochs} epochs of "
        f"{event.steps // event.epochs:,} updates{resumed}"
    )


def _validated(event: Validated) -> str:
    mark = "  [green]best so far[/]" if event.best else ""
    return (
        f"epoch {event.epoch}/{event.epochs}: validation loss {event.loss:.3f}, "
        f"top-1 [bold]{event.top1:.1%}[/], top-5 {event.top5:.1%} of {event.images:,}{mark}"
    )
