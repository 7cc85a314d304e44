"""Small pieces of text that progress and tables share."""

from __future__ import annotations

from rich.markup import escape

from exporter.verdicts import Outcome, Parity

STYLES = {Outcome.SAME: "green", Outcome.DRIFTED: "bold red", Outcome.NOT_RUN: "yellow"}


def megabytes(size: int) -> str:
    """1 MB = 10^6 bytes, as app stores count."""
    return f"{size / 1e6:.2f} MB"


def verdict(parity: Parity) -> str:
    """An outcome with its figure, in its color."""
    color = STYLES[parity.outcome]
    by = f" ({parity.by})" if parity.by and parity.outcome is Outcome.SAME else ""
    text = f"[{color}]{parity.outcome}{by}[/]"
    if parity.outcome is Outcome.NOT_RUN:
        return f"{text}: {escape(parity.reason)}"
    if parity.max_lsb is not None:
        text += f", {parity.max_lsb} LSB on {parity.images} images"
    elif parity.sqnr_db is not None:
        text += f", {parity.sqnr_db:.0f} dB"
    elif parity.max_abs is not None:
        text += ", every bit equal"
    if parity.outcome is Outcome.DRIFTED and parity.reason:
        text += f" ({escape(parity.reason)})"
    return text
