"""Open an artifact by its path alone: which target, which spec, what inside, top-k of an image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from exporter.errors import ArtifactError, UnsupportedError
from exporter.manifest import FILE_NAME, ArtifactRecord, read_manifest
from exporter.preprocess import load_pixels, normalize
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


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """Classes of one image, best first, with softmax probabilities."""

    image: str
    classes: tuple[tuple[str, float], ...]


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


def predict(
    path: Path, images: list[Path], targets: Mapping[str, Target], top: int
) -> list[Prediction]:
    """Top classes of each image from any artifact that runs on this machine."""
    found = inspect(path, targets)
    if found.spec is None:
        raise ArtifactError(
            f"{path}: carries no preprocessing and has no {FILE_NAME} beside it",
            "keep the artifact in the directory that `mnv2-export build` wrote",
        )
    runner = targets[found.target].backend.load(path)
    spec = found.spec
    predictions = []
    for image in images:
        pixels = load_pixels(image, spec.preprocess)
        logits = runner(normalize(pixels[None], spec.preprocess))
        predictions.append(Prediction(image=str(image), classes=_top(logits[0], spec, top)))
    return predictions


def _top(logits: np.ndarray, spec: ModelSpec, top: int) -> tuple[tuple[str, float], ...]:
    if len(logits) != spec.classes:
        raise UnsupportedError(f"the artifact gives {len(logits)} logits for {spec.classes} labels")
    shifted = np.exp(logits.astype(np.float64) - logits.max())
    probabilities = shifted / shifted.sum()
    order = np.argsort(-probabilities, kind="stable")[:top]
    return tuple((spec.label(int(i)), float(probabilities[i])) for i in order)


def _from_manifest(path: Path) -> tuple[ArtifactRecord | None, ModelSpec | None]:
    """The record and spec that a manifest beside `path` has for it."""
    if not (path.parent / FILE_NAME).is_file():
        return None, None
    manifest = read_manifest(path.parent)
    record = next((a for a in manifest.artifacts if a.path == path.name), None)
    return record, manifest.spec if record is not None else None
