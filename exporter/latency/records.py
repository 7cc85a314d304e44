"""The one schema of a profile, whatever was profiled: docs/profile.md names every field.

Times are milliseconds of the wall clock, sizes bytes, frequencies and shares plain numbers. Samples
are kept as they came, none left out, so that any figure can be computed again.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from exporter.errors import ArtifactError
from exporter.files import write_atomic
from exporter.spec import Precision

SCHEMA_VERSION = 1
FIGURES = ("load_ms", "first_ms", "min_ms", "p50_ms", "p90_ms", "p99_ms", "drift")  # of a latency
FOLDER = "profiles"  # in a build directory; one JSON file for each device


class DeviceKind(StrEnum):
    """By what an artifact was reached."""

    HOST = "host"
    ADB = "adb"
    APPLE = "apple"


class ThermalStatus(StrEnum):
    """How hot a device says it is, in Android's words (PowerManager.THERMAL_STATUS_*)."""

    NONE = "none"
    LIGHT = "light"
    MODERATE = "moderate"
    SEVERE = "severe"
    CRITICAL = "critical"
    EMERGENCY = "emergency"
    SHUTDOWN = "shutdown"
    UNKNOWN = "unknown"  # it does not say


@dataclass(frozen=True, kw_only=True)
class Thermal:
    """A device's heat at one moment."""

    status: ThermalStatus = ThermalStatus.UNKNOWN
    temperatures_c: Mapping[str, float] = field(default_factory=dict)  # by sensor


@dataclass(frozen=True, kw_only=True)
class Device:
    """What was measured on."""

    kind: DeviceKind
    name: str  # what a person calls it: "AMD EPYC 7R13, 2 cores", "Pixel 8"
    serial: str = ""  # adb's or Apple's identifier
    facts: Mapping[str, str] = field(default_factory=dict)  # cpu, cores, abi, os, governor, ...


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What was asked for."""

    threads: int = 1
    iterations: int = 50  # timed, of each artifact
    warmup: int = 5  # run before them, after the first inference
    layers: bool = True  # a table by layer too


@dataclass(frozen=True, kw_only=True)
class Median:
    """The median and where the true one lies with 95 % confidence, by order statistics."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Latency:
    """One artifact's times in one process; `exporter.latency.statistics` computes it."""

    load_ms: float  # the first in a process, from the file to ready
    first_ms: float  # the first inference
    samples_ms: tuple[float, ...]  # steady, in the order they were measured
    min_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    median: Median
    drift: float  # how much slower the last samples are than the first, as a share
    stable: bool
    verdict: str  # "stable", or why not


@dataclass(frozen=True, kw_only=True)
class PairedLatency:
    """Two artifacts run in turn by processes that are alive at the same time."""

    a: Latency
    b: Latency
    # b / a: the median of the rounds' ratios. Both halves of a round saw the same machine, so this
    # is known better than either latency.
    ratio: Median
    rounds: int
    drift: float  # of the rounds' ratios, as `Latency.drift`
    stable: bool
    verdict: str  # of the ratio: "stable", or why not


@dataclass(frozen=True, kw_only=True)
class LayerTime:
    """One layer of the model, with every operation of the runtime that computes it."""

    name: str  # the graph's tensor, such as features.1.conv.0
    block: str  # "stem", "block 3", "head", ...
    kind: str  # "conv 1x1", "depthwise 3x3", "add", "pool", "linear", "convert", "other"
    ms: float
    share: float  # of the sum over layers
    multiply_adds: int = 0
    gmacs_per_s: float | None = None  # effective; None where nothing is multiplied
    operations: tuple[str, ...] = ()  # the runtime's names


