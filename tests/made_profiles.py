"""Profiles that no device measured, for tests of what reads them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from exporter.graph import QuantizedGraph, multiply_adds
from exporter.graph_file import load_graph
from exporter.latency.blocks import block_of, kind_of, layers_in
from exporter.latency.records import (
    FOLDER,
    ArtifactProfile,
    Device,
    DeviceKind,
    DeviceProfile,
    LayerTime,
    Measured,
    Settings,
    Thermal,
    ThermalStatus,
    write_profile,
)
from exporter.latency.statistics import summarize
from exporter.manifest import ArtifactRecord, read_manifest
from exporter.spec import Precision

SECONDS = {Precision.INT8: 0.7, Precision.FP16: 1.4, Precision.FP32: 1.9}  # thousandths


def samples(median: float, *, drift: float = 0.0, count: int = 50) -> list[float]:
    """Skewed as times are: a floor, a ripple and a few outliers; the same at every call."""
    return [
        median
        * (1 + 0.02 * math.sin(1.7 * i) + (0.35 if i % 17 == 11 else 0.0) + drift * i / count)
        for i in range(count)
    ]


def layer_times(graph: QuantizedGraph, total_ms: float) -> tuple[LayerTime, ...]:
    """In proportion to the work, with something that belongs to no layer."""
    costs = {op.output: 20_000 + multiply_adds(op, graph) for op in layers_in(graph)}
    unit = 0.96 * total_ms / sum(costs.values())
    layers = [
        LayerTime(
            name=op.output,
            block=block_of(op.output, graph.spec.task),
            kind=kind_of(op),
            ms=unit * costs[op.output],
            share=unit * costs[op.output] / total_ms,
            multiply_adds=multiply_adds(op, graph),
            gmacs_per_s=multiply_adds(op, graph) / (unit * costs[op.output]) / 1e6 or None,
            operations=("made up",),
        )
        for op in layers_in(graph)
    ]
    rest = LayerTime(name="convert", block="", kind="convert", ms=0.04 * total_ms, share=0.04)
    return (*layers, rest)


def artifact_profile(
    build: Path, record: ArtifactRecord, *, factor: float = 1.0, drift: float = 0.0
) -> ArtifactProfile:
    """An artifact that was measured, its layers too where it is int8."""
    median = factor * SECONDS[record.precision] * (1 + 0.1 * (len(record.target) % 4))
    graph = load_graph(build / f"model-{record.precision.graph}.graph")
    return ArtifactProfile(
        artifact=record.path,
        target=record.target,
        precision=record.precision,
        sha256=record.sha256,
        size_bytes=record.size_bytes,
        outcome=Measured.MEASURED,
        runtime=f"made up for {record.target}",
        warmup=5,
        latency=summarize(samples(median, drift=drift), load_ms=9.5, first_ms=3 * median),
        peak_rss_bytes=88_000_000,
        layers=layer_times(graph, median) if record.precision is Precision.INT8 else (),
        same_results=True if factor > 1 else None,
        comparison="0 LSB on 20 images" if factor > 1 else "",
    )


def host_profile(build: Path) -> DeviceProfile:
    """Every artifact: the last one drifts, Core ML is not run."""
    records = read_manifest(build).artifacts
    return _profile(
        Device(
            kind=DeviceKind.HOST,
            name="Made-up CPU, 2 cores",
            facts={"cores": "2", "os": "Linux 6", "governor": "performance"},
        ),
        tuple(_host_artifacts(build, records)),
        Thermal(),
    )


def _host_artifacts(build: Path, records: tuple[ArtifactRecord, ...]) -> Iterator[ArtifactProfile]:
    for record in records:
        if record.target == "ios":
            yield ArtifactProfile(
                artifact=record.path,
                target=record.target,
                precision=record.precision,
                sha256=record.sha256,
                size_bytes=record.size_bytes,
                outcome=Measured.NOT_RUN,
                reason="Core ML needs macOS",
            )
        else:
            yield artifact_profile(build, record, drift=0.3 if record is records[-1] else 0.0)


def phone_profile(build: Path) -> DeviceProfile:
    """The Android artifacts on a warm phone."""
    records = [r for r in read_manifest(build).artifacts if r.target == "android"]
    return _profile(
        Device(
            kind=DeviceKind.ADB,
            name="Made-up phone",
            serial="MADEUP01",
            facts={"abi": "arm64-v8a", "android": "16", "mask": "f0"},
        ),
        tuple(artifact_profile(build, record, factor=2.5) for record in records),
        Thermal(status=ThermalStatus.LIGHT, temperatures_c={"CPU": 51.2, "SKIN": 39.0}),
    )


def _profile(
    device: Device, artifacts: tuple[ArtifactProfile, ...], heat: Thermal
) -> DeviceProfile:
    return DeviceProfile(
        device=device,
        settings=Settings(),
        thermal_before=heat,
        thermal_after=heat,
        artifacts=artifacts,
        notes=("no machine measured this",),
        measured_at="2026-01-02T03:04:05Z",
    )


def write_profiles(build: Path) -> None:
    """`profiles/host.json` and `profiles/adb-MADEUP01.json`."""
    write_profile(host_profile(build), build / FOLDER / "host.json")
    write_profile(phone_profile(build), build / FOLDER / "adb-MADEUP01.json")
