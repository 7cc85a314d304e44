"""Progress on standard error: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from types import TracebackType
from typing import TextIO

from rich.console import Console, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from exporter.events import (
    ArtifactChecked,
    Event,
    Note,
    StageFinished,
    StageProgressed,
    StageStarted,
    TargetFailed,
)
from exporter.ui.live import LiveDisplay
from exporter.ui.text import megabytes, verdict

REFRESH_PER_SECOND = 8


class Progress(LiveDisplay):
    """Draws events; a live table on a terminal, plain lines elsewhere, nothing when quiet."""

    def __init__(self, stream: TextIO, *, quiet: bool) -> None:
        super().__init__(stream, quiet=quiet)
        self.rows: list[tuple[str, str, str]] = []  # stage, detail, seconds
        self.current: tuple[str, float] | None = None
        self.so_far = ""  # of the current stage
        self.notes: list[str] = []
        self.spinner = Spinner("dots")
        self.drawing = self.live = Live(
            console=self.console,
            get_renderable=self._table,
            refresh_per_second=REFRESH_PER_SECOND,
            # Rich would print what libraries write to these; `quiet` swallows it instead.
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.current = None
        super().__exit__(kind, error, traceback)
        for note in self.notes:
            self._print_note(note)

    def show(self, event: Event) -> None:
        """Take one event."""
        if self.quiet:
            return
        if isinstance(event, StageStarted):
            self.current, self.so_far = (event.stage, time.perf_counter()), ""
        elif isinstance(event, StageProgressed):
            self.so_far = event.detail
        elif isinstance(event, StageFinished):
            self._row(event.stage, escape(event.detail), f"{event.seconds:.1f} s")
        elif isinstance(event, ArtifactChecked):
            self._row(event.record.path, _artifact_detail(event), _artifact_seconds(event))
        elif isinstance(event, TargetFailed):
            failure = event.failure
            text = f"[bold red]failed[/] {escape(failure.error)}"
            self._row(f"{failure.target} {failure.precision}", text, "")
            if event.hint:
                self._note(f"{failure.target}: {event.hint}")
        elif isinstance(event, Note):
            self._note(event.text)

    def _row(self, stage: str, detail: str, seconds: str) -> None:
        self.current = None
        if self.is_live:
            self.rows.append((stage, detail, seconds))
            self.live.refresh()
        else:
            text = Text.from_markup(detail).plain
            self.console.print(f"{stage}: {escape(text)}" + (f" ({seconds})" if seconds else ""))

    def _note(self, text: str) -> None:
        if self.is_live:
            self.notes.append(text)
        else:
            self._print_note(text)

    def _print_note(self, text: str) -> None:
        self.console.print(f"  [dim]{escape(text)}[/]")

    def _table(self) -> RenderableType:
        table = Table(box=None, pad_edge=False, show_header=False, expand=True)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold", ratio=1)
        table.add_column(justify="right", no_wrap=True)
        for stage, detail, seconds in self.rows:
            table.add_row(f"[bold]{escape(stage)}[/]", detail, f"[dim]{seconds}[/]")
        if self.current is not None:
            stage, started = self.current
            elapsed = f"[dim]{time.perf_counter() - started:.1f} s[/]"
            self.spinner.update(text=f"[bold]{escape(stage)}[/]")
            table.add_row(self.spinner, escape(self.so_far), elapsed)
        return table


def _artifact_detail(event: ArtifactChecked) -> str:
    record = event.record
    return f"{megabytes(record.size_bytes)}, {verdict(record.parity)}"


def _artifact_seconds(event: ArtifactChecked) -> str:
    check = f"check {event.check_seconds:.1f} s"
    return check if event.emit_seconds is None else f"emit {event.emit_seconds:.1f} s, {check}"


@contextlib.contextmanager
def busy(stream: TextIO, text: str) -> Iterator[None]:
    """A spinner while something loads; nothing off a terminal."""
    if not stream.isatty():
        yield
        return
    with Console(file=stream).status(escape(text)):
        yield
