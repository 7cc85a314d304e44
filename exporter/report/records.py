"""Everything that a report says, whatever its format: docs/report.md names every field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from exporter.latency.records import DeviceProfile
from exporter.manifest import ArtifactRecord, Manifest
from exporter.target import LayerInfo, TensorInfo
from exporter.verdicts import Outcome

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What was proved, in one sentence and in numbers."""

    outcome: Outcome  # same only if every artifact and pair is
    headline: str
    sentence: str
    same: int
    drifted: int
    not_run: int
    failed: int  # targets that wrote nothing


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure of accuracy; a share, 0 to 1."""

    name: str  # "top-1", "mAP", ...
    value: float
    low: float | None = None  # of the 95 % interval, where the figure has one by formula
    high: float | None = None
    points: float | None = None  # more than the float model's, in percentage points


@dataclass(frozen=True, kw_only=True)
class Snippet:
    """Code that loads an artifact; nobody's labels or paths are in it but the artifact's name."""

    title: str  # "Kotlin, ExecuTorch"
    language: str
    code: str


@dataclass(frozen=True, kw_only=True)
class Inside:
    """What an artifact holds; without a reason it was read from disk."""

    format: str = ""
    delegation: str = ""
    inputs: tuple[TensorInfo, ...] = ()
    outputs: tuple[TensorInfo, ...] = ()
    operations: int = 0
    largest: tuple[LayerInfo, ...] = ()  # by the bytes of their constants, in the format's names
    notes: tuple[str, ...] = ()
    not_read: str = ""


@dataclass(frozen=True, kw_only=True)
class ArtifactReport:
    """One artifact, as built and as it lies on disk now."""

    record: ArtifactRecord  # its parity is drift where the bytes are not those that were built
    changed: bool
    deflated_bytes: int  # what an app's download grows by, about
    figures: tuple[Figure, ...]
    inside: Inside
    snippets: tuple[Snippet, ...]


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer of the reference graph that the artifacts were emitted from."""

    name: str
    block: str
    kind: str
    size_bytes: int  # of its weights, scales and bias; an activation has none
    multiply_adds: int
    sqnr_db: float | None = None  # of its int8 result to the float one's


@dataclass(frozen=True, kw_only=True)
class Signal:
    """How `Layer.sqnr_db` was measured."""

    images: int
    available: int  # golden images that there are
    not_measured: str = ""  # why there is none


@dataclass(frozen=True, kw_only=True)
class Contract:
    """From a photo to the input tensor."""

    steps: tuple[str, ...]
    expression: str
    scale: tuple[float, ...]
    bias: tuple[float, ...]
    input_quantization: Mapping[str, float | int] | None


@dataclass(frozen=True, kw_only=True)
class DeviceReport:
    """One device's profile without what was measured of other bytes than these."""

    file: str
    profile: DeviceProfile
    stale: tuple[str, ...] = ()  # names of the artifacts that were left out


@dataclass(frozen=True, kw_only=True)
class Report:
    """All of it."""

    manifest: Manifest  # artifacts and pairs as they are now
    verdict: Verdict
    float_figures: tuple[Figure, ...]
    artifacts: tuple[ArtifactReport, ...]
    layers: tuple[Layer, ...]  # of the int8 graph, or of the float one where there is no other
    signal: Signal
    contract: Contract
    devices: tuple[DeviceReport, ...]
    schema_version: int = SCHEMA_VERSION
