"""What `compare` is asked for, and how its figures are gathered: read, counted, run, evaluated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.comparison.budget import Budget
from exporter.comparison.compare import Build, Figures, compare, read_build
from exporter.comparison.latency import Timings, from_profiles, in_turn, merged, stale
from exporter.comparison.records import Comparison, Figure
from exporter.devices.request import Tell
from exporter.errors import ArtifactError, ExportError
from exporter.latency.records import Settings, read_profiles
from exporter.manifest import Manifest
from exporter.target import Target

if TYPE_CHECKING:
    from exporter.scoring.records import Found, Rating, Score


@dataclass(frozen=True, kw_only=True)
class CompareRequest:
    """One `mnv2-export compare`."""

    new: Path
    base: Path | None = None  # None: `new` is looked at alone
    budget: Budget | None = None
    latency: bool = True  # run both in turn on this machine; else its saved profiles
    iterations: int = 200
    threads: int = 1
    data: Path | None = None  # labeled images to evaluate both on
    limit: int | None = None


def run(request: CompareRequest, targets: Mapping[str, Target], tell: Tell) -> Comparison:
    """Raises ArtifactError for a build that is not what its manifest says."""
    new = _build(request.new, request, targets, tell)
    if request.base is None:
        timings = _from_profiles(None, new)
        return compare(None, new, timings, _notes((new,)))
    if request.base.resolve() == request.new.resolve():
        raise ArtifactError(
            f"{request.base}: compared with itself", "pass two build directories, or one alone"
        )
    base = _build(request.base, request, targets, tell)
    return compare(base, new, _timings(request, base, new, targets, tell), _notes((base, new)))


def _build(
    folder: Path, request: CompareRequest, targets: Mapping[str, Target], tell: Tell
) -> Build:
    tell(f"checking {folder}")
    manifest = read_build(folder)
    accuracy = None
    if request.data is not None:
        tell(f"evaluating {folder}")
        accuracy = _accuracy(folder, request.data, targets, request.limit)
    return Build(
        folder=folder,
        manifest=manifest,
        undelegated=_undelegated(folder, manifest, request.budget, targets),
        profiles=read_profiles(folder),
        accuracy=accuracy,
    )


def _undelegated(
    folder: Path, manifest: Manifest, budget: Budget | None, targets: Mapping[str, Target]
) -> dict[str, int | str]:
    """Counted in the files that a budget limits: opening them takes a runtime's SDK."""
    counts: dict[str, int | str] = {}
    for record in manifest.artifacts:
        if budget is None or budget.limits(record.path).max_undelegated_ops is None:
            continue
        try:
            contents = targets[record.target].backend.describe(folder / record.path)
        except ExportError as error:
            counts[record.path] = error.message
        except KeyError:
            counts[record.path] = f"target {record.target!r} is not known to this version"
        else:
            if contents.undelegated is not None:
                counts[record.path] = contents.undelegated
    return counts


def _timings(
    request: CompareRequest, base: Build, new: Build, targets: Mapping[str, Target], tell: Tell
) -> Timings:
    """This machine's from runs in turn where they are asked for, all others from profiles."""
    saved = _from_profiles(base, new)
    if not request.latency:
        return saved
    builds = (base.folder, base.manifest), (new.folder, new.manifest)
    settings = Settings(threads=request.threads, iterations=request.iterations, layers=False)
    return merged(in_turn(builds, settings, targets, tell), saved)


def _from_profiles(base: Build | None, new: Build) -> Timings:
    old = None if base is None else (base.manifest, base.profiles)
    return from_profiles(old, (new.manifest, new.profiles))


def _notes(builds: tuple[Build, ...]) -> tuple[str, ...]:
    """Profiles that are of other files than lie there now."""
    return tuple(
        f"{build.folder}: profile of {row} is of an older build and not used"
        for build in builds
        for row in stale(build.manifest, build.profiles)
    )


def _accuracy(
    folder: Path, data: Path, targets: Mapping[str, Target], limit: int | None
) -> Figures:
    from exporter.scoring.evaluate import evaluate
    from exporter.scoring.records import FLOAT, Seen

    found: Found | None = None
    for event in evaluate(folder, data, targets, limit):
        if not isinstance(event, Seen):
            found = event
    assert found is not None, "an evaluation ends in its result"
    return {row.path: _figures(row, found.images) for row in found.scores if row.path != FLOAT}


def _figures(row: Score | Rating, images: int) -> tuple[Figure, ...]:
    from exporter.scoring.records import Rating

    if isinstance(row, Rating):
        intervals = dict(row.figures)
    else:
        known = {"top1": row.top1, "top5": row.top5}
        intervals = {name: value for name, value in known.items() if value is not None}
    return tuple(
        Figure(
            name=name,
            percent=100 * interval.value,
            images=images,
            low=100 * interval.low,
            high=100 * interval.high,
        )
        for name, interval in intervals.items()
    )
