"""What every live display shares: its console, when it draws, how it starts and stops, its bar."""

from __future__ import annotations

from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

PLAIN_EVERY_S = 10.0  # between lines where there is no bar


class LiveDisplay:
    """Draws on a terminal from `with` to its end; elsewhere its user writes plain lines."""

    drawing: Live | Progress

    def __init__(self, stream: TextIO, *, quiet: bool) -> None:
        self.quiet = quiet
        self.console = Console(file=stream, highlight=False, soft_wrap=not stream.isatty())
        self.is_live = self.console.is_terminal and not quiet

    def __enter__(self) -> Self:
        if self.is_live:
            self.drawing.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.is_live:
            self.drawing.stop()


def counting_bar(console: Console, *figures: ProgressColumn, transient: bool = False) -> Progress:
    """So many of so many, then `figures`, the time it took and the time left."""
    return Progress(
        TextColumn("[bold]{task.description}[/]"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        *figures,
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=transient,
        expand=True,
        # Rich would print what libraries write to these; `quiet` swallows it instead.
        redirect_stdout=False,
        redirect_stderr=False,
    )
