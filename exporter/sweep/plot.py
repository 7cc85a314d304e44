"""A sweep as a picture: accuracy against latency and against size, with the fronts drawn."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from exporter.files import staged
from exporter.sweep.records import Row, Sweep

FILES = ("sweep.svg", "sweep.png")
CURE = "pip install 'mnv2-export[plots]'"
# Okabe and Ito's colors, which people with any color vision tell apart.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = {"int8": "o", "fp16": "^", "fp32": "s"}
SALT = "mnv2-export"  # of the SVG's identifiers: equal sweeps give equal files


def available() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def draw(sweep: Sweep, folder: Path) -> tuple[Path, ...]:
    """Write the pictures; nothing where no row has two figures to be drawn against each other."""
    panels = [(cost, name, own) for cost, name, own in _panels() if _drawn(sweep.rows, cost)]
    if not panels:
        return ()
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": SALT, "svg.fonttype": "none", "font.size": 10}):
        figure = Figure(figsize=(6.4 * len(panels), 5.2), layout="constrained")
        for index, (cost, name, own) in enumerate(panels):
            axes = figure.add_subplot(1, len(panels), index + 1)
            _panel(axes, _drawn(sweep.rows, cost), cost, own)
            axes.set_xlabel(name if cost is _size else f"{name}{_where(sweep)}")
            axes.set_ylabel(_accuracy_name(sweep.rows))
        handles, names = axes.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper left", ncols=6, frameon=False)
        for name in FILES:
            with staged(folder / name) as temporary:
                metadata = {"Date": None} if name.endswith(".svg") else {"Software": None}
                figure.savefig(temporary, dpi=130, metadata=metadata)
    return tuple(folder / name for name in FILES)


Cost = Callable[[Row], float | None]


def _latency(row: Row) -> float | None:
    return row.latency_ms.value if row.latency_ms else None


def _size(row: Row) -> float | None:
    return row.size_bytes / 1e6


def _panels() -> tuple[tuple[Cost, str, Callable[[Row], bool]], ...]:
    return (
        (_latency, "latency, median ms of one image", lambda row: row.fastest_so_right),
        (_size, "size of the artifact, MB", lambda row: row.smallest_so_right),
    )


def _drawn(rows: Sequence[Row], cost: Cost) -> list[Row]:
    return [row for row in rows if row.accuracy is not None and cost(row) is not None]


def _panel(axes: Any, rows: Sequence[Row], cost: Cost, on_front: Callable[[Row], bool]) -> None:
    """One series for each target and precision; those that nothing beats are filled and joined."""
    targets = list(dict.fromkeys(row.target for row in rows))
    series = list(dict.fromkeys((row.target, row.precision) for row in rows))
    parts = {key: [row for row in rows if (row.target, row.precision) == key] for key in series}
    # The cheapest series has its names on the free side, the dearest on the other; the rest none.
    ranked = sorted(series, key=lambda key: sum(cost(row) or 0.0 for row in parts[key]))
    for (target, precision), own in parts.items():
        color = COLORS[targets.index(target) % len(COLORS)]
        front = sorted((row for row in own if on_front(row)), key=lambda row: cost(row) or 0.0)
        style = {"marker": MARKERS.get(precision, "D"), "color": color}
        axes.plot(*_places(front, cost), linewidth=1.2, label=f"{target} {precision}", **style)
        beaten = [row for row in own if not on_front(row)]
        axes.plot(*_places(beaten, cost), linestyle="", fillstyle="none", **style)
        if (target, precision) in (ranked[0], ranked[-1]):
            _name(axes, own, cost, color, below=(target, precision) != ranked[0])
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.14, y=0.1)


def _name(axes: Any, rows: Sequence[Row], cost: Cost, color: str, *, below: bool) -> None:
    for row in rows:
        axes.annotate(
            f"{row.width:g} · {row.resolution}",
            (cost(row), 100 * (row.accuracy or 0.0)),
            xytext=(5, -11) if below else (-5, 5),
            horizontalalignment="left" if below else "right",
            textcoords="offset points",
            fontsize=8,
            color=color,
        )


def _places(rows: Sequence[Row], cost: Cost) -> tuple[list[float | None], list[float]]:
    return [cost(row) for row in rows], [100 * (row.accuracy or 0.0) for row in rows]


def _accuracy_name(rows: Sequence[Row]) -> str:
    """Never two kinds in one picture: a sweep is evaluated, or takes what was published."""
    named = next(row for row in rows if row.accuracy is not None)
    return _literal(f"{named.figure} %, {named.accuracy_of}")


def _where(sweep: Sweep) -> str:
    if sweep.device is None or sweep.settings is None:
        return ""
    threads = sweep.settings.threads
    return _literal(f"\n{sweep.device.name}, {threads} thread{'s' * (threads != 1)}")


def _literal(text: str) -> str:
    """As it is: matplotlib reads what stands between two dollar signs as a formula."""
    return text.replace("$", r"\$")
