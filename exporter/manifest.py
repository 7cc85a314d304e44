"""manifest.json: what was built, from what, by which versions, and how it was proved.

The schema is documented in docs/manifest.md; `SCHEMA_VERSION` grows when a field changes its
meaning or goes away. The file holds no time and no machine name, so equal builds write equal
manifests.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import platform
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from exporter.errors import ArtifactError, UnsupportedError
from exporter.files import write_atomic
from exporter.self_test import OutputTest, SelfTest
from exporter.spec import ModelSpec, Precision
from exporter.verdicts import (
    SCORES,
    Gate,
    Metric,
    Outcome,
    Pair,
    Parity,
    Quality,
    Quantization,
    QuantizationStage,
    Score,
)

FILE_NAME = "manifest.json"
SCHEMA_VERSION = 1
PACKAGES = (
    "mnv2-export",
    "torch",
    "executorch",
    "coremltools",
    "onnx",
    "onnxruntime",
    "ai-edge-litert",
    "numpy",
    "pillow",
)


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where the weights came from."""

    name: str  # file name, or "demo"
    format: str
    sha256: str
    detected: tuple[dict[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The images that set the ranges."""

    images: int
    sha256: str
    origin: str


@dataclass(frozen=True, kw_only=True)
class GraphRecord:
    """A reference graph beside the artifacts."""

    precision: Precision
    path: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class ArtifactRecord:
    """One file (or package directory) that a target wrote, and its proof."""

    target: str
    precision: Precision
    path: str
    size_bytes: int
    sha256: str
    parity: Parity
    quality: Quality | None = None
    accuracy: Score | None = None
    self_test: SelfTest | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A target that wrote nothing."""

    target: str
    precision: Precision
    error: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The whole record; see docs/manifest.md."""

    spec: ModelSpec
    source: Source
    calibration: Calibration | None
    graphs: tuple[GraphRecord, ...]
    artifacts: tuple[ArtifactRecord, ...]
    failures: tuple[Failure, ...] = ()
    pairs: tuple[Pair, ...] = ()
    float_accuracy: Score | None = None
    normalize: dict[str, Any] = field(default_factory=dict)
    input_quantization: dict[str, float | int] | None = None
    quantization: Quantization | None = None  # of a build that trained
    golden_sha256: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    command: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    @property
    def drifted(self) -> tuple[str, ...]:
        """Names of artifacts and pairs that failed parity."""
        artifacts = [a.path for a in self.artifacts if a.parity.outcome is Outcome.DRIFTED]
        pairs = [f"{p.a} against {p.b}" for p in self.pairs if p.outcome is Outcome.DRIFTED]
        return (*artifacts, *pairs)


def installed_versions() -> dict[str, str]:
    """Python and the packages whose versions can change an artifact."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def to_json(manifest: Manifest) -> dict[str, Any]:
    """A JSON object of plain values."""
    data = dataclasses.asdict(manifest)
    data["spec"] = manifest.spec.to_json()
    plain: dict[str, Any] = json.loads(json.dumps(data))
    return plain


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write `manifest.json` into a build directory."""
    text = json.dumps(to_json(manifest), indent=2, sort_keys=True)
    write_atomic(folder / FILE_NAME, (text + "\n").encode())


def read_manifest(folder: Path) -> Manifest:
    """Read a build directory's manifest; raises ArtifactError."""
    path = folder / FILE_NAME
    try:
        data = json.loads(path.read_text())
        if data["schema_version"] != SCHEMA_VERSION:
            raise ArtifactError(
                f"{path}: schema version {data['schema_version']}, "
                f"this version reads {SCHEMA_VERSION}",
                "build again with this version of mnv2-export",
            )
        return _from_json(data)
    except FileNotFoundError:
        raise ArtifactError(
            f"{folder}: no {FILE_NAME} here", "pass the directory that `mnv2-export build` wrote"
        ) from None
    except NotADirectoryError:
        raise ArtifactError(f"{folder}: not a build directory") from None
    except (OSError, KeyError, TypeError, ValueError, UnsupportedError) as error:
        raise ArtifactError(f"{path}: damaged manifest ({error})", "build again") from None


def _from_json(data: dict[str, Any]) -> Manifest:
    fields = dict(data)
    fields["spec"] = ModelSpec.from_json(data["spec"])
    fields["source"] = _record(Source, data["source"])
    fields["calibration"] = _optional(Calibration, data["calibration"])
    _check_names(part["path"] for part in (*data["graphs"], *data["artifacts"]))
    fields["graphs"] = tuple(_record(GraphRecord, g) for g in data["graphs"])
    fields["artifacts"] = tuple(_artifact(a) for a in data["artifacts"])
    fields["failures"] = tuple(_record(Failure, f) for f in data["failures"])
    fields["pairs"] = tuple(_record(Pair, p) for p in data["pairs"])
    fields["float_accuracy"] = _score(data["float_accuracy"])
    trained = data.get("quantization")  # absent before 0.2
    fields["quantization"] = None if trained is None else quantization_from_json(trained)
    return Manifest(**fields)


def _check_names(paths: Iterable[str]) -> None:
    """Files of a build lie in its directory: a manifest must not lead anywhere else."""
    for path in paths:
        if path in ("", ".", "..") or "/" in path or "\\" in path:
            raise ValueError(f"{path!r} is not a file name")


def _artifact(data: dict[str, Any]) -> ArtifactRecord:
    fields = dict(data)
    fields["parity"] = _parity(data["parity"])
    fields["quality"] = _optional(Quality, data["quality"])
    fields["accuracy"] = _score(data["accuracy"])
    fields["self_test"] = _self_test(data.get("self_test"))  # absent before 0.2
    record: ArtifactRecord = _record(ArtifactRecord, fields)
    return record


def _self_test(data: dict[str, Any] | None) -> SelfTest | None:
    if data is None:
        return None
    outputs = tuple(_record(OutputTest, output) for output in data["outputs"])
    return SelfTest(reference=data["reference"], outputs=outputs)


def _parity(data: dict[str, Any]) -> Parity:
    parity: Parity = _record(Parity, data)
    gates = tuple(_record(Gate, gate) for gate in data.get("gates", ()))
    outputs = {name: _parity(part) for name, part in data.get("outputs", {}).items()}
    return dataclasses.replace(parity, gates=gates, outputs=outputs)


def _score(data: dict[str, Any] | None) -> Score | None:
    """The record that has these fields: one for each task."""
    if data is None:
        return None
    for kind in SCORES.values():
        if data.keys() == {field.name for field in dataclasses.fields(kind)}:
            score: Score = _record(kind, data)
            return score
    raise ValueError(f"no score has the fields {', '.join(sorted(data))}")


def quantization_from_json(data: dict[str, Any]) -> Quantization:
    """What `dataclasses.asdict` made of a Quantization, through JSON."""
    stages = tuple(
        QuantizationStage(
            name=stage["name"],
            quality=Quality(**stage["quality"]),
            kept=stage["kept"],
            accuracy=_score(stage.get("accuracy")),
        )
        for stage in data["stages"]
    )
    metric = Metric(data.get("metric", Metric.SQNR))  # absent before 0.2
    return Quantization(
        stages=stages, settings=data["settings"], metric=metric, built=data.get("built", "")
    )


def _optional(kind: type, data: dict[str, Any] | None) -> Any:
    return None if data is None else _record(kind, data)


def _record(kind: type, data: dict[str, Any]) -> Any:
    """A dataclass from JSON: lists become tuples, and enums their members."""
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
    if "precision" in fields:
        fields["precision"] = Precision(fields["precision"])
    if "outcome" in fields:
        fields["outcome"] = Outcome(fields["outcome"])
    return kind(**fields)
