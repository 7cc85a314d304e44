"""What a page and a comment show of a report, arranged: no format's syntax is in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from exporter.latency.layers import beside_median, slowest
from exporter.latency.records import (
    ArtifactProfile,
    Device,
    LayerTime,
    Thermal,
    ThermalStatus,
)
from exporter.manifest import ArtifactRecord, Manifest
from exporter.report import plots_times, words
from exporter.report.plots import Picture
from exporter.report.records import ArtifactReport, DeviceReport, Report
from exporter.spec import Precision
from exporter.verdicts import Outcome, Pair

SLOWEST = 10  # layers in a table


@dataclass(frozen=True, kw_only=True)
class Key:
    """One of the figures on top."""

    name: str
    value: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Of a parity matrix."""

    outcome: Outcome
    text: str


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """Artifacts of one precision against each other; no rows where there is but one."""

    precision: Precision
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell | None, ...]], ...]
    captions: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class DeviceView:
    """One device's latencies."""

    device: Device
    told: str
    thermal: str
    stale: tuple[str, ...]
    notes: tuple[str, ...]
    artifacts: tuple[ArtifactProfile, ...]  # the fastest first, then what was not measured
    unstable: bool
    picture: Picture | None


@dataclass(frozen=True, kw_only=True)
class SlowView:
    """The layers of one artifact on one device, the slowest first."""

    artifact: str
    device: str
    layers: tuple[LayerTime, ...]
    caveat: str  # where all layers' times are not the latency
    picture: Picture | None


@dataclass(frozen=True, kw_only=True)
class Loading:
    """Code and the files that it loads."""

    title: str
    files: tuple[str, ...]
    code: str


def keys(report: Report) -> tuple[Key, ...]:
    """At most four figures that a reader wants first."""
    found = (_size_key(report), _accuracy_key(report), _speed_key(report), _signal_key(report))
    return tuple(key for key in found if key is not None)


def _preferred(report: Report) -> tuple[ArtifactReport, ...]:
    """Not of what drifted, and of int8, where there is any."""
    sound = [a for a in report.artifacts if a.record.parity.outcome is not Outcome.DRIFTED]
    integers = [a for a in sound if a.record.precision is Precision.INT8]
    return tuple(integers or sound) or report.artifacts


def _size_key(report: Report) -> Key | None:
    least = min(_preferred(report), key=lambda a: a.record.size_bytes, default=None)
    if least is None:
        return None
    detail = least.record.path
    same = [
        a.record.size_bytes
        for a in report.artifacts
        if a.record.target == least.record.target and a.record.precision is Precision.FP32
    ]
    if same and least.record.precision is Precision.INT8:
        detail += f", {min(same) / least.record.size_bytes:.1f} times smaller than fp32"
    return Key(name="Smallest file", value=words.megabytes(least.record.size_bytes), detail=detail)


def _accuracy_key(report: Report) -> Key | None:
    scored = next((a for a in _preferred(report) if a.figures), None)
    if scored is None:
        return None
    first = scored.figures[0]
    detail = scored.record.path
    if report.float_figures:
        detail += f"; float model {report.float_figures[0].value:.1%}"
    return Key(name=first.name, value=f"{first.value:.1%}", detail=detail)


def _speed_key(report: Report) -> Key | None:
    drifted = {a.path for a in report.manifest.artifacts if a.parity.outcome is Outcome.DRIFTED}
    timed = [
        (a.latency.median.value, a, d.profile.device)
        for d in report.devices
        for a in d.profile.artifacts
        if a.latency is not None and a.same_results is not False and a.artifact not in drifted
    ]
    if not timed:
        found = any(a.latency is not None for d in report.devices for a in d.profile.artifacts)
        detail = "of no artifact whose results are right" if found else "not profiled yet"
        return Key(name="Latency", value="–", detail=detail)
    value, artifact, device = min(timed, key=lambda entry: entry[0])
    detail = f"{artifact.artifact} on {device.name}"
    if artifact.latency is not None and not artifact.latency.stable:
        detail += "; unstable"
    return Key(name="Fastest, median", value=words.milliseconds(value), detail=detail)


def _signal_key(report: Report) -> Key | None:
    measured = [(n.sqnr_db, n.name) for n in report.layers if n.sqnr_db is not None]
    if not measured:
        return None
    ratio, name = min(measured)
    return Key(name="Lowest SQNR of a layer", value=f"{ratio:.1f} dB", detail=name)


def matrices(manifest: Manifest) -> tuple[Matrix, ...]:
    """One for each precision."""
    precisions = dict.fromkeys(a.precision for a in manifest.artifacts)
    return tuple(_matrix(manifest, precision) for precision in precisions)


def _matrix(manifest: Manifest, precision: Precision) -> Matrix:
    records = [a for a in manifest.artifacts if a.precision is precision]
    pairs = {(p.a, p.b): p for p in manifest.pairs}
    if len(records) < 2:
        caption = f"{records[0].path} is the only artifact of this precision."
        return Matrix(precision=precision, columns=(), rows=(), captions=(caption,))
    names = _short([a.path for a in records])
    rows = tuple(
        (names[i], tuple(_cell(a, b, pairs) if i < j else None for j, b in enumerate(records) if j))
        for i, a in enumerate(records[:-1])
    )
    return Matrix(
        precision=precision,
        columns=names[1:],
        rows=rows,
        captions=tuple(_captions(records, pairs)),
    )


