"""A sweep on the terminal: what every point is at, then the table with the fronts marked."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from exporter.sweep.points import Point
from exporter.sweep.records import Row, Sweep
from exporter.ui.live import LiveDisplay
from exporter.ui.text import STYLES, megabytes

ENDS = {
    "done": "[green]done[/]",
    "failed": "[bold red]failed[/]",
    "from the cache": "[cyan]cached[/]",
}
WAITING = "[dim]waiting[/]"
FAST, SMALL = "*", "+"  # beside what nothing beats


class SweepProgress(LiveDisplay):
    """A line for every point on a terminal; elsewhere a line when one is done."""

    def __init__(self, stream: TextIO, points: Sequence[Point], *, quiet: bool) -> None:
        super().__init__(stream, quiet=quiet)
        self.at = {point.name: WAITING for point in points}
        self.lock = threading.Lock()  # points are told of by threads
        self.drawing = self.live = Live(
            console=self.console,
            get_renderable=self._table,
            # Rich would print what libraries write to these; `quiet` swallows it instead.
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def tell(self, point: Point, what: str) -> None:
        """What a point is at."""
        with self.lock:
            self.at[point.name] = ENDS.get(what, escape(what))
            if not self.quiet and not self.is_live and what in ENDS:
                self.console.print(f"{point.name}: {what}")

    def say(self, text: str) -> None:
        """What all of it is at."""
        if not self.quiet:
            self.console.print(escape(text))

    def _table(self) -> Table:
        table = Table(box=None, show_header=False, pad_edge=False)
        with self.lock:
            for name, what in self.at.items():
                table.add_row(name, what)
        return table


def print_sweep(console: Console, sweep: Sweep) -> None:
    """Rows from the fastest to the slowest, then what is missing."""
    if sweep.device is not None and sweep.settings is not None:
        console.print(f"\n[bold]{escape(sweep.device.name)}[/]", soft_wrap=True)
    table = Table()
    for column in ("width", "px", "target", "precision"):
        table.add_column(column)
    for column in ("size", "latency ms", "95 % interval", "accuracy", "parity"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in sorted(sweep.rows, key=_order):
        table.add_row(*_cells(row))
    console.print(table)
    for text in dict.fromkeys(f"{r.figure}: {r.accuracy_of}" for r in sweep.rows if r.accuracy_of):
        console.print(f"[dim]{escape(text)}[/]", soft_wrap=True)
    if any(row.fastest_so_right or row.smallest_so_right for row in sweep.rows):
        text = (
            f"{FAST} nothing of its kind is as right and faster, {SMALL} nor as right and smaller"
        )
        console.print(f"[dim]{text}[/]", soft_wrap=True)
    _print_missing(console, sweep)


def _print_missing(console: Console, sweep: Sweep) -> None:
    notes = [f"{r.point} {r.artifact}: {r.latency_note}" for r in sweep.rows if r.latency_note]
    for text in (*sweep.notes, *notes):
        console.print(f"[dim]{escape(text)}[/]", soft_wrap=True)
    for lost in sweep.lost:
        named = f"{lost.point} {lost.what}".strip()
        console.print(f"[bold red]missing[/] {escape(f'{named}: {lost.error}')}", soft_wrap=True)
        if lost.hint:
            console.print(f"  [dim]-> {escape(lost.hint)}[/]", soft_wrap=True)


def _order(row: Row) -> tuple[float, int]:
    return (row.latency_ms.value if row.latency_ms else float("inf"), row.size_bytes)


def _cells(row: Row) -> tuple[str, ...]:
    median = row.latency_ms
    mark = "" if row.stable in (None, True) else "~"
    front = f"{FAST if row.fastest_so_right else ' '}{SMALL if row.smallest_so_right else ' '}"
    return (
        f"{row.width:g}",
        str(row.resolution),
        row.target,
        row.precision,
        megabytes(row.size_bytes),
        "-" if median is None else f"{mark}{median.value:.2f}",
        "-" if median is None else f"{median.low:.2f} to {median.high:.2f}",
        f"- {front}" if row.accuracy is None else f"{row.accuracy:.1%} {front}",
        f"[{STYLES[row.parity]}]{row.parity}[/]",
    )
