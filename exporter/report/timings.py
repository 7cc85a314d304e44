"""The profiles of a build that were taken of the very bytes that lie there now."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from exporter.latency.records import FOLDER, ArtifactProfile, read_profile
from exporter.report.records import DeviceReport


def device_reports(build: Path, hashes: dict[str, str]) -> tuple[DeviceReport, ...]:
    """One for each file, by its name; `hashes` are the SHA-256 of the artifacts on disk by name.

    A profile of a network that is no artifact (torch eager) is kept while any of its hashes is
    one of the build's own.
    """
    paths = sorted((build / FOLDER).glob("*.json"))
    return tuple(_device_report(path, hashes) for path in paths)


def _device_report(path: Path, hashes: dict[str, str]) -> DeviceReport:
    profile = read_profile(path)
    fresh = tuple(a for a in profile.artifacts if _is_fresh(a, hashes))
    return DeviceReport(
        file=f"{FOLDER}/{path.name}",
        profile=dataclasses.replace(profile, artifacts=fresh),
        stale=tuple(a.artifact for a in profile.artifacts if a not in fresh),
    )


def _is_fresh(profile: ArtifactProfile, hashes: dict[str, str]) -> bool:
    known = hashes.get(profile.artifact)
    return profile.sha256 in hashes.values() if known is None else profile.sha256 == known
