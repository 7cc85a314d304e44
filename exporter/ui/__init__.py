"""Everything that a person sees; only this package imports rich.

Progress goes to standard error and results to standard output, so `--json` and pipes stay clean.
"""

from __future__ import annotations

import sys
from typing import TextIO

from rich.console import Console
from rich.markup import escape

PLAIN_WIDTH = 110  # where there is no terminal to ask


def results() -> Console:
    """Where results go."""
    terminal = sys.stdout.isatty()
    return Console(
        file=sys.stdout, highlight=False, width=None if terminal else PLAIN_WIDTH, soft_wrap=False
    )


def print_error(stream: TextIO, message: str, hint: str) -> None:
    """One line of what is wrong, one of what to do."""
    console = Console(file=stream, highlight=False, soft_wrap=True)
    console.print(f"[bold red]error:[/] {escape(message)}")
    if hint:
        console.print(f"  [dim]->[/] {escape(hint)}")
