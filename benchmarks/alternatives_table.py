"""The tables that come of it, in Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from alternatives_exports import Alternative, Exported
from alternatives_figures import Timed

from exporter.intervals import wilson
from exporter.latency.records import Median
from exporter.verdicts import Quality

HEADER = (
    "| made by | SQNR | top-1 agreement, 95 % | KL | size | latency | of ours, 95 % | export "
    "| checked by the tool | same bytes again |",
    "|---|---|---|---|---|---|---|---|---|---|",
)
NO_MAC = "needs a Mac"
NONE = ""


@dataclass(frozen=True, kw_only=True)
class Row:
    """Everything that was measured of one alternative."""

    alternative: Alternative
    exports: tuple[Exported, ...]
    reproducible: bool = False
    size_bytes: int = 0
    quality: Quality | None = None
    timed: Timed | None = None
    not_run: str = ""  # the reason, if there is no file


def markdown(rows: Sequence[Row]) -> str:
    """One line per alternative; those that gave no file last, with the reason."""
    made = [row for row in rows if not row.not_run]
    lines = [*HEADER, *(line(row) for row in made)]
    missing = [f"- {row.alternative.name}: not run: {row.not_run}" for row in rows if row.not_run]
    return "\n".join([*lines, "", *missing] if missing else lines)


def line(row: Row) -> str:
    """One alternative."""
    quality = row.quality
    cells = [
        row.alternative.name,
        f"{quality.sqnr_db:.1f} dB" if quality else NONE,
        agreement(quality) if quality else NONE,
        f"{quality.kl:.3f}" if quality else NONE,
        f"{row.size_bytes / 1e6:.2f} MB",
        f"{row.timed.ms.value:.2f} ms" if row.timed else NO_MAC,
        ratio(row.timed.ratio) if row.timed and row.timed.ratio else NONE,
        seconds(row.exports),
        row.exports[0].verified,
        "yes" if row.reproducible else "no",
    ]
    return f"| {' | '.join(cells)} |"


def agreement(quality: Quality) -> str:
    """Whole percents with their interval: there are a few hundred pictures."""
    found = wilson(round(quality.top1_agreement * quality.images), quality.images)
    return f"{100 * found.value:.0f} % ({100 * found.low:.0f} to {100 * found.high:.0f})"


def ratio(value: Median) -> str:
    """With its 95 % interval."""
    return f"{value.value:.2f} ({value.low:.2f} to {value.high:.2f})"


def seconds(exports: Sequence[Exported]) -> str:
    """The medians of the exports' times, by the wall and of the processors."""
    wall = statistics.median(export.wall_s for export in exports)
    cpu = statistics.median(export.cpu_s for export in exports)
    return f"{wall:.0f} s, {cpu:.0f} CPU-s"


def versions(rows: Sequence[Row]) -> str:
    """What did the work, one line per alternative."""
    lines = []
    for row in rows:
        told = row.exports[0].versions if row.exports else {}
        listed = ", ".join(f"{name} {version}" for name, version in told.items())
        notes = "".join(f"; {note}" for export in row.exports[:1] for note in export.notes)
        lines.append(f"- {row.alternative.name}: {listed or row.not_run}{notes}")
    return "\n".join(lines)