class Measured(StrEnum):
    """What became of an artifact."""

    MEASURED = "measured"
    NOT_RUN = "not run"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class ArtifactProfile:
    """One artifact on one device."""

    artifact: str  # file name in the build directory, or "torch eager" for the float network
    target: str
    precision: Precision
    sha256: str
    size_bytes: int
    outcome: Measured
    reason: str = ""  # of what was not measured
    runtime: str = ""  # "ExecuTorch 1.5.1, XNNPACK"
    threads: int = 1
    warmup: int = 0
    latency: Latency | None = None
    peak_rss_bytes: int | None = None  # of the process, at its end
    layers: tuple[LayerTime, ...] = ()
    undelegated: int | None = None  # operations outside the delegate; None where there is none
    same_results: bool | None = None  # the device's results against the host's; None: not compared
    comparison: str = ""  # "0 LSB on 20 images", or where they differ
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DeviceProfile:
    """What one `mnv2-export profile` measured."""

    device: Device
    settings: Settings
    thermal_before: Thermal
    thermal_after: Thermal
    artifacts: tuple[ArtifactProfile, ...]
    notes: tuple[str, ...] = ()  # what a reader of the figures must know
    measured_at: str = ""  # UTC, ISO 8601
    versions: Mapping[str, str] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION


def to_json(profile: DeviceProfile) -> dict[str, Any]:
    """A JSON object of plain values."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(profile)))
    return plain


def write_profile(profile: DeviceProfile, path: Path) -> None:
    """Write one device's profile; its folder is made. Raises ArtifactError."""
    text = json.dumps(to_json(profile), indent=2, sort_keys=True) + "\n"
    try:
        write_atomic(path, text.encode())
    except OSError as error:
        raise ArtifactError(
            f"{path}: cannot be written ({error.strerror})", "pass another file to --out"
        ) from None


def read_profile(path: Path) -> DeviceProfile:
    """Read what `write_profile` wrote; raises ArtifactError."""
    try:
        data = json.loads(path.read_text())
        if data["schema_version"] != SCHEMA_VERSION:
            raise ArtifactError(
                f"{path}: profile schema {data['schema_version']}, "
                f"this version reads {SCHEMA_VERSION}",
                "profile again with this version of mnv2-export",
            )
        return _profile(data)
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such profile", "run mnv2-export profile first") from None
    except (OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"{path}: damaged profile ({error})", "profile again") from None


def read_profiles(build: Path) -> tuple[DeviceProfile, ...]:
    """Every profile in a build directory, by file name; raises ArtifactError."""
    return tuple(read_profile(path) for path in sorted((build / FOLDER).glob("*.json")))


def _profile(data: dict[str, Any]) -> DeviceProfile:
    device = dict(data["device"])
    fields = dict(data)
    fields["device"] = Device(**{**device, "kind": DeviceKind(device["kind"])})
    fields["settings"] = Settings(**data["settings"])
    fields["thermal_before"] = _thermal(data["thermal_before"])
    fields["thermal_after"] = _thermal(data["thermal_after"])
    if not all(isinstance(name, str) for name in (device["name"], device["serial"])):
        raise TypeError("a device's name is no text")
    fields["artifacts"] = tuple(_artifact(a) for a in data["artifacts"])
    fields["notes"] = tuple(data["notes"])
    return DeviceProfile(**fields)


def _thermal(data: dict[str, Any]) -> Thermal:
    return Thermal(status=ThermalStatus(data["status"]), temperatures_c=data["temperatures_c"])


def _artifact(data: dict[str, Any]) -> ArtifactProfile:
    fields = dict(data)
    if not isinstance(data["artifact"], str):
        raise TypeError("an artifact's name is no text")
    fields["precision"] = Precision(data["precision"])
    fields["outcome"] = Measured(data["outcome"])
    fields["latency"] = None if data["latency"] is None else _latency(data["latency"])
    fields["layers"] = tuple(_layer(layer) for layer in data["layers"])
    fields["notes"] = tuple(data["notes"])
    return ArtifactProfile(**fields)


def _latency(data: dict[str, Any]) -> Latency:
    fields = dict(data)
    fields |= {name: float(data[name]) for name in FIGURES}
    fields["samples_ms"] = tuple(float(sample) for sample in data["samples_ms"])
    fields["median"] = Median(**{end: float(value) for end, value in data["median"].items()})
    return Latency(**fields)


def _layer(data: dict[str, Any]) -> LayerTime:
    figures = {name: float(data[name]) for name in ("ms", "share")}
    return LayerTime(**{**data, **figures, "operations": tuple(data["operations"])})
