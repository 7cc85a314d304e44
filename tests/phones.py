"""A build directory and a phone to profile it on, both made up; see tests/adb/README.md."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from graphs import make_tiny_graph

from exporter.devices.adb import client
from exporter.files import sha256
from exporter.graph_file import save_graph
from exporter.manifest import ArtifactRecord, GraphRecord, Manifest, Source, write_manifest
from exporter.self_test import exact_test
from exporter.spec import Precision
from exporter.target import ExportOptions
from exporter.vectors import make_vectors, references, vector_images, write_vectors
from exporter.verdicts import EXACT, Outcome, Parity
from targets import android

HERE = Path(__file__).parent / "adb"
SERIAL = "FAKE0001"
REFERENCE = "int8-xnnpack"
ARM64 = 183  # ELF's number of the machine


def make_build(folder: Path, programs: tuple[str, ...] = ("model-int8.pte",)) -> Path:
    """A tiny classifier's .pte under some names, and an .onnx that no phone's runner runs."""
    graph = make_tiny_graph(0)
    side = graph.spec.resolution
    rng = np.random.default_rng(0)
    vectors = make_vectors(rng.integers(0, 256, (2, side, side, 3), np.uint8))
    found = references({Precision.INT8: graph}, vector_images(vectors, graph))
    write_vectors(folder / "golden", vectors, found)
    save_graph(graph, folder / "model-int8.graph")
    (folder / "model-int8.onnx").write_bytes(b"onnx")
    records = []
    for name in programs:
        android.emit(graph, Precision.INT8, ExportOptions(), folder / name)
        records.append(_record(folder / name, "android"))
    records.append(_record(folder / "model-int8.onnx", "onnx"))
    test = exact_test(REFERENCE, found[REFERENCE])
    records = [dataclasses.replace(record, self_test=test) for record in records]
    graphs = (GraphRecord(precision=Precision.INT8, path="model-int8.graph", sha256=""),)
    manifest = Manifest(
        spec=graph.spec,
        source=Source(name="tiny", format="test", sha256=""),
        calibration=None,
        graphs=graphs,
        artifacts=tuple(records),
        versions={"executorch": "1.5.1"},
    )
    write_manifest(manifest, folder)
    return folder


def _record(path: Path, target: str) -> ArtifactRecord:
    return ArtifactRecord(
        target=target,
        precision=Precision.INT8,
        path=path.name,
        size_bytes=path.stat().st_size,
        sha256=sha256(path),
        parity=Parity(outcome=Outcome.SAME, tolerance=EXACT.name),
    )


def make_bundle(folder: Path, machine: int = ARM64) -> Path:
    """A bundle whose program claims a machine and whose start is the fake runner."""
    (folder / "lib").mkdir(parents=True)
    (folder / "lib" / "mnv2_runner").write_bytes(elf_head(machine))
    runner = HERE / "fake_runner.py"
    (folder / "run.sh").write_text(f'exec "{sys.executable}" -I -S "{runner}" "$@"\n')
    return folder


def elf_head(machine: int) -> bytes:
    """The first bytes of a program."""
    return b"\x7fELF\x02\x01\x01" + bytes(11) + machine.to_bytes(2, "little")


@dataclass(frozen=True)
class FakePhone:
    """The folder that stands for a phone, and the environment in which `adb` finds it."""

    home: Path

    @property
    def data(self) -> list[str]:
        """What lies in /data/local/tmp."""
        return sorted(path.name for path in (self.home / "root/data/local/tmp").iterdir())

    @property
    def log(self) -> list[str]:
        """The commands so far."""
        return (self.home / "log").read_text().splitlines()

    def state(self, name: str) -> list[str]:
        """Lines that a stand-in kept."""
        path = self.home / "state" / name
        return path.read_text().split() if path.exists() else []

    def put(self, name: str, text: str) -> None:
        """Write a file that a stand-in reads."""
        (self.home / "state" / name).write_text(text)

    def spoil_runner(self, **how: Any) -> None:
        """See fake_runner.py."""
        self.put("runner.json", json.dumps(how))

    def fail(self, match: str, how: str, *, nth: int = 1, returns: bool = True) -> None:
        """See fake_adb.py."""
        plan = {"match": match, "how": how, "nth": nth, "returns": returns}
        (self.home / "plan.json").write_text(json.dumps(plan))

    def list_devices(self, lines: str) -> None:
        """What `adb devices -l` prints below its title."""
        (self.home / "devices.txt").write_text(lines)


def make_phone(
    home: Path, monkeypatch: Any, name: str = "pixel", *, as_program: bool = False
) -> FakePhone:
    """Put a fake `adb` on PATH whose phone is one of tests/adb/phones.

    Unless `as_program`, what would start it calls it as a function, which is ten times faster.
    """
    for part in ("bin", "state", "root/data/local/tmp", "root/sys/devices/system/cpu"):
        (home / part).mkdir(parents=True)
    phone = HERE / "phones" / name
    for index, khz in enumerate((phone / "max_khz.txt").read_text().split()):
        folder = home / f"root/sys/devices/system/cpu/cpu{index}/cpufreq"
        folder.mkdir(parents=True)
        (folder / "cpuinfo_max_freq").write_text(khz + "\n")
    for tool in (HERE / "bin").iterdir():
        shutil.copy(tool, home / "bin")
    script = HERE / "fake_adb.py"
    (home / "bin" / "adb").write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "{script}" "$@"\n')
    (home / "bin" / "adb").chmod(0o755)
    monkeypatch.setenv("PATH", f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_ADB", str(home))
    monkeypatch.setenv("PHONE", str(phone))
    monkeypatch.setenv("PHONE_STATE", str(home / "state"))
    if not as_program:
        monkeypatch.setattr(client, "_output", _as_function(home))
    return FakePhone(home)


def _as_function(home: Path) -> Callable[..., client.Reply]:
    spec = importlib.util.spec_from_file_location("fake_adb", HERE / "fake_adb.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    fake = module.FakeAdb(home)

    def output(program: Path, *words: str, timeout_s: float = 0) -> client.Reply:
        assert program == home / "bin" / "adb"
        code, out, err = fake.run(list(words))
        return client.Reply(code=code, out=out, err=err)

    return output
