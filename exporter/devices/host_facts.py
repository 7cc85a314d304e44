"""What this machine is, and how hot it is: read from /proc and /sys where they are."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from pathlib import Path

from exporter.latency.records import Device, DeviceKind, Thermal, ThermalStatus

ROOT = Path("/")
# Instruction sets that the runtimes have kernels for.
FEATURES = (
    "avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8",
    "asimd", "asimddp", "i8mm", "sve", "bf16",
)  # fmt: skip
MILLIDEGREES = 1000.0
# Names of a thermal zone's limits, and what passing one means.
LIMITS = {
    "passive": ThermalStatus.LIGHT,
    "active": ThermalStatus.LIGHT,
    "hot": ThermalStatus.SEVERE,
    "critical": ThermalStatus.CRITICAL,
}
BUSY = 0.5  # of all cores; a load average above it is told


def cores() -> int:
    """Those that this process may use (`exporter.threads` says so too, but imports torch)."""
    available = getattr(os, "sched_getaffinity", None)
    return len(available(0)) if available else os.cpu_count() or 1


def device(root: Path = ROOT) -> Device:
    """The machine, with the facts that latency depends on."""
    info = _cpu_info(root)
    model = info.get("model name") or info.get("Model") or platform.processor() or "unknown CPU"
    flags = (info.get("flags") or info.get("Features") or "").split()
    governor = _text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    facts = {
        "cpu": model,
        "cores": str(cores()),
        "features": ", ".join(name for name in FEATURES if name in flags),
        "governor": governor,
        "machine": platform.machine(),
        "os": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load average": _load_text(),
    }
    count = f"{cores()} core{'s' * (cores() != 1)}"
    return Device(
        kind=DeviceKind.HOST,
        name=f"{model}, {count}",
        facts={name: value for name, value in facts.items() if value},
    )


def start_notes(threads: int) -> tuple[str, ...]:
    """Warnings: other programs that use the cores already, more threads than cores."""
    notes = []
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load > BUSY * cores():
        notes.append(
            f"other programs were running: load average {load:.1f} on {cores()} cores at the start"
        )
    if threads > cores():
        notes.append(f"{threads} threads share {cores()} cores")
    return tuple(notes)


def thermal(root: Path = ROOT) -> Thermal:
    """Every sensor; a status only where a limit is known to compare with."""
    temperatures: dict[str, float] = {}
    reached: list[ThermalStatus] = []
    for zone in sorted(root.glob("sys/class/thermal/thermal_zone*")):
        value = _number(zone / "temp")
        if value is None:
            continue
        temperatures[_text(zone / "type") or zone.name] = value / MILLIDEGREES
        limits = list(_limits(zone))
        if limits:
            passed = [status for limit, status in limits if value >= limit]
            reached.append(max(passed, key=list(ThermalStatus).index, default=ThermalStatus.NONE))
    for sensor in sorted(root.glob("sys/class/hwmon/hwmon*/temp*_input")):
        value = _number(sensor)
        if value is not None:
            label = _text(sensor.with_name(sensor.name.replace("_input", "_label")))
            name = " ".join(filter(None, (_text(sensor.parent / "name"), label or sensor.stem)))
            temperatures[name] = value / MILLIDEGREES
    status = max(reached, key=list(ThermalStatus).index, default=ThermalStatus.UNKNOWN)
    return Thermal(status=status, temperatures_c=temperatures)


def _limits(zone: Path) -> Iterator[tuple[float, ThermalStatus]]:
    for kind in sorted(zone.glob("trip_point_*_type")):
        limit = _number(kind.with_name(kind.name.replace("_type", "_temp")))
        status = LIMITS.get(_text(kind))
        if limit is not None and limit > 0 and status is not None:
            yield limit, status


def _cpu_info(root: Path) -> dict[str, str]:
    """The first processor's entries."""
    lines = _text(root / "proc/cpuinfo").split("\n\n")[0].splitlines()
    pairs = (line.partition(":") for line in lines)
    return {name.strip(): value.strip() for name, _, value in pairs}


def _load_text() -> str:
    if not hasattr(os, "getloadavg"):
        return ""
    return " ".join(f"{load:.2f}" for load in os.getloadavg())


def _number(path: Path) -> float | None:
    try:
        return float(_text(path))
    except ValueError:
        return None


def _text(path: Path) -> str:
    """A file's text, or nothing where it is not there or cannot be read."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
