"""This machine: every artifact in a process of its own, all of them run in turn."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from exporter.devices.host_facts import device, start_notes, thermal
from exporter.devices.host_process import workers
from exporter.devices.host_rounds import Subject, Timing, measure
from exporter.devices.host_subjects import (
    artifact_at,
    scratch_with_image,
    subjects_in,
    why_not,
)
from exporter.devices.request import ProfileRequest, Tell
from exporter.devices.result import with_delegation
from exporter.errors import ArtifactError, DeviceError, UnsupportedError
from exporter.graph_file import load_graph
from exporter.latency.layers import layers_of
from exporter.latency.records import (
    ArtifactProfile,
    DeviceProfile,
    Measured,
    PairedLatency,
    Settings,
)
from exporter.latency.statistics import compare
from exporter.manifest import installed_versions
from exporter.target import Target

SLUG = "host"  # of the profile's file


def profile(request: ProfileRequest, targets: Mapping[str, Target], tell: Tell) -> DeviceProfile:
    """Measure a build's artifacts on this machine; raises ArtifactError for a damaged build."""
    subjects = subjects_in(request.build, request.artifacts, targets)
    notes, machine, before = start_notes(request.settings.threads), device(), thermal()
    found = _profiles(subjects, request.build, request.settings, tell)
    if all(artifact.outcome is Measured.NOT_RUN for artifact in found):
        raise UnsupportedError(
            f"{request.build}: nothing in it runs on this machine "
            f"({', '.join(f'{a.artifact}: {a.reason}' for a in found)})",
            "choose other artifacts, or another --device",
        )
    return DeviceProfile(
        device=machine,
        settings=request.settings,
        thermal_before=before,
        thermal_after=thermal(),
        artifacts=found,
        notes=notes,
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=installed_versions(),
    )


def measure_one(path: Path, target: Target, settings: Settings) -> ArtifactProfile:
    """One artifact of a build directory; raises ArtifactError where it is not one."""
    subject = artifact_at(path, {target.info.name: target})
    return _profiles([subject], path.parent, settings, lambda _: None)[0]


def measure_pairs(
    pairs: Sequence[tuple[Path, Path]],
    settings: Settings,
    targets: Mapping[str, Target],
    tell: Tell,
) -> tuple[PairedLatency, ...]:
    """Measure pairs of artifacts (a, b), both alive at once and run in turn.

    Each is fed the image of its own build. Raises ArtifactError for what is no artifact of a build
    directory, and DeviceError where one cannot be measured here: a ratio needs both.
    """
    settings = dataclasses.replace(settings, layers=False)
    return tuple(_pair(pair, settings, targets, tell) for pair in pairs)


def _pair(
    pair: tuple[Path, Path], settings: Settings, targets: Mapping[str, Target], tell: Tell
) -> PairedLatency:
    subjects = [artifact_at(path, targets) for path in pair]
    for subject in subjects:
        _require(subject, why_not(subject))
    with (
        scratch_with_image(pair[0].parent) as (scratch, of_a),
        scratch_with_image(pair[1].parent) as (_, of_b),
        workers(len(subjects), settings.threads) as started,
    ):
        a, b = (
            Timing(subject=subject, worker=worker, image=image)
            for subject, worker, image in zip(subjects, started, (of_a, of_b), strict=True)
        )
        measure([a, b], settings, scratch, tell)
    for timing in (a, b):
        if timing.problem is not None:
            raise DeviceError(f"{timing.subject.path}: {timing.problem.reason}")
    medians = [
        (statistics.median(turn_of_a), statistics.median(turn_of_b))
        for turn_of_a, turn_of_b in zip(a.rounds, b.rounds, strict=True)
    ]
    return compare(a.latency(), b.latency(), medians)


def _require(subject: Subject, unmeasured: ArtifactProfile | None) -> None:
    if unmeasured is None:
        return
    kind = ArtifactError if unmeasured.outcome is Measured.FAILED else DeviceError
    raise kind(f"{subject.path}: {unmeasured.reason}")


def _profiles(
    subjects: Sequence[Subject], build: Path, settings: Settings, tell: Tell
) -> tuple[ArtifactProfile, ...]:
    """In the order of the subjects, whatever became of each."""
    left_out = {subject.name: why_not(subject) for subject in subjects}
    able = [subject for subject in subjects if left_out[subject.name] is None]
    found = {name: reason for name, reason in left_out.items() if reason is not None}
    if able:
        with (
            scratch_with_image(build) as (scratch, image),
            workers(len(able), settings.threads) as started,
        ):
            timings = [
                Timing(subject=subject, worker=worker, image=image)
                for subject, worker in zip(able, started, strict=True)
            ]
            measure(timings, settings, scratch, tell)
        found |= {timing.subject.name: _profile(timing, settings) for timing in timings}
    return tuple(found[subject.name] for subject in subjects)


def _profile(timing: Timing, settings: Settings) -> ArtifactProfile:
    subject = timing.subject
    if timing.problem is not None:
        return subject.profile(timing.problem.outcome, timing.problem.reason)
    megabytes = timing.base_rss_bytes / 1e6
    notes = [f"{megabytes:.0f} MB of the peak were there before the file was opened"]
    complete = dataclasses.replace(
        subject.profile(Measured.MEASURED),
        runtime=timing.runtime,
        threads=timing.threads,
        warmup=settings.warmup,
        latency=timing.latency(),
        peak_rss_bytes=timing.peak_rss_bytes,
        notes=(*notes, *timing.notes),
    )
    if not subject.is_network:
        complete = with_delegation(complete, subject.path, subject.target)
    return _with_layers(complete, timing)


def _with_layers(found: ArtifactProfile, timing: Timing) -> ArtifactProfile:
    """A trace that does not fit the graph is told, and nothing is lost but the table."""
    if timing.trace is None or timing.subject.graph is None:
        return found
    try:
        layers = layers_of(timing.trace, load_graph(timing.subject.graph))
    except ArtifactError as error:
        notes = (*found.notes, f"no times of layers: {error.message}")
        return dataclasses.replace(found, notes=notes)
    return dataclasses.replace(found, layers=layers)
