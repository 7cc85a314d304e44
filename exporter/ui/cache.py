"""The cache as a table."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from exporter.cache.store import Entry, Store
from exporter.ui.text import megabytes

DAY = 86400.0


def print_cache(
    console: Console, store: Store, left: Sequence[Entry], removed: Sequence[Entry], why: str
) -> None:
    """Where it is, what it holds by kind, and what was just removed."""
    size = megabytes(sum(entry.size_bytes for entry in left))
    console.print(f"{escape(str(store.root))}: {len(left)} entries, {size}", soft_wrap=True)
    for entry in removed:
        text = f"removed ({why}): {entry.kind} {entry.key[:12]} {entry.what}"
        console.print(escape(text), soft_wrap=True)
    if not left:
        return
    table = Table()
    for column in ("kind", "entries", "size", "last used", "longest unused"):
        table.add_column(column, justify="left" if column == "kind" else "right")
    for kind in sorted({entry.kind for entry in left}):
        of_kind = [entry for entry in left if entry.kind == kind]
        used = [entry.used for entry in of_kind]
        table.add_row(
            kind,
            str(len(of_kind)),
            megabytes(sum(entry.size_bytes for entry in of_kind)),
            _age(max(used)),
            _age(min(used)),
        )
    console.print(table)


def _age(used: float) -> str:
    days = (time.time() - used) / DAY
    return "today" if days < 1 else f"{days:.0f} d ago"
