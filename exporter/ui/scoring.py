"""Accuracy on labeled images: a bar while it runs, a table when it is done."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TextIO

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from exporter.accuracy import FLOAT, Evaluation, Score, Seen
from exporter.intervals import Interval, Paired
from exporter.ui.live import PLAIN_EVERY_S, LiveDisplay, counting_bar
from exporter.worst import Mistake, WorstClass


class EvaluationProgress(LiveDisplay):
    """Counts the images that every model has seen; the bar is gone when they are all seen."""

    def __init__(self, stream: TextIO, *, quiet: bool) -> None:
        super().__init__(stream, quiet=quiet)
        self.spoke = time.monotonic()
        self.drawing = self.bar = counting_bar(self.console, transient=True)
        self.task = self.bar.add_task("images", total=None)

    def show(self, event: Seen) -> None:
        """Take one event."""
        if self.is_live:
            self.bar.update(self.task, total=event.of, completed=event.images)
        elif not self.quiet and time.monotonic() - self.spoke >= PLAIN_EVERY_S:
            self.spoke = time.monotonic()
            self.console.print(f"{event.images} of {event.of} images")


def follow(stream: TextIO, events: Iterator[Seen | Evaluation], *, quiet: bool) -> Evaluation:
    """Draw what comes and return the result, which is the last."""
    with EvaluationProgress(stream, quiet=quiet) as progress:
        for event in events:
            if isinstance(event, Evaluation):
                return event
            progress.show(event)
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
    if found.worst:
        _print_worst(console, found.worst)
    for note in found.notes:
        console.print(f"[dim]{escape(note)}[/]", soft_wrap=True)


def _print_worst(console: Console, worst: tuple[WorstClass, ...]) -> None:
    """A row per class and model."""
    named = "class" if len(worst) == 1 else "classes"
    first = worst[0].scores[0].path
    model = f"the {first}" if first == FLOAT else first
    title = f"The {len(worst)} {named} with the lowest top-1 of {model}"
    console.print(f"\n[italic]{escape(title)}[/]", soft_wrap=True)
    table = Table()
    table.add_column("class")
    table.add_column("images", justify="right", no_wrap=True)
    table.add_column("file", no_wrap=True)
    table.add_column("top-1, 95 %", justify="right")
    table.add_column("most often taken for")
    for one in worst:
        start = escape(one.label), str(one.images)
        for score in one.scores:
            mistake = _mistake(score.taken_for)
            table.add_row(*start, escape(score.path), _share(score.top1), mistake)
            start = "", ""
        table.add_section()
    console.print(table)


def _mistake(found: Mistake | None) -> str:
    """The wrong answer and its number of images."""
    return "" if found is None else f"{escape(found.label)} [dim]({found.images})[/]"


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
