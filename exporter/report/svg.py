"""A matplotlib figure as SVG that belongs to its page: the page's font, the page's colors.

Colors are drawn as placeholders and become CSS variables, so that one picture serves light and
dark. Text stays text. Equal figures give equal bytes: no date, no random ids.
"""

from __future__ import annotations

import contextlib
import html
import io
import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

PIXELS_PER_INCH = 72  # matplotlib's SVG unit is a point: one of ours is a CSS pixel


class Color(StrEnum):
    """Placeholders; a picture uses no other color."""

    TEXT = "#0a0b01"
    MUTED = "#0a0b02"
    LINE = "#0a0b03"
    PANEL = "#0a0b04"
    PAPER = "#0a0b05"
    POINTWISE = "#0a0b11"
    DEPTHWISE = "#0a0b12"
    ADD = "#0a0b13"
    OTHER = "#0a0b14"
    INT8 = "#0a0b15"
    FP16 = "#0a0b16"
    FP32 = "#0a0b17"


VARIABLES = {color: f"var(--{color.name.lower()})" for color in Color}


@contextlib.contextmanager
def canvas(name: str, width: int, height: int, size: float = 12.0) -> Iterator[Any]:
    """A figure of CSS pixels, whatever the user's own matplotlib settings are."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(
            {
                "svg.fonttype": "none",
                "svg.hashsalt": name,
                "font.size": size,
                "axes.edgecolor": Color.LINE.value,
                "axes.labelcolor": Color.MUTED.value,
                "axes.spines.top": False,
                "axes.spines.right": False,
                "axes.axisbelow": True,
                "text.color": Color.TEXT.value,
                "xtick.color": Color.LINE.value,
                "ytick.color": Color.LINE.value,
                "xtick.labelcolor": Color.MUTED.value,
                "ytick.labelcolor": Color.MUTED.value,
                "grid.color": Color.LINE.value,
                "grid.linewidth": 0.8,
                "legend.frameon": False,
                "legend.labelcolor": Color.TEXT.value,
            }
        )
        yield Figure(
            figsize=(width / PIXELS_PER_INCH, height / PIXELS_PER_INCH), layout="constrained"
        )


def inline(figure: Any, name: str, label: str, tips: Mapping[str, str]) -> str:
    """The figure's `<svg>` element; `tips` are shown over the parts that have these gids."""
    buffer = io.StringIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(buffer, format="svg", dpi=PIXELS_PER_INCH, transparent=True, metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<style type=\"text/css\">.*?</style>", "", text, flags=re.DOTALL)
    for gid, tip in tips.items():
        text = text.replace(f'<g id="{gid}">', f"<g><title>{html.escape(tip)}</title>", 1)
    text = _own_ids(text, name)
    text = re.sub(r"font: (?:\w+ )*([\d.]+)px [^;\"]*", r"font-size: \1px", text)
    text = re.sub(r"font-family: [^;\"]*;? ?", "", text)
    for color, variable in VARIABLES.items():
        text = text.replace(color.value, variable)
    opening = f'<svg class="plot" role="img" aria-label="{html.escape(label)}"'
    text = re.sub(
        r"<svg [^>]*?(viewBox=\"[^\"]*\")[^>]*>",
        lambda found: f"{opening} {found[1]}>",  # a label may hold what a template expands
        text,
        count=1,
    )
    return re.sub(r"\s*\n\s*", "\n", text).strip()


def _own_ids(text: str, name: str) -> str:
    """Only ids that something refers to, and those unlike any other picture's."""
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", text))

    def renamed(match: re.Match[str]) -> str:
        return f' id="{name}-{match[1]}"' if match[1] in used else ""

    text = re.sub(r' id="([^"]+)"', renamed, text)
    text = text.replace('xlink:href="#', 'href="#')
    return re.sub(r"(url\(#|href=\"#)", rf"\1{name}-", text)


def plain(text: str) -> str:
    """Text whose dollar signs matplotlib does not read as mathematics."""
    return text.replace("$", r"\$")
