"""Pictures of a graph's layers, each drawn twice: for a page that is wide and for a phone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from exporter.report.records import Layer
from exporter.report.svg import Color, canvas, inline, plain
from exporter.report.treemap import Tile, squarified
from exporter.report.words import megabytes

WIDE, NARROW = 1000, 350  # CSS pixels
WORST, NEARLY = 3, 3.0  # layers that are named, at most so many decibels above the lowest
CHARACTER = 0.62  # of the font size: a wide estimate of a character's width


@dataclass(frozen=True, kw_only=True)
class Picture:
    """Two `<svg>` elements of one picture; CSS shows the one that fits."""

    wide: str
    narrow: str


@dataclass(frozen=True, kw_only=True)
class Family:
    """Kinds of layers that share a color and a mark."""

    name: str
    color: Color
    marker: str


POINTWISE = Family(name="1×1 convolution", color=Color.POINTWISE, marker="o")
DEPTHWISE = Family(name="depthwise", color=Color.DEPTHWISE, marker="D")
ADD = Family(name="residual add", color=Color.ADD, marker="s")
OTHER = Family(name="other", color=Color.OTHER, marker="^")
FAMILIES = (POINTWISE, DEPTHWISE, ADD, OTHER)


def family(kind: str) -> Family:
    """By a layer's kind, in the words of profiles and graphs alike."""
    if kind.startswith("conv 1x1"):
        return POINTWISE
    if kind.startswith("depthwise"):
        return DEPTHWISE
    return ADD if kind == "add" else OTHER


def both(draw: Callable[[int], str]) -> Picture:
    """Draw at either width."""
    return Picture(wide=draw(WIDE), narrow=draw(NARROW))


def signal(layers: Sequence[Layer]) -> Picture:
    """Decibels of every layer in execution order."""
    measured = [(layer, layer.sqnr_db) for layer in layers if layer.sqnr_db is not None]
    return both(lambda width: _signal(measured, width))


def _signal(measured: list[tuple[Layer, float]], width: int) -> str:
    narrow = width < WIDE
    name = f"signal{width}"
    tips: dict[str, str] = {}
    size = 11.0 if narrow else 12.0
    with canvas(name, width, 260 if narrow else 300, size) as figure:
        axes = figure.subplots()
        ratios = [ratio for _, ratio in measured]
        axes.plot(range(len(ratios)), ratios, color=Color.LINE.value, linewidth=1, zorder=1)
        for index, (layer, ratio) in enumerate(measured):
            gid = f"tip{index}"
            tips[gid] = f"{layer.name}, {layer.kind}: {ratio:.1f} dB"
            _mark(axes, index, ratio, family(layer.kind), 4.0 if narrow else 5.5, gid)
        for index in _worst(ratios, 1 if narrow else WORST):
            _name_point(axes, index, measured[index], len(measured))
        _block_ticks(axes, [layer.block for layer, _ in measured], width, size)
        axes.set_ylabel("SQNR to float, dB")
        axes.set_ylim(min(0.0, min(ratios)), max(ratios) * 1.08)
        axes.set_xlim(-0.8, len(ratios) - 0.2)
        axes.grid(axis="y", alpha=0.7)
        axes.tick_params(length=0)
        legend(figure, [layer.kind for layer, _ in measured], narrow, marks=True)
        worst = min(measured, key=lambda pair: pair[1])
        label = f"SQNR by layer, lowest {worst[1]:.1f} dB at {worst[0].name}"
        return inline(figure, name, label, tips)


def _worst(ratios: Sequence[float], count: int) -> list[int]:
    """Indices of the lowest, none so near another that their names would overlap."""
    chosen: list[int] = []
    for index in sorted(range(len(ratios)), key=lambda i: ratios[i]):
        if ratios[index] <= min(ratios) + NEARLY and all(
            abs(index - other) > len(ratios) / 4 for other in chosen
        ):
            chosen.append(index)
    return chosen[:count]


def _mark(axes: Any, x: float, y: float, kind: Family, size: float, gid: str) -> None:
    (line,) = axes.plot(
        [x],
        [y],
        kind.marker,
        color=kind.color.value,
        markersize=size,
        markeredgecolor=Color.PAPER.value,
        markeredgewidth=0.6,
    )
    line.set_gid(gid)


