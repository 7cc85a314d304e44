"""A sweep from its points to its rows: built, then evaluated, then measured one by one."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.errors import ArtifactError, ExportError
from exporter.latency.records import Latency, Settings
from exporter.manifest import ArtifactRecord, Manifest, installed_versions, read_manifest
from exporter.spec import Precision
from exporter.sweep import published
from exporter.sweep.building import Order, Tell, build_points
from exporter.sweep.fronts import with_fronts
from exporter.sweep.points import Point
from exporter.sweep.records import Lost, Row, Sweep
from exporter.target import ExportOptions, Target
from exporter.tasks import Task
from exporter.worker_process import Sent

if TYPE_CHECKING:
    from exporter.cache.store import Store

Say = Callable[[str], None]
FIGURES = {Task.CLASSIFICATION: "top-1", Task.DETECTION: "mAP", Task.SEGMENTATION: "mIoU"}
RATINGS = {Task.DETECTION: "map", Task.SEGMENTATION: "miou"}  # what `evaluate` calls the latter


@dataclass(frozen=True, kw_only=True)
class SweepRequest:
    """Everything that one sweep depends on."""

    points: tuple[Point, ...]
    jobs: tuple[tuple[Target, Precision], ...]
    targets: Mapping[str, Target]
    out: Path
    processes: int = 1
    calibration: tuple[Path, ...] = ()
    data: Path | None = None  # labeled images
    limit: int | None = None
    settings: Settings | None = None  # of the latency; None: it is not measured
    store: Store | None = None
    command: str = ""


def check_place(out: Path) -> None:
    """Raise ArtifactError unless sweeps can be written there; points replace earlier points."""
    if out.exists() and not out.is_dir():
        raise ArtifactError(f"{out}: exists and is not a directory", "choose another --out")
    above = next(folder for folder in (out.absolute(), *out.absolute().parents) if folder.exists())
    try:
        tempfile.TemporaryDirectory(dir=above).cleanup()
    except OSError as error:
        raise ArtifactError(
            f"{out}: cannot be written to ({error.strerror})", "choose another --out"
        ) from None


def sweep(request: SweepRequest, tell: Tell, say: Say) -> Sweep:
    """Build, evaluate and measure; `tell` hears of points, `say` of everything after them."""
    started = time.perf_counter()
    built = build_points([_order(request, p) for p in request.points], request.processes, tell)
    seconds = time.perf_counter() - started
    lost = list(built.lost)
    failed = {one.point for one in lost}
    manifests = {
        p: read_manifest(request.out / p.name) for p in request.points if p.name not in failed
    }
    for point, manifest in manifests.items():
        lost += [
            Lost(point=point.name, what=f"{f.target} {f.precision}", error=f.error)
            for f in manifest.failures
        ]
    rows = [_row(point, m, record) for point, m in manifests.items() for record in m.artifacts]
    if request.data is not None:
        rows, unrated = _evaluated(rows, manifests, request, say)
        lost += unrated
    found = Sweep(
        rows=tuple(rows),
        lost=tuple(lost),
        seconds=seconds,
        from_cache=built.from_cache,
        versions=installed_versions(),
    )
    if request.settings is not None and rows:
        found = _measured(found, request, say)
    return dataclasses.replace(found, rows=with_fronts(found.rows))


def _order(request: SweepRequest, point: Point) -> Order:
    return Order(
        point=point,
        jobs=tuple((Sent.of(target), precision) for target, precision in request.jobs),
        options=ExportOptions(),
        calibration=request.calibration,
        out=request.out / point.name,
        command=request.command,
        store=request.store,
    )


def _row(point: Point, manifest: Manifest, record: ArtifactRecord) -> Row:
    """What is known without running anything; the published accuracy is of no user's weights."""
    known = None
    if point.checkpoint is None and manifest.spec.task is Task.CLASSIFICATION:
        known = published.top1(point.width, point.resolution)
    return Row(
        point=point.name,
        width=point.width,
        resolution=point.resolution,
        artifact=record.path,
        target=record.target,
        precision=record.precision,
        size_bytes=record.size_bytes,
        sha256=record.sha256,
        parity=record.parity.outcome,
        weights="random" if point.checkpoint is None else point.checkpoint.name,
        accuracy=known,
        figure="" if known is None else FIGURES[Task.CLASSIFICATION],
        accuracy_of="" if known is None else published.LABEL,
    )


def _evaluated(
    rows: Sequence[Row], manifests: Mapping[Point, Manifest], request: SweepRequest, say: Say
) -> tuple[list[Row], list[Lost]]:
    """With the accuracy of every artifact that runs here, on the user's labeled images."""
    known: dict[tuple[str, str], float] = {}
    lost = []
    for point, manifest in manifests.items():
        say(f"evaluating {point.name}")
        try:
            found = _accuracies(request, point, manifest.spec.task)
        except ExportError as error:
            lost.append(
                Lost(point=point.name, what="accuracy", error=error.message, hint=error.hint)
            )
            continue
        known |= {(point.name, path): value for path, value in found.items()}
    tasks = {point.name: FIGURES[manifest.spec.task] for point, manifest in manifests.items()}
    label = f"evaluated on {request.data}"
    rated = [
        dataclasses.replace(
            row,
            accuracy=known[row.point, row.artifact],
            figure=tasks[row.point],
            accuracy_of=label,
        )
        if (row.point, row.artifact) in known
        else dataclasses.replace(row, accuracy=None, figure="", accuracy_of="")
        for row in rows
    ]
    return rated, lost


def _accuracies(request: SweepRequest, point: Point, task: Task) -> dict[str, float]:
    """By artifact; those that do not run here are missing."""
    from exporter.scoring.evaluate import evaluate
    from exporter.scoring.records import Score, Seen

    assert request.data is not None, "there is nothing to evaluate on"
    *_, found = evaluate(request.out / point.name, request.data, request.targets, request.limit)
    assert not isinstance(found, Seen), "the result comes last"
    values: dict[str, float] = {}
    for row in found.scores:
        if isinstance(row, Score):
            if row.top1 is not None:
                values[row.path] = row.top1.value
        elif RATINGS[task] in row.figures:
            values[row.path] = row.figures[RATINGS[task]].value
    return values


def _measured(found: Sweep, request: SweepRequest, say: Say) -> Sweep:
    """With the latency of every artifact that runs here."""
    from exporter.devices.host_facts import device, start_notes
    from exporter.sweep.latency import measure

    assert request.settings is not None, "it is not to be measured"
    notes = start_notes(request.settings.threads)
    paths = [request.out / row.point / row.artifact for row in found.rows]
    latencies = measure(paths, request.settings, request.targets, say)
    rows = [_timed(row, latencies[path]) for row, path in zip(found.rows, paths, strict=True)]
    return dataclasses.replace(
        found,
        rows=tuple(rows),
        device=device(),
        settings=dataclasses.replace(request.settings, layers=False),
        notes=notes,
    )


def _timed(row: Row, latency: Latency | str) -> Row:
    if isinstance(latency, str):
        return dataclasses.replace(row, latency_note=latency)
    return dataclasses.replace(
        row,
        latency_ms=latency.median,
        stable=latency.stable,
        latency_note="" if latency.stable else latency.verdict,
    )
