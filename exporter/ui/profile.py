"""A profile on the terminal: latencies, the slowest layers, and what was not measured and why."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from exporter.latency.layers import beside_median, slowest
from exporter.latency.records import (
    ArtifactProfile,
    DeviceProfile,
    Latency,
    LayerTime,
    Measured,
    ThermalStatus,
)

WIDE = 110  # columns from which every figure has its own
WIDE_COLUMNS = ("p50", "95 % interval", "p90", "p99", "first", "load", "peak RSS")
NARROW_COLUMNS = ("p50", "95 % interval", "p99", "peak RSS")
SLOWEST = 5  # layers of the fastest artifact; of each other the slowest one


@contextlib.contextmanager
def telling(stream: TextIO, *, quiet: bool) -> Iterator[Callable[[str], None]]:
    """A function that shows progress: a spinner's text on a terminal, lines elsewhere."""
    console = Console(file=stream, highlight=False, soft_wrap=True)
    if quiet:
        yield lambda _: None
    elif console.is_terminal:
        with console.status("") as status:
            yield lambda line: status.update(escape(line))
    else:
        yield _lines(console)


def _lines(console: Console) -> Callable[[str], None]:
    """Rounds are many, and of no use in a log."""

    def tell(line: str) -> None:
        if not line.startswith("round ") or line.startswith("round 1 "):
            console.print(escape(line))

    return tell


def print_profile(console: Console, found: DeviceProfile, path: Path) -> None:
    """Everything that a person asks for first; the file has the rest."""
    settings = found.settings
    console.print(f"\n[bold]{escape(found.device.name)}[/]")
    console.print(
        f"[dim]{settings.threads} thread{'s' * (settings.threads != 1)}, {settings.iterations} "
        f"timed inferences of each artifact, milliseconds; {escape(_heat(found))}[/]"
    )
    measured = [a for a in found.artifacts if a.latency is not None]
    if measured:
        wide = console.width >= WIDE
        console.print(_latencies(measured, wide=wide))
        if not wide:
            console.print("[dim]wider terminals and --json show p90, first inference and load[/]")
        _print_verdicts(console, measured)
        _print_layers(console, measured)
    _print_missing(console, found.artifacts)
    for note in found.notes:
        console.print(f"[yellow]note[/] {escape(note)}")
    console.print(f"Saved {escape(str(path))}", soft_wrap=True)


def _heat(found: DeviceProfile) -> str:
    before, after = found.thermal_before.status, found.thermal_after.status
    if before is after is ThermalStatus.UNKNOWN:
        return "the device does not say how hot it is"
    return f"thermal status {before} before, {after} after"


def _latencies(measured: list[ArtifactProfile], *, wide: bool) -> Table:
    """Fastest first."""
    table = Table()
    table.add_column("artifact", overflow="fold")
    for name in WIDE_COLUMNS if wide else NARROW_COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for artifact in sorted(measured, key=_median):
        latency = artifact.latency
        assert latency is not None, "measured"
        figures = {
            "p50": _ms(latency.p50_ms),
            "95 % interval": f"{_ms(latency.median.low)}-{_ms(latency.median.high)}",
            "p90": _ms(latency.p90_ms),
            "p99": _ms(latency.p99_ms),
            "first": _ms(latency.first_ms),
            "load": _ms(latency.load_ms),
            "peak RSS": _memory(artifact.peak_rss_bytes),
        }
        shown = (figures[name] for name in (WIDE_COLUMNS if wide else NARROW_COLUMNS))
        table.add_row(escape(artifact.artifact), *shown, _stable(latency))
    return table


def _memory(size: int | None) -> str:
    return "" if size is None else f"{size / 1e6:.0f} MB"


def _median(artifact: ArtifactProfile) -> float:
    return artifact.latency.p50_ms if artifact.latency is not None else float("inf")


def _stable(latency: Latency) -> str:
    return "[green]stable[/]" if latency.stable else "[yellow]unstable[/]"


def _ms(value: float) -> str:
    """Three digits, as many as a clock of a busy machine is good for."""
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 100 else f"{value:.0f}"


def _print_verdicts(console: Console, measured: list[ArtifactProfile]) -> None:
    """Why figures are not to be relied on, and whether the device computed the same."""
    for artifact in measured:
        if artifact.latency is not None and not artifact.latency.stable:
            text = f"{artifact.artifact} is {artifact.latency.verdict}"
            console.print(f"[yellow]{escape(text)}[/]")
    for artifact in measured:
        if artifact.same_results is not None:
            color = "green" if artifact.same_results else "bold red"
            said = "same results as on this machine" if artifact.same_results else "other results"
            detail = f" ({artifact.comparison})" if artifact.comparison else ""
            console.print(f"{escape(artifact.artifact)}: [{color}]{said}[/]{escape(detail)}")


def _print_layers(console: Console, measured: list[ArtifactProfile]) -> None:
    """Blocks have a column of their own where there is room: names tell them too."""
    traced = sorted((a for a in measured if a.layers), key=_median)
    if traced:
        wide = console.width >= WIDE
        table = Table(title="slowest layers", title_justify="left")
        for name in ("artifact", "layer", *(("block",) if wide else ()), "kind"):
            table.add_column(name, overflow="fold")
        for name in ("ms", "share", "GMAC/s"):
            table.add_column(name, justify="right", no_wrap=True)
        for place, artifact in enumerate(traced):
            for index, layer in enumerate(slowest(artifact.layers, 1 if place else SLOWEST)):
                name = "" if index else escape(artifact.artifact)
                table.add_row(name, *_layer(layer, wide=wide))
            if not place:
                table.add_section()
        console.print(table)
        for artifact in traced:
            assert artifact.latency is not None, "measured"
            if caveat := beside_median(artifact.layers, artifact.latency.p50_ms):
                console.print(f"[dim]{escape(artifact.artifact)}: {escape(caveat)}[/]")
    for artifact in measured:
        if artifact.undelegated:
            count = f"{artifact.undelegated} operation{'s' * (artifact.undelegated != 1)}"
            console.print(f"{escape(artifact.artifact)}: {count} outside the delegate")


def _layer(layer: LayerTime, *, wide: bool) -> tuple[str, ...]:
    speed = "" if layer.gmacs_per_s is None else f"{layer.gmacs_per_s:.1f}"
    block = (layer.block,) if wide else ()
    figures = f"{layer.ms:.3f}", f"{layer.share:.1%}", speed
    return escape(layer.name), *block, layer.kind, *figures


def _print_missing(console: Console, artifacts: tuple[ArtifactProfile, ...]) -> None:
    """One line for each reason."""
    reasons: dict[tuple[Measured, str], list[str]] = {}
    for artifact in artifacts:
        if artifact.outcome is not Measured.MEASURED:
            reasons.setdefault((artifact.outcome, artifact.reason), []).append(artifact.artifact)
    for (outcome, reason), names in reasons.items():
        color = "yellow" if outcome is Measured.NOT_RUN else "bold red"
        console.print(f"[{color}]{outcome}[/] {escape(', '.join(names))}: {escape(reason)}")
