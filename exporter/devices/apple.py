"""Core ML packages on Apple devices: this Mac, or an iPhone or iPad connected to it.

Measured by Core ML's own tools, which coremltools brings and only macOS runs. Nothing here has
ever met a Mac: the tests stand in for `xcrun` and for Core ML.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
import platform
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from exporter.devices import apple_devices
from exporter.devices.apple_benchmark import Benchmark, benchmark
from exporter.devices.apple_sdk import coremltools
from exporter.devices.request import ProfileRequest, Tell
from exporter.errors import ArtifactError, DeviceError
from exporter.files import sha256
from exporter.graph_file import load_graph
from exporter.latency.records import (
    ArtifactProfile,
    Device,
    DeviceProfile,
    LayerTime,
    Measured,
    Thermal,
)
from exporter.manifest import ArtifactRecord, Manifest, installed_versions, read_manifest

SUFFIX = ".mlpackage"
DAMAGED = "not the bytes that were built (SHA-256 differs from the manifest)"
NEEDS_MACOS = "not run: needs macOS"
APP = "com.coremltools.modelrunnerd"  # on a device; coremltools' own name for it
TEAM = "MNV2_APPLE_TEAM"  # environment: the developer team that signs the app on a device
ESTIMATED = "times by layer are Core ML's estimates: its plan's shares of the median"
ON_DEVICE = (
    "measured without image decoding and labels: coremltools' app takes and gives arrays only",
    "each prediction is a request of its own, and the device rests in between",
)


def profile(request: ProfileRequest, device: str, tell: Tell) -> DeviceProfile:
    """Measure a build's Core ML packages; `device` names one, and empty is this Mac.

    Raises DeviceError off macOS, and where the device is not there, not ready or goes away.
    """
    if platform.system() != "Darwin":
        raise DeviceError(
            NEEDS_MACOS, "Core ML's tools run on a Mac only; `--device host` measures here"
        )
    coremltools()
    manifest = read_manifest(request.build)
    records = _chosen(manifest, request)
    with _found(device) as found:
        return asyncio.run(_profile(request, manifest, records, found, tell))


def _chosen(manifest: Manifest, request: ProfileRequest) -> tuple[ArtifactRecord, ...]:
    """The artifacts that were asked for, of which at least one is a Core ML package."""
    known = {record.path: record for record in manifest.artifacts}
    for name in request.artifacts:
        if name not in known:
            raise ArtifactError(
                f"{request.build}: no artifact {name!r}", f"it has {', '.join(known)}"
            )
    chosen = tuple(known[name] for name in request.artifacts or known)
    if not any(record.path.endswith(SUFFIX) for record in chosen):
        raise ArtifactError(
            f"{request.build}: no {SUFFIX} among {', '.join(r.path for r in chosen)}",
            "build one with --target ios",
        )
    for record in chosen:
        path = request.build / record.path
        if not path.exists():
            raise ArtifactError(f"{path}: missing", "build again")
    return chosen


async def _profile(
    request: ProfileRequest,
    manifest: Manifest,
    records: tuple[ArtifactRecord, ...],
    remote: Any | None,
    tell: Tell,
) -> DeviceProfile:
    async with _reached(remote, tell) as (device, found):
        before = _thermal(found)
        rows = []
        for record in records:
            _check_alive(found, device)
            tell(f"{record.path} on {device.name}")
            rows.append(await _measured(request, manifest, record, device, found))
        return DeviceProfile(
            device=device,
            settings=request.settings,
            thermal_before=before,
            thermal_after=_thermal(found),
            artifacts=tuple(rows),
            notes=(ESTIMATED, *(() if found is None else ON_DEVICE)),
            measured_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            versions={**installed_versions(), "macos": platform.mac_ver()[0]},
        )


@contextlib.contextmanager
def _found(name: str) -> Iterator[Any | None]:
    """coremltools' record of a device, without its app at the end; None is this Mac."""
    if not name:
        yield None
        return
    with apple_devices.devicectl_on_path():
        found = apple_devices.find(name)
        try:
            yield found
        finally:
            apple_devices.uninstall(found, APP)


@contextlib.asynccontextmanager
async def _reached(remote: Any | None, tell: Tell) -> AsyncIterator[tuple[Device, Any | None]]:
    """The schema's record, and coremltools' own of a device on which its app runs."""
    if remote is None:
        yield apple_devices.this_mac(), None
        return
    with tempfile.TemporaryDirectory() as folder:
        tell(f"installing coremltools' app on {remote.name}")
        prepared = await _prepared(remote, Path(folder))
        try:
            yield apple_devices.record(prepared), prepared
        finally:
            apple_devices.stop(prepared)


async def _prepared(found: Any, folder: Path) -> Any:
    """The device with the app running on it; Xcode builds and signs that."""
    from coremltools.models.ml_program.experimental.remote_device import AppSigningCredentials

    team = os.environ.get(TEAM, "")
    credentials = AppSigningCredentials(development_team=team, bundle_identifier=APP)
    preparing = asyncio.ensure_future(
        found.prepare_for_model_debugging(credentials=credentials, working_directory=folder)
    )
    try:
        return await asyncio.shield(preparing)
    except asyncio.CancelledError:
        # A thread waits for Xcode, and would start the app all the same.
        with contextlib.suppress(Exception):
            apple_devices.stop(await preparing)
        raise
    except Exception as error:  # whatever xcodebuild, devicectl or coremltools complain of
        raise DeviceError(
            f"{found.name}: coremltools' app cannot be put on it: {apple_devices.told(error)}",
            f"open Xcode once and sign in; set {TEAM} to your developer team's identifier",
        ) from None


def _thermal(found: Any | None) -> Thermal:
    """An iPhone does not say over devicectl."""
    return apple_devices.mac_thermal() if found is None else Thermal()


def _check_alive(found: Any | None, device: Device) -> None:
    if found is not None and not found.session.is_alive():
        raise DeviceError(
            f"{device.name}: coremltools' app stopped, or the device went away",
            "connect it, unlock it and profile again",
        )


async def _measured(
    request: ProfileRequest,
    manifest: Manifest,
    record: ArtifactRecord,
    device: Device,
    found: Any | None,
) -> ArtifactProfile:
    path = request.build / record.path
    if not record.path.endswith(SUFFIX):
        reason = f"Core ML's tools run {SUFFIX} files only"
        return _row(record, path, outcome=Measured.NOT_RUN, reason=reason)
    if sha256(path) != record.sha256:
        return _row(record, path, outcome=Measured.FAILED, reason=DAMAGED)
    try:
        result = await benchmark(path, request.settings, found)
    except Exception as error:  # Core ML's errors come as plain Exception, ValueError, RuntimeError
        _check_alive(found, device)
        return _row(record, path, outcome=Measured.FAILED, reason=apple_devices.told(error))
    return _row(
        record,
        path,
        outcome=Measured.MEASURED,
        runtime=f"Core ML of {device.facts['os']}, all compute units",
        warmup=request.settings.warmup,
        latency=result.latency,
        layers=_layers(request.build, manifest, record, result),
        notes=_notes(result),
    )


def _notes(result: Benchmark) -> tuple[str, ...]:
    placed = result.placement()
    notes = [f"operations by Core ML's plan: {placed}"] if placed else []
    if result.unplanned:
        notes.append(f"no times of layers: {result.unplanned}")
    return tuple(notes)


def _row(record: ArtifactRecord, path: Path, **measured: Any) -> ArtifactProfile:
    return ArtifactProfile(
        artifact=record.path,
        target=record.target,
        precision=record.precision,
        sha256=sha256(path),
        size_bytes=record.size_bytes,
        **measured,
    )


def _layers(
    build: Path, manifest: Manifest, record: ArtifactRecord, result: Benchmark
) -> tuple[LayerTime, ...]:
    """By the names of the reference graph, which lies in the build directory."""
    held = {graph.precision: graph.path for graph in manifest.graphs}
    place = held.get(record.precision.graph)
    if not result.operations or place is None:
        return ()
    from exporter.devices.apple_layers import layers

    return layers(result.operations, result.latency.p50_ms, load_graph(build / place))
