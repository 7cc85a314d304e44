"""Two builds side by side: what became larger, slower, less right, or another model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from exporter.comparison.latency import Timing, Timings
from exporter.comparison.records import Change, Compared, Comparison, Figure, Side
from exporter.errors import ArtifactError
from exporter.files import sha256
from exporter.intervals import wilson
from exporter.latency.records import DeviceProfile
from exporter.manifest import ArtifactRecord, Manifest, read_manifest
from exporter.verdicts import Accuracy, Score

LABELS_SHOWN = 3
Figures = Mapping[str, tuple[Figure, ...]]  # by artifact


@dataclass(frozen=True, kw_only=True)
class Build:
    """A build directory whose files are what its manifest says."""

    folder: Path
    manifest: Manifest
    undelegated: Mapping[str, int | str]  # by artifact, or why they could not be counted
    profiles: tuple[DeviceProfile, ...] = ()
    accuracy: Figures | None = None  # measured now, instead of what the manifest has

    @property
    def records(self) -> dict[str, ArtifactRecord]:
        """By file name."""
        return {record.path: record for record in self.manifest.artifacts}


def read_build(folder: Path) -> Manifest:
    """A build's manifest, once every file is proved to be what it says; raises ArtifactError."""
    manifest = read_manifest(folder)
    for record in manifest.artifacts:
        path = folder / record.path
        if not path.exists():
            raise ArtifactError(f"{path}: missing", "build again")
        if sha256(path) != record.sha256:
            raise ArtifactError(
                f"{path}: not the bytes that were built (SHA-256 differs from the manifest)",
                "its figures would be another file's: build again, or restore the file",
            )
    return manifest


def compare(base: Build | None, new: Build, timings: Timings, notes: tuple[str, ...]) -> Comparison:
    """Match artifacts by file name; the base's order, then what is new."""
    before = {} if base is None else base.records
    names = dict.fromkeys((*before, *new.records))
    if base is not None and before.keys().isdisjoint(new.records):
        notes = (*notes, "the builds share no artifact by name: nothing to compare")
    return Comparison(
        base="" if base is None else str(base.folder),
        new=str(new.folder),
        model=described(new.manifest),
        changes=() if base is None else changes(base.manifest, new.manifest),
        artifacts=tuple(_compared(base, new, name, timings.get(name, Timing())) for name in names),
        notes=notes,
    )


def described(manifest: Manifest) -> str:
    """The model in a line."""
    spec = manifest.spec
    return f"{spec.network} {spec.width:g} at {spec.resolution} px, {spec.classes} classes"


def changes(base: Manifest, new: Manifest) -> tuple[Change, ...]:
    """What is another model, input or tool; a change of the weights is the usual reason to look."""
    told_base, told_new = _identity(base), _identity(new)
    return tuple(
        Change(what=what, base=told_base.get(what, "-"), new=told_new.get(what, "-"))
        for what in dict.fromkeys((*told_base, *told_new))
        if told_base.get(what) != told_new.get(what)
    )


def _identity(manifest: Manifest) -> dict[str, str]:
    spec, calibration = manifest.spec, manifest.calibration
    labels = ", ".join(spec.labels[:LABELS_SHOWN])
    contract = {name: str(value) for name, value in spec.preprocess.to_json().items()}
    return {
        "task": str(spec.task),
        "width": f"{spec.width:g}",
        "resolution": f"{spec.resolution} px",
        "classes": str(spec.classes),
        "labels": f"{labels}, ..." if len(spec.labels) > LABELS_SHOWN else labels,
        **{f"preprocessing, {name}": value for name, value in contract.items()},
        "weights": f"{manifest.source.name} {manifest.source.sha256[:12]}",
        "calibration": "none" if calibration is None else calibration.sha256[:12],
        **{f"option {name}": str(value) for name, value in manifest.options.items()},
        **{f"version of {name}": value for name, value in manifest.versions.items()},
    }


def _compared(base: Build | None, new: Build, name: str, timing: Timing) -> Compared:
    old = None if base is None else base.records.get(name)
    record = new.records.get(name) or old
    assert record is not None, "a name comes from one of them"
    before = _side(base, name, timing, new=False) if base is not None else None
    return Compared(
        artifact=name,
        target=record.target,
        precision=record.precision,
        base=before,
        new=_side(new, name, timing, new=True),
        latency=timing.ratios,
        unmeasured=timing.reason,
    )


def _side(build: Build, name: str, timing: Timing, *, new: bool) -> Side | None:
    record = build.records.get(name)
    if record is None:
        return None
    outside = build.undelegated.get(name)
    return Side(
        size_bytes=record.size_bytes,
        sha256=record.sha256,
        parity=record.parity,
        quality=record.quality,
        accuracy=_accuracy(build, record),
        undelegated=None if isinstance(outside, str) else outside,
        uncounted=outside if isinstance(outside, str) else "",
        latency=timing.new if new else timing.base,
    )


def _accuracy(build: Build, record: ArtifactRecord) -> tuple[Figure, ...]:
    if build.accuracy is not None:
        return build.accuracy.get(record.path, ())
    return () if record.accuracy is None else figures(record.accuracy)


def figures(score: Score) -> tuple[Figure, ...]:
    """A manifest's score; Wilson's interval where the figure is a share of images."""
    values = dataclasses.asdict(score)
    images = values.pop("images")
    found = []
    for name, value in values.items():
        low = high = None
        if isinstance(score, Accuracy):
            interval = wilson(round(value * images), images)
            low, high = 100 * interval.low, 100 * interval.high
        found.append(Figure(name=name, percent=100 * value, images=images, low=low, high=high))
    return tuple(found)
