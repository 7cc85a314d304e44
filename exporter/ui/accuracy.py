"""Accuracy on labeled images: a bar while it runs, a table when it is done."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from exporter.accuracy import Evaluation, Score, Seen
from exporter.intervals import Interval, Paired

LINE_EVERY = 10.0  # seconds, off a terminal


def follow(stream: TextIO, events: Iterator[Seen | Evaluation], *, quiet: bool) -> Evaluation:
    """Draw what comes and return the result, which is the last."""
    if not quiet and stream.isatty():
        return _bar(stream, events)
    said = time.monotonic()
    for event in events:
        if isinstance(event, Evaluation):
            return event
        if not quiet and time.monotonic() - said >= LINE_EVERY:
            said = time.monotonic()
            stream.write(f"{event.images} of {event.of} images\n")
    raise AssertionError("an evaluation ends in its result")


def _bar(stream: TextIO, events: Iterator[Seen | Evaluation]) -> Evaluation:
    columns = (
        TextColumn("[bold]{task.description}[/]"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("[dim]left[/]"),
        TimeRemainingColumn(),
    )
    console = Console(file=stream)
    with Progress(
        *columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False
    ) as progress:
        task = progress.add_task("reading", total=None)
        for event in events:
            if isinstance(event, Evaluation):
                return event
            progress.update(task, description="images", total=event.of, completed=event.images)
    raise AssertionError("an evaluation ends in its result")


def print_accuracy(console: Console, found: Evaluation) -> None:
    """A row per model, then what the figures mean."""
    some = f" of {found.of}" if found.images < found.of else ""
    title = f"{found.data}: {found.images}{some} images of {found.classes} classes"
    console.print(f"[italic]{escape(title)}[/]", soft_wrap=True)
    table = Table()
    table.add_column("file", no_wrap=True)
    for column in ("top-1, 95 %", "top-5, 95 %", "against float, points"):
        table.add_column(column, justify="right")
    table.add_column("ms/image", justify="right", no_wrap=True)
    for score in found.scores:
        table.add_row(*_row(score, found.images))
    console.print(table)
    for score in found.scores:
        if score.reason:
            mark = "[bold red]failed[/]" if score.failed else "[yellow]not run[/]"
            console.print(f"{mark} {escape(score.path)}: {escape(score.reason)}", soft_wrap=True)
    if any(score.against_float for score in found.scores):
        console.print(
            "[dim]against float: the difference of top-1 on the same images, its 95 % interval, "
            "and images that only one of the two got right (+ this file, - float)[/]",
            soft_wrap=True,
        )
    for note in found.notes:
        console.print(f"[dim]{escape(note)}[/]", soft_wrap=True)


def _row(score: Score, images: int) -> tuple[str, str, str, str, str]:
    if score.top1 is None or score.top5 is None or score.seconds is None:
        mark = "[bold red]failed[/]" if score.failed else "[yellow]not run[/]"
        return escape(score.path), mark, "", "", ""
    difference = "" if score.against_float is None else _points(score.against_float)
    speed = f"{1000.0 * score.seconds / images:.1f}"
    return escape(score.path), _share(score.top1), _share(score.top5), difference, speed


def _share(share: Interval) -> str:
    return f"{share.value:.1%} [dim]({100 * share.low:.1f} to {100 * share.high:.1f})[/]"


def _points(difference: Paired) -> str:
    color = "red" if difference.high < 0 else "default"
    interval = f"({difference.low:+.1f} to {difference.high:+.1f})"
    return (
        f"[{color}]{difference.points:+.1f}[/] [dim]{interval}, "
        f"+{difference.gained} -{difference.lost}[/]"
    )