def _name_point(axes: Any, index: int, point: tuple[Layer, float], count: int) -> None:
    layer, ratio = point
    right = index > 0.6 * count
    axes.annotate(
        plain(f"{layer.name}  {ratio:.1f}"),
        (index, ratio),
        xytext=(-8 if right else 8, -11),
        textcoords="offset points",
        ha="right" if right else "left",
        fontsize="small",
        color=Color.MUTED.value,
    )


def _block_ticks(axes: Any, blocks: Sequence[str], width: int, size: float) -> None:
    """Blocks as bands, every other one shaded, named below as far as there is room."""
    places: list[float] = []
    names: list[str] = []
    character = CHARACTER * size * len(blocks) / width  # of the axis's unit, a layer
    for number, (name, first, last) in enumerate(_runs([_part(block) for block in blocks])):
        if number % 2 == 0:
            axes.axvspan(first - 0.5, last + 0.5, color=Color.PANEL.value, linewidth=0, zorder=0)
        middle = (first + last) / 2
        if places and middle - places[-1] < character * ((len(names[-1]) + len(name)) / 2 + 2):
            continue
        places.append(middle)
        names.append(name)
    axes.set_xticks(places, names)
    axes.set_xlabel("block")


def _part(block: str) -> str:
    """A block's number, or the detector's part that it is one of."""
    if block.startswith("detector"):
        return block.removeprefix("detector ").rstrip(" 0123456789")
    return block.removeprefix("block ")


def _runs(blocks: Sequence[str]) -> Iterator[tuple[str, int, int]]:
    first = 0
    for index, block in enumerate(blocks):
        if index + 1 == len(blocks) or blocks[index + 1] != block:
            yield block, first, index
            first = index + 1


def legend(figure: Any, kinds: Sequence[str], narrow: bool, *, marks: bool) -> None:
    """The families that occur, above the picture; `marks` where points show them."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    present = [f for f in FAMILIES if any(family(kind) is f for kind in kinds)]
    handles = [
        Line2D([], [], marker=f.marker, color=f.color.value, linestyle="", label=f.name)
        if marks
        else Patch(color=f.color.value, label=f.name)
        for f in present
    ]
    figure.legend(
        handles=handles,
        loc="outside upper left",
        ncols=len(present) if not narrow or len(present) < 4 else 2,
        fontsize="small",
        handletextpad=0.4,
        columnspacing=1.2,
    )


def weights(layers: Sequence[Layer]) -> Picture:
    """A tile for each layer that has constants, its area their bytes."""
    held = sorted((n for n in layers if n.size_bytes), key=lambda n: (-n.size_bytes, n.name))
    return both(lambda width: _weights(held, width))


def _weights(layers: Sequence[Layer], width: int) -> str:
    narrow = width < WIDE
    tips: dict[str, str] = {}
    name, height, size = f"sizes{width}", 420 if narrow else 380, 10.0 if narrow else 11.0
    with canvas(name, width, height, size) as figure:
        axes = figure.subplots()
        axes.set_axis_off()
        axes.set_xlim(0, width)
        axes.set_ylim(height, 0)
        tiles = squarified([layer.size_bytes for layer in layers], width, height)
        for index, (layer, tile) in enumerate(zip(layers, tiles, strict=True)):
            tips[f"tip{index}"] = f"{layer.name}, {layer.kind}: {megabytes(layer.size_bytes)}"
            _tile(axes, layer, tile, f"tip{index}")
            _tile_text(axes, layer, tile, size)
        legend(figure, [layer.kind for layer in layers], narrow, marks=False)
        label = f"Size by layer; largest {layers[0].name}, {megabytes(layers[0].size_bytes)}"
        return inline(figure, name, label, tips)


def _tile(axes: Any, layer: Layer, tile: Tile, gid: str) -> None:
    from matplotlib.patches import Rectangle

    place = (tile.x + 1, tile.y + 1)
    width, height = max(0.5, tile.width - 2), max(0.5, tile.height - 2)
    color = family(layer.kind).color.value
    axes.add_patch(Rectangle(place, width, height, facecolor=color, alpha=0.3, gid=gid))


def _tile_text(axes: Any, layer: Layer, tile: Tile, size: float) -> None:
    """The name and the bytes where they fit."""
    short = layer.name.removeprefix("features.")
    for text, needed in ((f"{short}\n{megabytes(layer.size_bytes)}", 3.2), (short, 1.7)):
        longest = max(len(line) for line in text.split("\n"))
        if tile.width > longest * CHARACTER * size + 8 and tile.height > needed * size:
            axes.text(tile.x + 6, tile.y + 4, plain(text), va="top", linespacing=1.25)
            return
