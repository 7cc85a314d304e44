"""What Android's tools print; the texts are written after the formats, see tests/adb/README.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.devices.adb.facts import (
    Core,
    abis,
    big_cores,
    describe_cores,
    elf_abi,
    mask,
    parse_battery,
    parse_cores,
    parse_fixed_performance,
    parse_free_bytes,
    parse_memory_bytes,
    parse_properties,
    parse_thermal,
)
from exporter.latency.records import ThermalStatus

PHONES = Path(__file__).parent / "adb" / "phones"


def text(phone: str, name: str) -> str:
    return (PHONES / phone / f"{name}.txt").read_text()


def cores(phone: str) -> tuple[Core, ...]:
    lines = text(phone, "max_khz").split()
    return tuple(Core(index=index, max_khz=int(khz)) for index, khz in enumerate(lines))


def test_properties_of_several_lines() -> None:
    found = parse_properties(text("pixel", "getprop"))
    assert found["ro.product.model"] == "Pixel 8"
    assert found["persist.sys.multi"] == "first line\nsecond line"
    assert found["ro.product.cpu.abilist32"] == ""
    assert parse_properties("[a]: [[x]: [y]]\r\n[b]: [2]\r\n")["b"] == "2"


def test_abis() -> None:
    """An old phone names only its first one."""
    found = {
        name: abis(parse_properties(text(name, "getprop"))) for name in ("samsung", "android8")
    }
    assert found["samsung"] == ("arm64-v8a", "armeabi-v7a", "armeabi")
    assert found["android8"] == ("arm64-v8a",)
    assert abis({}) == ()


def test_heat_is_what_the_sensors_say_now() -> None:
    """Not what was cached; a sensor that is off reads NaN; thresholds are no temperatures."""
    found = parse_thermal(text("pixel", "thermalservice"))
    assert found.status is ThermalStatus.NONE
    assert found.temperatures_c == {"VIRTUAL-SKIN": 32.7, "battery": 30.2, "BIG": 41.0}


def test_a_throttled_phone() -> None:
    found = parse_thermal(text("samsung", "thermalservice"))
    assert found.status is ThermalStatus.MODERATE
    assert found.temperatures_c["SKIN"] == 41.3


@pytest.mark.parametrize(
    "said", ["Can't find service: thermalservice\n", "", "Thermal Status: 9\n", "Thermal Status: x"]
)
def test_heat_that_is_not_told(said: str) -> None:
    assert parse_thermal(said).status is ThermalStatus.UNKNOWN


def test_cached_temperatures_where_there_are_no_others() -> None:
    said = text("pixel", "thermalservice").partition("HAL Ready")[0]
    assert parse_thermal(said).temperatures_c == {"VIRTUAL-SKIN": 31.1, "battery": 29.0}


def test_battery() -> None:
    """Some makers add lines of their own."""
    pixel, samsung = (parse_battery(text(name, "battery")) for name in ("pixel", "samsung"))
    assert (pixel.percent, pixel.powered_by, pixel.temperature_c) == (83, "USB", 30.2)
    assert (samsung.percent, samsung.powered_by, samsung.temperature_c) == (14, "", 37.0)
    assert parse_battery("Can't find service: battery").percent is None


@pytest.mark.parametrize(
    ("phone", "threads", "expected"),
    [
        ("pixel", 1, "100"),
        ("pixel", 2, "1f0"),
        ("pixel", 5, "1f0"),
        ("pixel", 6, "0"),
        ("samsung", 1, "f0"),  # 2.81 and 2.91 GHz are one cluster to a program
        ("samsung", 4, "f0"),
        ("android8", 1, "0"),
    ],
)
def test_mask_of_the_fastest_cores(phone: str, threads: int, expected: str) -> None:
    """Whole clusters until each thread has a core; none where that is all of them."""
    assert mask(big_cores(cores(phone), threads)) == expected


def test_cores_that_are_off_or_tell_nothing() -> None:
    said = "cpu0 online= max_khz=1800000\ncpu1 online=1 max_khz=2800000\ncpu2 online=0 max_khz=\n"
    found = parse_cores(said)
    assert [core.index for core in found] == [0, 1]
    assert mask(big_cores(found, 1)) == "2"
    assert describe_cores(found) == "1 x 1.80 GHz, 1 x 2.80 GHz"
    unknown = parse_cores("cpu0 online=1 max_khz=\ncpu1 online=1 max_khz=2800000\n")
    assert big_cores(unknown, 1) == ()
    assert parse_cores("sh: syntax error") == ()
    assert big_cores((), 1) == ()


def test_free_space() -> None:
    """A long name of a file system may push its figures to the next line."""
    title = "Filesystem              1K-blocks     Used Available Use% Mounted on\n"
    assert parse_free_bytes(title + "/dev/block/dm-41 111 11 100 10% /data\n") == 102400
    long = "/dev/block/bootdevice/by-name/userdata\n                 111 11 100 10% /data\n"
    assert parse_free_bytes(title + long) == 102400
    assert parse_free_bytes("df: /data/local/tmp: Permission denied") is None


def test_memory() -> None:
    assert parse_memory_bytes("MemTotal:        7843132 kB\nMemFree: 1 kB\n") == 7843132 * 1024
    assert parse_memory_bytes("") is None


def test_performance_mode_is_known_only_where_it_is_told() -> None:
    assert parse_fixed_performance(text("pixel", "power")) is None
    assert parse_fixed_performance("  mFixedPerformanceMode=true\n") is True
    assert parse_fixed_performance("  fixed_performance: false\n") is False


def test_programs_name_their_machine() -> None:
    head = b"\x7fELF\x02\x01\x01" + bytes(11)
    assert elf_abi(head + b"\xb7\x00") == "arm64-v8a"
    assert elf_abi(head + b"\x3e\x00") == "x86_64"
    assert elf_abi(head + b"\x08\x00") == "ELF machine 8"
    assert elf_abi(b"#!/bin/sh\n# long enough to be one") is None
    assert elf_abi(b"\x7fELF") is None
