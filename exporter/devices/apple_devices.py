"""Macs, iPhones and iPads as Core ML's tools see them: found, checked, and how hot they are."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from exporter.errors import DeviceError
from exporter.latency.records import Device, DeviceKind, Thermal, ThermalStatus

TOOL_SECONDS = 60
STOP_SECONDS = 10
TOOLS = "install Xcode 15 or later, open it once, then run: sudo xcode-select --reset"
NO_WARNING = "No thermal warning level has been recorded"  # of `pmset -g therm`
# CPU_Speed_Limit, in percent, below which a Mac is called so hot (our own reading of the figure).
LIMITS = ((70, ThermalStatus.SEVERE), (90, ThermalStatus.MODERATE), (100, ThermalStatus.LIGHT))


def this_mac() -> Device:
    """The machine that runs this program."""
    version, _, machine = platform.mac_ver()
    chip = _said(["sysctl", "-n", "machdep.cpu.brand_string"]).strip() or machine
    facts = {
        "cpu": chip,
        "cores": str(os.cpu_count()),
        "abi": machine,
        "os": f"macOS {version}",
        "model": _said(["sysctl", "-n", "hw.model"]).strip(),
    }
    return Device(kind=DeviceKind.APPLE, name=f"{chip}, this Mac", facts=facts)


def record(found: Any) -> Device:
    """A device that devicectl listed, in the words of the schema."""
    facts = {
        "type": found.type.value,
        "os": f"{found.os_version} ({found.os_build_number})",
        "udid": found.udid,
    }
    return Device(kind=DeviceKind.APPLE, name=found.name, serial=found.identifier, facts=facts)


def find(name: str) -> Any:
    """The connected device of a name, identifier or UDID, ready for use; raises DeviceError.

    What comes back is coremltools' own record, since its tools ask for one.
    """
    listed = _listed()
    fitting = [d for d in listed if name in (d.name, d.identifier, d.udid)]
    if not fitting:
        known = ", ".join(f"{d.name!r} ({d.state.value})" for d in listed)
        raise DeviceError(
            f"no Apple device is called {name!r}; devicectl lists {known or 'none'}",
            "connect it by cable, unlock it and trust this Mac; `--device apple` is this Mac",
        )
    if len(fitting) > 1:
        raise DeviceError(
            f"{len(fitting)} Apple devices are called {name!r}",
            f"name one by its identifier: {', '.join(d.identifier for d in fitting)}",
        )
    (device,) = fitting
    _check_ready(device)
    return device


@contextlib.contextmanager
def devicectl_on_path() -> Iterator[None]:
    """coremltools looks for devicectl on PATH, where Xcode does not put it."""
    found = _said(["xcrun", "--find", "devicectl"]).strip()
    if not found:
        raise DeviceError("xcrun finds no devicectl, which talks to Apple devices", TOOLS)
    before = os.environ.get("PATH", "")
    os.environ["PATH"] = os.pathsep.join([str(Path(found).parent), before])
    try:
        yield
    finally:
        os.environ["PATH"] = before


def mac_thermal() -> Thermal:
    """What `pmset -g therm` says of this Mac; it knows no temperatures."""
    return parse_thermal(_said(["pmset", "-g", "therm"]))


def parse_thermal(text: str) -> Thermal:
    """From its lines, such as "CPU_Speed_Limit = 100"."""
    limits = [line.split("=")[1] for line in text.splitlines() if "CPU_Speed_Limit" in line]
    if not limits or not limits[0].strip().isdigit():
        known = ThermalStatus.NONE if NO_WARNING in text else ThermalStatus.UNKNOWN
        return Thermal(status=known)
    percent = int(limits[0])
    status = next((s for bound, s in LIMITS if percent < bound), ThermalStatus.NONE)
    return Thermal(status=status)


def stop(device: Any) -> None:
    """End the app that coremltools started on a device."""
    device.session.stop()
    _collect(device.session._process)


def uninstall(device: Any, bundle: str) -> None:
    """Remove an app, of no consequence where it is not; a device that is gone keeps it."""
    place = ["--device", device.identifier]
    _said(["xcrun", "devicectl", "device", "uninstall", "app", *place, bundle])


def _collect(process: subprocess.Popen[bytes]) -> None:
    """coremltools never waits for the process that holds the app, nor closes its pipes."""
    try:
        process.communicate(timeout=STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def _listed() -> list[Any]:
    from coremltools.models.ml_program.experimental.remote_device import Device as Listed

    try:
        return list(Listed.get_devices())
    except Exception as error:  # its own classes are private, and a bad document is any of them
        raise DeviceError(f"devicectl lists no devices: {told(error)}", TOOLS) from None


def _check_ready(device: Any) -> None:
    from coremltools.models.ml_program.experimental.remote_device import DeviceState

    if device.developer_mode_state not in ("", "enabled"):
        raise DeviceError(
            f"{device.name}: Developer Mode is {device.developer_mode_state}",
            "turn it on: Settings > Privacy & Security > Developer Mode",
        )
    if device.state is not DeviceState.CONNECTED:
        raise DeviceError(
            f"{device.name}: {device.state.value}, not connected",
            "connect it by cable, unlock it and trust this Mac",
        )


def told(error: BaseException) -> str:
    """The first line of what a tool complains of, some of which is bytes."""
    text = getattr(error, "message", None) or str(error)
    if isinstance(text, bytes):
        text = text.decode(errors="replace")
    lines = [line.strip() for line in str(text).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _said(command: list[str]) -> str:
    """A tool's standard output; nothing where it is missing, fails or hangs."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TOOL_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout
