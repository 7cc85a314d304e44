"""What Android's tools print, read without a phone: properties, heat, battery, cores, space."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from exporter.latency.records import Thermal, ThermalStatus

STATUSES = tuple(ThermalStatus)  # PowerManager.THERMAL_STATUS_*, in the order of its numbers
MACHINES = {183: "arm64-v8a", 40: "armeabi-v7a", 62: "x86_64", 3: "x86", 243: "riscv64"}  # ELF's
ALMOST_ALIKE = 0.95  # of the frequency of the fastest core of a cluster


@dataclass(frozen=True, kw_only=True)
class Battery:
    """As far as the phone says."""

    percent: int | None = None
    powered_by: str = ""  # "USB", "AC", "wireless"; empty: nothing
    temperature_c: float | None = None


@dataclass(frozen=True, kw_only=True)
class Core:
    """One that is switched on."""

    index: int
    max_khz: int | None  # None where the phone does not let one read it


def parse_properties(text: str) -> dict[str, str]:
    """`getprop`: lines of [name]: [value]; a value may have several lines."""
    return dict(re.findall(r"^\[([^\]\n]+)\]: \[(.*?)\]\s*$", text, re.MULTILINE | re.DOTALL))


def parse_thermal(text: str) -> Thermal:
    """`dumpsys thermalservice`; the sensors' values of now where both cached and these are given.

    An Android before 10 has no such service: its status is unknown.
    """
    status = re.search(r"^\s*Thermal Status:\s*(\d+)", text, re.MULTILINE)
    current = text.partition("Current temperatures from HAL")[2] or text
    current = current.partition("Current cooling devices")[0]
    values = {}
    for inside in re.findall(r"Temperature\{([^}]*)\}", current):
        pairs = dict(part.strip().split("=", 1) for part in inside.split(",") if "=" in part)
        if "mName" in pairs and (value := _number(pairs.get("mValue", ""))) is not None:
            values[pairs["mName"]] = round(value, 1)
    number = int(status[1]) if status else len(STATUSES)
    return Thermal(
        status=STATUSES[number] if number < len(STATUSES) else ThermalStatus.UNKNOWN,
        temperatures_c=values,
    )


def parse_battery(text: str) -> Battery:
    """`dumpsys battery`; temperatures are in tenths of a degree."""
    values = dict(re.findall(r"^\s*([A-Za-z ]+): (.*?)\s*$", text, re.MULTILINE))
    level, scale = _number(values.get("level", "")), _number(values.get("scale", "100"))
    sources = [
        name.removesuffix(" powered")
        for name, value in values.items()
        if name.endswith(" powered") and value == "true"
    ]
    tenths = _number(values.get("temperature", ""))
    return Battery(
        percent=None if level is None or not scale else round(100 * level / scale),
        powered_by=" and ".join(sources),
        temperature_c=None if tenths is None else tenths / 10,
    )


def parse_cores(text: str) -> tuple[Core, ...]:
    """Lines of `cpu3 online=1 max_khz=2850000`; a value that cannot be read is empty."""
    cores = []
    for index, online, khz in re.findall(r"^cpu(\d+) online=(\d*) max_khz=(\d*)", text, re.M):
        if online != "0":  # cpu0 often has no such file: it cannot be switched off
            cores.append(Core(index=int(index), max_khz=int(khz) if khz else None))
    return tuple(sorted(cores, key=lambda core: core.index))


def big_cores(cores: Sequence[Core], threads: int) -> tuple[int, ...]:
    """The fastest clusters that have a core for each thread; none where all cores are alike.

    Empty, too, where a frequency is unknown: pinning to the wrong ones would be worse.
    """
    if not cores or any(core.max_khz is None for core in cores):
        return ()
    left = sorted(cores, key=lambda core: -(core.max_khz or 0))
    chosen: list[Core] = []
    while left and len(chosen) < threads:
        fastest = left[0].max_khz or 0
        chosen += [core for core in left if (core.max_khz or 0) >= ALMOST_ALIKE * fastest]
        left = [core for core in left if core not in chosen]
    return tuple(sorted(core.index for core in chosen)) if left else ()


def mask(indices: Sequence[int]) -> str:
    """As `taskset` takes it: f0 is the cores 4 to 7."""
    return f"{sum(1 << index for index in indices):x}"


def describe_cores(cores: Sequence[Core]) -> str:
    """Such as 4 x 1.70 GHz, 4 x 2.37 GHz, 1 x 2.91 GHz."""
    counts = Counter(core.max_khz for core in cores)
    parts = [
        f"{count} x {khz / 1e6:.2f} GHz" if khz else f"{count} of unknown frequency"
        for khz, count in sorted(counts.items(), key=lambda item: item[0] or 0)
    ]
    return ", ".join(parts)


def parse_free_bytes(text: str) -> int | None:
    """`df -k FOLDER`; a long name of a file system may stand on a line of its own."""
    words = text.split()
    free = words[-3] if len(words) >= 3 else ""
    return 1024 * int(free) if free.isdigit() else None


def parse_memory_bytes(text: str) -> int | None:
    """`/proc/meminfo`: all of it."""
    total = re.search(r"^MemTotal:\s*(\d+) kB", text, re.MULTILINE)
    return 1024 * int(total[1]) if total else None


def parse_fixed_performance(text: str) -> bool | None:
    """`dumpsys power`, where it tells whether the mode is on; most phones do not."""
    found = re.search(r"fixed_?\s?performance\w*\s*[=:]\s*(true|false)", text, re.IGNORECASE)
    return None if found is None else found[1].lower() == "true"


def abis(properties: Mapping[str, str]) -> tuple[str, ...]:
    """What the phone can run, best first."""
    listed = properties.get("ro.product.cpu.abilist") or properties.get("ro.product.cpu.abi", "")
    return tuple(abi for abi in listed.split(",") if abi)


def elf_abi(head: bytes) -> str | None:
    """The ABI that a program's first bytes name; None where it is no ELF program."""
    if len(head) < 20 or head[:4] != b"\x7fELF":
        return None
    machine = int.from_bytes(head[18:20], "little")
    return MACHINES.get(machine, f"ELF machine {machine}")


def _number(text: str) -> float | None:
    """None where it is none: a sensor that is switched off reads NaN."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
