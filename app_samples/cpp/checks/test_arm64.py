"""The same runner built for ARM64 and run under emulation as two phones' processors.

The processor is always named: by default the emulator turns on extensions that it gets wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import BUILDS, WORK, app, pixels_of, run
from test_results import FP32_APPS, INEXACT, INT8, arrays_in

from exporter.metrics import sqnr_db
from exporter.preprocess import load_pixels, normalize
from exporter.spec import torchvision_preprocess

CPUS = ["cortex-a53", "cortex-a76"]
RUNNER = WORK / "arm64" / "mnv2_runner"
TABLE = WORK / "arm64" / "differences.txt"
LINE = "{:<30}{:>14}{:>14}{:>14}"


def emulated(cpu: str) -> list[object]:
    """The words that start the runner."""
    return ["qemu-aarch64-static", "-cpu", cpu, "-L", "/usr/aarch64-linux-gnu", RUNNER]


@pytest.fixture(scope="module")
def rows() -> Iterator[dict[str, dict[str, str]]]:
    """What was found, by output and processor; written as a table at the end."""
    found: dict[str, dict[str, str]] = {}
    yield found
    lines = [LINE.format("against this x86-64", "self-test", *CPUS)]
    for output, by_cpu in found.items():
        cells = [by_cpu.get(cpu, "FAILED") for cpu in CPUS]
        lines.append(LINE.format(output, by_cpu.get("host", "FAILED"), *cells))
    TABLE.write_text("\n".join(lines) + "\n")


def golden_outputs(program: list[object], name: str, folder: Path) -> dict[str, np.ndarray]:
    """What a runner gives for the golden images, which must pass its self-test."""
    build = BUILDS / name.removesuffix("-fp32")
    artifact = "model-fp32.pte" if name.endswith("-fp32") else "model-int8.pte"
    done = run(
        program, "--model", build, "--artifact", artifact, "--self-test", "--dump-results", folder
    )
    assert done.code == 0, done.output + done.error
    return arrays_in(folder, name, 20)


def difference(name: str, expected: np.ndarray, actual: np.ndarray) -> str:
    """For the table: nothing at all, or how far."""
    if expected.tobytes() == actual.tobytes():
        return "0 LSB" if name in INT8 else "every bit"
    return f"{sqnr_db(expected, actual):.0f} dB"


@pytest.mark.parametrize("name", [*INT8, *FP32_APPS])
def test_golden_images(name: str, tmp_path: Path, rows: dict[str, dict[str, str]]) -> None:
    """Int8: every bit of what x86-64 gives; boxes and fp32 as near as the self-test asks."""
    done = run(app(name), "--self-test", "--dump-results", tmp_path / "host")
    host = arrays_in(tmp_path / "host", name, 20)
    for output in host:
        rows[f"{name} {output}"] = {"host": "PASS"} if done.code == 0 else {}
    for cpu in CPUS:
        found = golden_outputs(emulated(cpu), name, tmp_path / cpu)
        for output, expected in host.items():
            rows[f"{name} {output}"][cpu] = difference(name, expected, found[output])
            if name in INT8 and output not in INEXACT:
                assert found[output].tobytes() == expected.tobytes(), output
    assert done.code == 0


@pytest.mark.parametrize("cpu", CPUS)
def test_preprocessing(cpu: str, photos: list[Path], tmp_path: Path) -> None:
    """Byte for byte before normalization and bit for bit after it."""
    contract = torchvision_preprocess(224)
    found = pixels_of(emulated(cpu), tmp_path, contract, photos)
    expected = np.stack([load_pixels(path, contract) for path in photos])
    assert np.array_equal(found, expected)
    dump = tmp_path / "input"
    done = run(emulated(cpu), "--model", tmp_path / "contract", "--dump-input", dump, *photos)
    assert done.code == 0, done.error
    assert dump.read_bytes() == normalize(expected, contract).tobytes()
