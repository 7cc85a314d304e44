"""Pictures of a profile: every sample of every artifact, and where an inference's time goes."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

from exporter.latency.records import ArtifactProfile, Latency, LayerTime
from exporter.report.plots import FAMILIES, WIDE, Picture, both, family, legend
from exporter.report.svg import Color, canvas, inline, plain
from exporter.report.words import milliseconds
from exporter.spec import Precision

LEAST = 1e-4  # milliseconds; a logarithm has no zero
PRECISIONS = {
    Precision.INT8: Color.INT8,
    Precision.FP16: Color.FP16,
    Precision.FP32: Color.FP32,
}


def median_of(profile: ArtifactProfile) -> float:
    """Of an artifact that was measured."""
    return _latency(profile).median.value


def _latency(profile: ArtifactProfile) -> Latency:
    assert profile.latency is not None, f"{profile.artifact} was not measured"
    return profile.latency


def distributions(measured: Sequence[ArtifactProfile], key: str) -> Picture:
    """Every sample of every artifact, the first on top; `key` is unique in a page."""
    return both(lambda width: _distributions(measured, width, _name(key, width)))


def _name(key: str, width: int) -> str:
    """A prefix of ids for any text."""
    return f"p{zlib.crc32(key.encode()):08x}{width}"


def _distributions(measured: Sequence[ArtifactProfile], width: int, name: str) -> str:
    narrow, rows = width < WIDE, len(measured)
    height = 50 + rows * (46 if narrow else 34)
    with canvas(name, width, height, 11 if narrow else 12) as figure:
        axes = figure.subplots()
        for row, profile in enumerate(measured):
            _strip(axes, row, profile, narrow)
        axes.set_ylim(rows - 0.4, -0.75 if narrow else -0.6)
        if narrow:
            axes.set_yticks([])
        else:
            axes.set_yticks(range(rows), [_row_name(p) for p in measured])
            axes.tick_params(axis="y", labelcolor=Color.TEXT.value)
        axes.tick_params(length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x", alpha=0.7)
        axes.set_xlabel("milliseconds, logarithmic")
        _plain_log(axes, [s for p in measured for s in _latency(p).samples_ms], narrow)
        fastest = min(measured, key=median_of)
        label = f"Latency samples; fastest {fastest.artifact}, median "
        return inline(figure, name, label + milliseconds(median_of(fastest)), {})


def _row_name(profile: ArtifactProfile) -> str:
    unstable = "" if _latency(profile).stable else " ▲"
    return plain(f"{profile.artifact}{unstable}")


def _strip(axes: Any, row: int, profile: ArtifactProfile, narrow: bool) -> None:
    """Samples from top to bottom as they came, the median's interval as a bar across them."""
    latency = _latency(profile)
    samples = latency.samples_ms
    step = 0.44 / max(1, len(samples) - 1)
    places = [row - 0.22 + index * step for index in range(len(samples))]
    color = PRECISIONS[profile.precision].value
    axes.plot(samples, places, "o", markersize=3, color=color, alpha=0.55, markeredgewidth=0)
    median = latency.median
    axes.plot([median.low, median.high], [row, row], color=Color.TEXT.value, linewidth=3, alpha=0.9)
    axes.plot([median.value] * 2, [row - 0.3, row + 0.3], color=Color.TEXT.value, linewidth=1.6)
    if narrow:
        text = f"{_row_name(profile)}  {milliseconds(median.value)}"
        axes.text(
            0.0,
            row - 0.34,
            text,
            transform=axes.get_yaxis_transform(),
            fontsize="small",
            va="bottom",
        )


def _plain_log(axes: Any, samples: Sequence[float], narrow: bool) -> None:
    """A logarithmic axis whose ticks are round numbers, few of them, without exponents."""
    low, high = max(LEAST, min(samples)) / 1.08, max(LEAST, *samples) * 1.08
    axes.set_xscale("log")
    for steps in ((1, 1.5, 2, 3, 4, 5, 7), (1, 2, 5), (1,)):
        ticks = [s * 10.0**e for e in range(-4, 7) for s in steps if low <= s * 10.0**e <= high]
        if len(ticks) <= (6 if narrow else 10):
            break
    if len(ticks) < 2:
        ticks = [min(samples), max(samples)]
    axes.set_xlim(low, high)
    axes.set_xticks(ticks, [f"{tick:.3g}" for tick in ticks], minor=False)
    axes.set_xticks([], minor=True)


def times_by_block(layers: Sequence[LayerTime], key: str) -> Picture:
    """Milliseconds of every block, split by the kind of layer; `key` is unique in a page."""
    return both(lambda width: _times_by_block(layers, width, _name(key, width)))


def _times_by_block(layers: Sequence[LayerTime], width: int, name: str) -> str:
    blocks = list(dict.fromkeys(layer.block for layer in layers))
    narrow = width < WIDE
    tips: dict[str, str] = {}
    with canvas(name, width, 70 + 19 * len(blocks), 11 if narrow else 12) as figure:
        axes = figure.subplots()
        for row, block in enumerate(blocks):
            left = 0.0
            for kind in FAMILIES:
                held = [n for n in layers if n.block == block and family(n.kind) is kind]
                spent = sum(layer.ms for layer in held)
                if not spent:
                    continue
                (bar,) = axes.barh(row, spent, left=left, height=0.72, color=kind.color.value)
                bar.set_gid(f"tip{len(tips)}")
                tips[f"tip{len(tips)}"] = (
                    f"{block or 'between layers'}, {kind.name}: {spent:.3f} ms"
                )
                left += spent
        axes.set_yticks(range(len(blocks)), [block or "between layers" for block in blocks])
        axes.set_ylim(len(blocks) - 0.4, -0.6)
        axes.set_xlabel("milliseconds")
        axes.grid(axis="x", alpha=0.7)
        axes.tick_params(length=0)
        legend(figure, [layer.kind for layer in layers], narrow, marks=False)
        return inline(figure, name, "Time by block of the network", tips)
