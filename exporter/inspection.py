"""Open an artifact by its path alone: which target, which spec, what inside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from exporter.errors import ArtifactError
from exporter.manifest import FILE_NAME, ArtifactRecord, read_manifest
from exporter.spec import ModelSpec
from exporter.target import Contents, Target


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """An artifact's contents with what the manifest beside it adds."""

    target: str
    contents: Contents
    spec: ModelSpec | None
    spec_origin: str  # "the artifact", "manifest.json", or "" when there is none
    record: ArtifactRecord | None


def target_of(path: Path, targets: Mapping[str, Target]) -> Target:
    """The target whose suffix a path has, the longest that fits; raises ArtifactError."""
    if not path.exists():
        raise ArtifactError(f"{path}: no such file")
    owners = {suffix: target for target in targets.values() for suffix in target.info.suffixes}
    fitting = [suffix for suffix in owners if path.name.endswith(suffix)]
    if not fitting:
        known = f"known suffixes: {', '.join(owners)}"
        raise ArtifactError(f"{path}: not an artifact by its suffix", known)
    return owners[max(fitting, key=len)]


def inspect(path: Path, targets: Mapping[str, Target]) -> Inspection:
    """Read what is inside `path` without running it."""
    target = target_of(path, targets)
    contents = target.backend.describe(path)
    record, manifest_spec = _from_manifest(path)
    spec, origin = contents.spec, "the artifact"
    if spec is None:
        spec, origin = manifest_spec, FILE_NAME if manifest_spec else ""
    return Inspection(
        target=target.info.name,
        contents=contents,
        spec=spec,
        spec_origin=origin,
        record=record,
    )


def _from_manifest(path: Path) -> tuple[ArtifactRecord | None, ModelSpec | None]:
    """The record and spec that a manifest beside `path` has for it."""
    if not (path.parent / FILE_NAME).is_file():
        return None, None
    manifest = read_manifest(path.parent)
    record = next((a for a in manifest.artifacts if a.path == path.name), None)
    return record, manifest.spec if record is not None else None
