"""What a report can be; loads nothing, as the command line reads it for `--help`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from exporter.errors import UnsupportedError


class ReportFormat(StrEnum):
    """What a report can be."""

    HTML = "html"
    MARKDOWN = "markdown"
    JSON = "json"


SUFFIXES = {
    ".html": ReportFormat.HTML,
    ".htm": ReportFormat.HTML,
    ".md": ReportFormat.MARKDOWN,
    ".markdown": ReportFormat.MARKDOWN,
    ".json": ReportFormat.JSON,
}
STANDARD_OUTPUT = Path("-")
IMAGES = 8  # golden images for the signal by layer: enough for a tenth of a decibel


def chosen_format(out: Path, named: ReportFormat | None) -> ReportFormat:
    """What was named, or what the suffix says; raises UnsupportedError where neither does."""
    if named is not None:
        return named
    if out.suffix.lower() not in SUFFIXES:
        told = "standard output" if out == STANDARD_OUTPUT else str(out)
        raise UnsupportedError(
            f"{told}: no suffix says which format is wanted",
            f"add --format {', '.join(ReportFormat)}, or a suffix {', '.join(SUFFIXES)}",
        )
    return SUFFIXES[out.suffix.lower()]
