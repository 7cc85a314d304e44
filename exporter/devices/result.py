"""What becomes of a profile: where it is saved, and whether a command that made it succeeded."""

from __future__ import annotations

import dataclasses
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from exporter.errors import ArtifactError, ExportError
from exporter.latency.records import (
    FOLDER,
    ArtifactProfile,
    DeviceKind,
    DeviceProfile,
    Measured,
)
from exporter.target import Target

UNSAFE = re.compile(r"[^A-Za-z0-9.-]+")  # in a file name, whatever a device calls itself


def place_of(found: DeviceProfile, build: Path) -> Path:
    """The file in a build directory that holds a device's last profile."""
    device = found.device
    name = device.serial or device.name
    slug = device.kind if device.kind is DeviceKind.HOST else f"{device.kind}-{name}"
    return build / FOLDER / f"{UNSAFE.sub('-', slug).strip('-')}.json"


def with_delegation(found: ArtifactProfile, path: Path, target: Target) -> ArtifactProfile:
    """A measured artifact with how much of it runs outside of its delegate."""
    try:
        contents = target.backend.describe(path)
    except ExportError as error:
        return dataclasses.replace(found, notes=(*found.notes, error.message))
    return dataclasses.replace(found, undelegated=contents.undelegated)


def with_delegations(
    found: DeviceProfile, build: Path, targets: Mapping[str, Target]
) -> DeviceProfile:
    """For a device module that is given no targets; the files are the same as on the device."""
    artifacts = tuple(
        with_delegation(row, build / row.artifact, targets[row.target])
        if row.outcome is Measured.MEASURED
        else row
        for row in found.artifacts
    )
    return dataclasses.replace(found, artifacts=artifacts)


def check_out(out: Path | None, build: Path) -> None:
    """Raise ArtifactError, before minutes of measuring, where a profile cannot be written."""
    path = build / FOLDER / "profile.json" if out is None else out
    if path.is_dir():
        raise ArtifactError(f"{path}: is a directory", "pass the name of a JSON file to --out")
    nearest = next(parent for parent in path.absolute().parents if parent.exists())
    if not nearest.is_dir():
        raise ArtifactError(f"{path}: lies below a file", "pass another --out")
    if out is None and nearest not in (build.absolute(), path.absolute().parent):
        return  # no build: told by who reads it
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise ArtifactError(
            f"{nearest}: cannot be written to ({error.strerror})", "pass another file to --out"
        ) from None


def objection(found: DeviceProfile) -> ExportError | None:
    """What a command must fail with: an artifact that was to be measured and could not be."""
    failed = [f"{a.artifact}: {a.reason}" for a in found.artifacts if a.outcome is Measured.FAILED]
    if not failed:
        return None
    return ArtifactError(f"not measured: {'; '.join(failed)}", "the others were, and are saved")
