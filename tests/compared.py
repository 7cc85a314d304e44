"""Small builds to compare: a manifest and files that hold their own name, no network inside."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from exporter.files import sha256, write_atomic
from exporter.latency.records import (
    ArtifactProfile,
    Device,
    DeviceKind,
    DeviceProfile,
    Latency,
    Measured,
    Median,
    Settings,
    Thermal,
    write_profile,
)
from exporter.manifest import ArtifactRecord, Manifest, Source, write_manifest
from exporter.spec import HeadLayer, ModelSpec, Precision, torchvision_preprocess
from exporter.verdicts import Accuracy, Outcome, Parity, Quality

SAME = Parity(outcome=Outcome.SAME, tolerance="EXACT", images=20, max_lsb=0, max_abs=0.0)
DRIFTED = Parity(outcome=Outcome.DRIFTED, tolerance="EXACT", images=20, max_lsb=9, reason="9 LSB")
NOT_RUN = Parity(outcome=Outcome.NOT_RUN, tolerance="EXACT", reason="only fakes run this")
TARGETS = {".pte": "android", ".onnx": "onnx", ".mlpackage": "ios"}


def spec(resolution: int = 96) -> ModelSpec:
    return ModelSpec(
        width=0.35,
        resolution=resolution,
        labels=("cat", "dog", "owl"),
        head=(HeadLayer(units=3),),
        preprocess=torchvision_preprocess(resolution),
    )


def record(folder: Path, name: str, size_bytes: int, **fields: object) -> ArtifactRecord:
    """An artifact of so many bytes, and its record."""
    write_atomic(folder / name, name.encode().ljust(size_bytes, b"."))
    record = ArtifactRecord(
        target=TARGETS[Path(name).suffix],
        precision=Precision.INT8,
        path=name,
        size_bytes=size_bytes,
        sha256=sha256(folder / name),
        parity=SAME,
        quality=Quality(images=32, sqnr_db=33.0, top1_agreement=0.97, kl=0.001, max_abs=0.2),
        accuracy=Accuracy(images=400, top1=0.75, top5=0.95),
    )
    return dataclasses.replace(record, **fields)  # type: ignore[arg-type]


def build(
    folder: Path,
    sizes: Mapping[str, int],
    fields: Mapping[str, Mapping[str, object]] | None = None,
    resolution: int = 96,
) -> Path:
    """A build directory of these files; `fields` replace those of their records."""
    folder.mkdir(parents=True)
    said = fields or {}
    records = tuple(record(folder, name, n, **said.get(name, {})) for name, n in sizes.items())
    manifest = Manifest(
        spec=spec(resolution),
        source=Source(name="demo", format="demo", sha256="0" * 64),
        calibration=None,
        graphs=(),
        artifacts=records,
    )
    write_manifest(manifest, folder)
    return folder


def latency(median_ms: float, spread: float = 0.01, verdict: str = "stable") -> Latency:
    low, high = median_ms * (1 - spread), median_ms * (1 + spread)
    return Latency(
        load_ms=10.0,
        first_ms=5.0,
        samples_ms=(low, median_ms, high),
        min_ms=low,
        p50_ms=median_ms,
        p90_ms=high,
        p99_ms=high,
        median=Median(value=median_ms, low=low, high=high),
        drift=0.0,
        stable=verdict == "stable",
        verdict=verdict,
    )


def profiled(folder: Path, name: str, found: Latency, device: str = "host") -> None:
    """A saved profile of one artifact on one device."""
    kind = DeviceKind.HOST if device == "host" else DeviceKind.ADB
    row = ArtifactProfile(
        artifact=name,
        target=TARGETS[Path(name).suffix],
        precision=Precision.INT8,
        sha256=sha256(folder / name),
        size_bytes=1,
        outcome=Measured.MEASURED,
        latency=found,
    )
    profile = DeviceProfile(
        device=Device(kind=kind, name="some CPU" if device == "host" else device),
        settings=Settings(),
        thermal_before=Thermal(),
        thermal_after=Thermal(),
        artifacts=(row,),
    )
    write_profile(profile, folder / "profiles" / f"{device}.json")
