"""One phone's facts, heat and room, read through adb."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass

from exporter.devices.adb import facts
from exporter.devices.adb.client import Adb
from exporter.devices.adb.facts import Battery, Core
from exporter.devices.request import Tell
from exporter.errors import DeviceError
from exporter.latency.records import Device, DeviceKind, Thermal, ThermalStatus

FOLDER = "/data/local/tmp"  # where Android lets a shell's user run programs
SPARE_BYTES = 16 << 20  # a phone without any room left misbehaves
COOL_S = 180.0  # that a hot phone is waited for
LOOK_AGAIN_S = 5.0
LOW_BATTERY = 20  # percent; below it phones slow down
COOL = (ThermalStatus.NONE, ThermalStatus.LIGHT, ThermalStatus.UNKNOWN)
CORES = (
    "for c in /sys/devices/system/cpu/cpu[0-9]*; do"
    ' echo "${c##*/} online=$(cat $c/online 2>/dev/null)'
    ' max_khz=$(cat $c/cpufreq/cpuinfo_max_freq 2>/dev/null)"; done'
)
PROPERTIES = {  # what a reader of figures asks for -> Android's names, the first that is set
    "soc": ("ro.soc.model", "ro.hardware.chipname", "ro.board.platform", "ro.hardware"),
    "android": ("ro.build.version.release",),
    "api_level": ("ro.build.version.sdk",),
    "build": ("ro.build.fingerprint",),
}


@dataclass(frozen=True, kw_only=True)
class Phone:
    """What does not change while measuring."""

    device: Device
    abis: tuple[str, ...]
    cores: tuple[Core, ...]
    has_taskset: bool
    notes: tuple[str, ...]


def read_phone(adb: Adb) -> Phone:
    """Everything that is asked of it before anything is copied."""
    properties = facts.parse_properties(adb.shell("getprop").out)
    cores = facts.parse_cores(adb.shell(CORES).out)
    battery = facts.parse_battery(adb.shell("dumpsys battery").out)
    found = {
        name: value
        for name, keys in PROPERTIES.items()
        if (value := next((properties[key] for key in keys if properties.get(key)), ""))
    }
    found |= {
        "abi": ", ".join(facts.abis(properties)),
        "cores": facts.describe_cores(cores),
        "governor": adb.shell(
            "cat /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor 2>/dev/null"
        ).out.strip(),
        "battery": _described(battery),
    }
    if memory := facts.parse_memory_bytes(adb.shell("cat /proc/meminfo").out):
        found["memory"] = f"{memory / 2**30:.1f} GiB"
    name = (
        f"{properties.get('ro.product.manufacturer', '')} {properties.get('ro.product.model', '')}"
    )
    return Phone(
        device=Device(
            kind=DeviceKind.ADB,
            name=name.strip() or adb.serial,
            serial=adb.serial,
            facts={key: value for key, value in found.items() if value},
        ),
        abis=facts.abis(properties),
        cores=cores,
        has_taskset=adb.shell("command -v taskset").code == 0,
        notes=(*_emulator(properties), *_power(adb, battery)),
    )


def read_thermal(adb: Adb) -> Thermal:
    """How hot it is now; the battery's own sensor where the thermal service names none."""
    thermal = facts.parse_thermal(adb.shell("dumpsys thermalservice").out)
    if thermal.temperatures_c:
        return thermal
    battery = facts.parse_battery(adb.shell("dumpsys battery").out)
    if battery.temperature_c is None:
        return thermal
    return dataclasses.replace(thermal, temperatures_c={"battery": battery.temperature_c})


def cooled(adb: Adb, tell: Tell) -> tuple[Thermal, tuple[str, ...]]:
    """Wait until a hot phone is not, but not for ever; returns its heat and what to note."""
    thermal = read_thermal(adb)
    if thermal.status not in COOL:
        tell(f"{adb.serial}: {thermal.status} heat; waiting up to {COOL_S:.0f} s for it to cool")
    end = time.monotonic() + COOL_S
    while thermal.status not in COOL and time.monotonic() < end:
        time.sleep(LOOK_AGAIN_S)
        thermal = read_thermal(adb)
    if thermal.status in COOL:
        return thermal, ()
    return thermal, (f"measured hot: {thermal.status} heat before the first run",)


def check_room(adb: Adb, needed_bytes: int) -> None:
    """Raise DeviceError where what is copied and its results would not fit."""
    free = facts.parse_free_bytes(adb.shell(f"df -k {FOLDER}").out)
    if free is not None and free < needed_bytes + SPARE_BYTES:
        raise DeviceError(
            f"{adb.serial}: {needed_bytes / 1e6:.0f} MB are needed in {FOLDER} and "
            f"{SPARE_BYTES / 1e6:.0f} MB to spare, {free / 1e6:.0f} MB are free",
            "free some, or name fewer artifacts: --artifact",
        )


def _described(battery: Battery) -> str:
    if battery.percent is None:
        return ""
    return f"{battery.percent} %, {battery.powered_by or 'not'} powered"


def _power(adb: Adb, battery: Battery) -> tuple[str, ...]:
    notes = []
    if battery.percent is not None and battery.percent < LOW_BATTERY:
        notes.append(f"the battery is low ({battery.percent} %): phones slow down then")
    if adb.shell("settings get global low_power 2>/dev/null").out.strip() == "1":
        notes.append("battery saver is on: switch it off for figures that mean anything")
    return tuple(notes)


def _emulator(properties: dict[str, str]) -> tuple[str, ...]:
    if "1" in (properties.get("ro.kernel.qemu"), properties.get("ro.boot.qemu")):
        return ("an emulator: its times say nothing about a phone",)
    return ()
