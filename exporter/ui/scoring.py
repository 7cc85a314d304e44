"""How right models are on labeled images: a bar while it runs, tables when it is done."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TextIO

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from exporter.intervals import Difference, Interval, Paired
from exporter.scoring.records import (
    FLOAT,
    ClassEvaluation,
    ClassRating,
    Found,
    PictureEvaluation,
    Rating,
    Row,
    Score,
    Seen,
    WeakClass,
)
from exporter.tasks import Task
from exporter.ui.live import PLAIN_EVERY_S, LiveDisplay, counting_bar
from exporter.worst import Mistake, WorstClass

AGAINST_FLOAT = (
    "against float: the difference of top-1 on the same images, its 95 % interval, "
    "and images that only one of the two got right (+ this file, - float)"
)
RESAMPLED = (
    "95 %: from {} resamples of the images, the same for every file; "
    "+0.0 alone: no difference on any"
)
UNBOUNDED = 1000  # columns, to measure a table in
FIGURES = {  # their titles, in the table's order
    Task.DETECTION: {"map50": "mAP50", "map": "mAP"},
    Task.SEGMENTATION: {"miou": "mIoU", "pixels": "pixels"},
}
WEAK = {Task.DETECTION: ("AP50", "objects"), Task.SEGMENTATION: ("IoU", "pixels")}


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


def follow(stream: TextIO, events: Iterator[Seen | Found], *, quiet: bool) -> Found:
    """Draw what comes and return the result, which is the last."""
    with EvaluationProgress(stream, quiet=quiet) as progress:
        for event in events:
            if not isinstance(event, Seen):
                return event
            progress.show(event)
    raise AssertionError("an evaluation ends in its result")


def print_scores(console: Console, found: Found) -> None:
    """A row per model, then what the figures mean."""
    console.print(f"[italic]{escape(_title(found))}[/]", soft_wrap=True)
    if isinstance(found, ClassEvaluation):
        console.print(_classifiers(found))
    else:
        wide = _others(found, wide=True)
        room = console.options.update(width=UNBOUNDED)
        fits = console.measure(wide, options=room).maximum <= console.width
        console.print(wide if fits else _others(found, wide=False))
    _print_reasons(console, found.scores)
    if isinstance(found, ClassEvaluation):
        if any(score.against_float for score in found.scores):
            _print_dim(console, AGAINST_FLOAT)
        if found.worst:
            _print_worst(console, found.worst)
    else:
        _print_dim(console, RESAMPLED.format(found.resamples))
        if found.worst:
            _print_weak(console, found.task, found.worst)
    for note in found.notes:
        _print_dim(console, note)


def _title(found: Found) -> str:
    some = f" of {found.of}" if found.images < found.of else ""
    what = f"{found.images}{some} images"
    if isinstance(found, PictureEvaluation) and found.task is Task.DETECTION:
        what += f", {found.labeled} objects"
    return f"{found.data}: {what} of {found.classes} classes"


def _print_reasons(console: Console, rows: Sequence[Row]) -> None:
    for row in rows:
        if row.reason:
            console.print(f"{_mark(row)} {escape(row.path)}: {escape(row.reason)}", soft_wrap=True)


def _print_dim(console: Console, text: str) -> None:
    console.print(f"[dim]{escape(text)}[/]", soft_wrap=True)


def _mark(row: Row) -> str:
    return "[bold red]failed[/]" if row.failed else "[yellow]not run[/]"


def _speed(row: Row, images: int) -> str:
    return "" if row.seconds is None else f"{1000.0 * row.seconds / images:.1f}"


def _classifiers(found: ClassEvaluation) -> Table:
    table = Table()
    table.add_column("file", no_wrap=True)
    for column in ("top-1, 95 %", "top-5, 95 %", "against float, points"):
        table.add_column(column, justify="right")
    table.add_column("ms/image", justify="right", no_wrap=True)
    for score in found.scores:
        table.add_row(*_row(score, found.images))
    return table


def _others(found: PictureEvaluation, *, wide: bool) -> Table:
    """Detectors and segmenters: a column per figure, the differences below each other.

    Where it is not `wide`, an interval goes below its figure.
    """
    names = FIGURES[found.task]
    table = Table()
    table.add_column("file", no_wrap=wide, overflow="fold")
    against = "against float, points" if wide else "against\nfloat, points"
    for title in (*(f"{name}, 95 %" for name in names.values()), against):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("ms/image", justify="right", no_wrap=True)
    for rating in found.scores:
        cells = _rated(rating, found.images, names)
        table.add_row(*(cell if wide else cell.replace(" [dim](", "\n[dim](") for cell in cells))
    return table


def _rated(rating: Rating, images: int, names: dict[str, str]) -> tuple[str, ...]:
    if not rating.figures:
        return (escape(rating.path), _mark(rating), *[""] * (len(names) + 1))
    shares = (_share(rating.figures[name]) for name in names)
    differences = _differences(rating.against_float, names)
    return escape(rating.path), *shares, differences, _speed(rating, images)


def _differences(found: dict[str, Difference], names: dict[str, str]) -> str:
    """In points, a line per figure; one for all where nothing differs on any resample."""
    if found and not any(map(_differs, found.values())):
        return "+0.0"
    return "\n".join(
        f"{names[name]} {_moved(difference) if _differs(difference) else '+0.0'}"
        for name, difference in found.items()
    )


def _differs(difference: Difference) -> bool:
    return difference.points != 0 or difference.low != 0 or difference.high != 0


def _print_weak(console: Console, task: Task, worst: tuple[WeakClass, ...]) -> None:
    """A row per class and model."""
    figure, labeled = WEAK[task]
    _print_worst_title(console, len(worst), figure, worst[0].scores[0].path)
    table = Table()
    table.add_column("class")
    for column in ("images", labeled):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("file", no_wrap=True)
    table.add_column(figure, justify="right")
    if task is Task.SEGMENTATION:
        table.add_column("most often taken for")
    for one in worst:
        start = escape(one.label), str(one.images), str(one.labeled)
        for score in one.scores:
            value = "-" if score.value is None else f"{score.value:.1%}"
            taken = [_confused(score)] if task is Task.SEGMENTATION else []
            table.add_row(*start, escape(score.path), value, *taken)
            start = "", "", ""
        table.add_section()
    console.print(table)


def _confused(score: ClassRating) -> str:
    """The wrong class and its share of pixels."""
    found = score.taken_for
    return "" if found is None else f"{escape(found.label)} [dim]({found.share:.1%})[/]"


def _print_worst_title(console: Console, count: int, figure: str, path: str) -> None:
    named = "class" if count == 1 else "classes"
    model = f"the {path}" if path == FLOAT else path
    title = f"The {count} {named} with the lowest {figure} of {model}"
    console.print(f"\n[italic]{escape(title)}[/]", soft_wrap=True)


def _print_worst(console: Console, worst: tuple[WorstClass, ...]) -> None:
    """A row per class and model."""
    _print_worst_title(console, len(worst), "top-1", worst[0].scores[0].path)
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
    if score.top1 is None or score.top5 is None:
        return escape(score.path), _mark(score), "", "", ""
    difference = "" if score.against_float is None else _points(score.against_float)
    speed = _speed(score, images)
    return escape(score.path), _share(score.top1), _share(score.top5), difference, speed


def _share(share: Interval) -> str:
    return f"{share.value:.1%} [dim]({100 * share.low:.1f} to {100 * share.high:.1f})[/]"


def _points(difference: Paired) -> str:
    return _moved(difference, f", +{difference.gained} -{difference.lost}")


def _moved(difference: Paired | Difference, more: str = "") -> str:
    """In red where it is surely for the worse."""
    color = "red" if difference.high < 0 else "default"
    interval = f"({difference.low:+.1f} to {difference.high:+.1f}){more}"
    return f"[{color}]{difference.points:+.1f}[/] [dim]{interval}[/]"
