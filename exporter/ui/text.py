"""Small pieces of text that progress and tables share."""

from __future__ import annotations

from rich.markup import escape

from exporter.verdicts import EXACT_BOXES, Outcome, Parity

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
    text += _figures(parity)
    if parity.outcome is Outcome.DRIFTED and parity.reason:
        text += f" ({escape(parity.reason)})"
    return text


def _figures(parity: Parity) -> str:
    """The largest difference, in the unit that the outputs have."""
    text = ""
    if parity.max_lsb is not None:
        text = f", {parity.max_lsb} LSB on {parity.images} images"
        if parity.sqnr_db is not None and parity.sqnr_db >= EXACT_BOXES.min_sqnr_db:
            text += f", boxes {parity.sqnr_db:.0f} dB"
    elif parity.sqnr_db is not None:
        text = f", {parity.sqnr_db:.0f} dB"
    elif parity.agreement is not None:
        text = f", {parity.agreement:.2%} agree"
    elif parity.max_abs is not None:
        text = ", every bit equal"
    return text