def _short(paths: Sequence[str]) -> tuple[str, ...]:
    """What tells them apart: ".pte" and ".onnx" where all begin alike."""
    stems = {path.partition(".")[0] for path in paths}
    if len(stems) > 1:
        return tuple(paths)
    return tuple(path.removeprefix(*stems) for path in paths)


def _cell(a: ArtifactRecord, b: ArtifactRecord, pairs: dict[tuple[str, str], Pair]) -> Cell:
    pair = pairs.get((a.path, b.path)) or pairs.get((b.path, a.path))
    if pair is None:
        return Cell(outcome=Outcome.NOT_RUN, text="not run")
    return Cell(outcome=pair.outcome, text=words.pair_figure(pair))


def _captions(
    records: Sequence[ArtifactRecord], pairs: dict[tuple[str, str], Pair]
) -> Iterator[str]:
    paths = {a.path for a in records}
    held = [p for p in pairs.values() if {p.a, p.b} <= paths]
    if any(p.max_lsb and p.outcome is Outcome.SAME for p in held):
        yield "Above 0 LSB and same: they differ exactly as the runtimes' rounding rules do."
    reasons = {p.reason for p in held if p.outcome is not Outcome.SAME and p.reason}
    for reason in sorted(reasons):
        told = [f"{p.a} and {p.b}" for p in held if p.reason == reason]
        yield f"{', '.join(told[:3])}{' …' if len(told) > 3 else ''}: {reason}."


def devices(report: Report) -> tuple[DeviceView, ...]:
    """Every device that was profiled."""
    return tuple(_device(device) for device in report.devices)


def _device(report: DeviceReport) -> DeviceView:
    profile = report.profile
    timed = sorted(
        (a for a in profile.artifacts if a.latency is not None), key=plots_times.median_of
    )
    rest = [a for a in profile.artifacts if a.latency is None]
    settings = profile.settings
    told = (
        f"{words.moment(profile.measured_at) or 'at a time that was not recorded'}; "
        f"{words.counted(settings.threads, 'thread')}, {settings.warmup} runs to warm up, "
        f"{settings.iterations} timed of each artifact"
    )
    return DeviceView(
        device=profile.device,
        told=told,
        thermal=thermal(profile.thermal_before, profile.thermal_after),
        stale=report.stale,
        notes=profile.notes,
        artifacts=(*timed, *rest),
        unstable=any(a.latency is not None and not a.latency.stable for a in timed),
        picture=plots_times.distributions(timed, report.file) if timed else None,
    )


def thermal(before: Thermal, after: Thermal) -> str:
    """Status and the hottest sensor, before and after; empty where the device says nothing."""
    if before == after and before.status is ThermalStatus.UNKNOWN and not before.temperatures_c:
        return ""
    return f"before: {_heat(before)}; after: {_heat(after)}"


def _heat(state: Thermal) -> str:
    if not state.temperatures_c:
        return f"throttling {state.status}"
    sensor = max(state.temperatures_c, key=lambda name: state.temperatures_c[name])
    return f"throttling {state.status}, {state.temperatures_c[sensor]:.0f} °C ({sensor})"


def slow_layers(report: Report) -> tuple[SlowView, ...]:
    """For every artifact whose operations were timed; a device's fastest is first, and drawn."""
    return tuple(view for device in report.devices for view in _slow_on(device))


def _slow_on(device: DeviceReport) -> Iterator[SlowView]:
    traced = [a for a in device.profile.artifacts if a.latency is not None and slowest(a.layers, 1)]
    for index, artifact in enumerate(sorted(traced, key=plots_times.median_of)):
        drawn = plots_times.times_by_block(artifact.layers, device.file) if index == 0 else None
        yield SlowView(
            artifact=artifact.artifact,
            device=device.profile.device.name,
            layers=slowest(artifact.layers, SLOWEST),
            caveat=beside_median(artifact.layers, plots_times.median_of(artifact)),
            picture=drawn,
        )


def graph_precision(manifest: Manifest) -> Precision:
    """Of the graph whose layers are shown."""
    held = {g.precision for g in manifest.graphs}
    return Precision.INT8 if Precision.INT8 in held else Precision.FP32


def loadings(report: Report) -> tuple[Loading, ...]:
    """Code by platform; files that differ in nothing but their name share it."""
    files: dict[tuple[str, str], list[str]] = {}
    shown: dict[tuple[str, str], str] = {}
    for artifact in report.artifacts:
        name = artifact.record.path
        for snippet in artifact.snippets:
            key = (snippet.title, snippet.code.replace(name, "\0"))
            files.setdefault(key, []).append(name)
            shown.setdefault(key, snippet.code)
    return tuple(
        Loading(title=key[0], files=tuple(names), code=shown[key]) for key, names in files.items()
    )


def hashes(manifest: Manifest) -> tuple[tuple[str, str], ...]:
    """Name and SHA-256 of everything that this report is of."""
    return (
        *((a.path, a.sha256) for a in manifest.artifacts),
        *((g.path, g.sha256) for g in manifest.graphs),
        ("golden/", manifest.golden_sha256),
        (f"source: {manifest.source.name}", manifest.source.sha256),
    )
