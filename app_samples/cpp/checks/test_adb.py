"""`mnv2-export profile --device adb` through the real adb and the real adbd.

The phone is tests/adb/phone.sh: this machine's kernel and processor behind Debian's adbd, with
stand-ins for what only Android has (getprop, dumpsys, cmd, settings). No physical phone was used.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import BUILDS, ROOT, WORK

from exporter.devices import adb
from exporter.devices.adb import client, phone
from exporter.devices.request import ProfileRequest
from exporter.errors import DeviceError
from exporter.latency.records import DeviceProfile, Measured, Settings
from exporter.session import INTERRUPTED

REPOSITORY = Path(__file__).parents[3]
LAB = REPOSITORY / "tests" / "adb"
ADBD = ROOT / "downloads" / "adbd"
SERIAL = "127.0.0.1:5555"
SPACE = "96m"  # a bundle, its model and their results, and not much more
START_S = 20.0
FEW = Settings(iterations=20, warmup=2)


@dataclass(frozen=True)
class Phone:
    """A running one, and where it keeps what is done to it."""

    state: Path
    program: Path  # adb, in the phone's network

    @property
    def loop(self) -> int:
        """The process that starts adbd again and again."""
        return int((self.state / "pid").read_text())

    def adb(self, *words: str) -> str:
        """What adb says, whatever its exit code."""
        done = subprocess.run(
            [self.program, *words], capture_output=True, text=True, timeout=START_S, check=False
        )
        return done.stdout + done.stderr

    def shell(self, command: str) -> str:
        """What a command on the phone says."""
        return self.adb("-s", SERIAL, "shell", command)

    def connect(self) -> None:
        """Wait until it can be used."""
        end = time.monotonic() + START_S
        while self.adb("-s", SERIAL, "get-state").strip() != "device":
            assert time.monotonic() < end, (self.state / "log").read_text()
            self.adb("connect", SERIAL)
            time.sleep(0.2)

    def cut_off(self) -> None:
        """End adbd; it stays away until `come_back`."""
        (self.state / "off").touch()
        for child in Path(f"/proc/{self.loop}/task/{self.loop}/children").read_text().split():
            if b"adbd" in Path(f"/proc/{child}/cmdline").read_bytes():
                os.kill(int(child), signal.SIGKILL)

    def come_back(self) -> None:
        """Let adbd be started again."""
        (self.state / "off").unlink()

    @property
    def left(self) -> str:
        """What lies in its folder for programs."""
        return self.shell("ls /data/local/tmp")

    @property
    def performance_modes(self) -> list[str]:
        """All that were set, in order."""
        path = self.state / "seen" / "fixed_performance"
        return path.read_text().split() if path.exists() else ["false"]


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Phone]:
    """One phone for all tests, which leave it as it was."""
    state = tmp_path_factory.mktemp("phone")
    program = state / "bin" / "adb"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\nHOME={state} exec nsenter -t "$(cat {state}/pid)" -U -n'
        f' --preserve-credentials /usr/bin/adb "$@"\n'
    )
    program.chmod(0o755)
    start = ["bash", LAB / "phone.sh", ADBD, LAB / "phones" / "two_cores", state, SPACE]
    with (state / "started").open("wb") as log:
        process = subprocess.Popen(start, stdout=log, stderr=log)
    found = Phone(state, program)
    try:
        end = time.monotonic() + START_S
        while not (state / "pid").exists():
            assert process.poll() is None, (state / "started").read_text()
            assert time.monotonic() < end
            time.sleep(0.1)
        found.connect()
        yield found
    finally:
        found.adb("kill-server")
        process.kill()  # of other signals unshare takes no notice
        process.wait()


@pytest.fixture(autouse=True)
def in_order(there: Phone, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`adb` on PATH is the phone's; nothing is left on it afterwards and its mode is off."""
    monkeypatch.setenv("PATH", f"{there.program.parent}{os.pathsep}{os.environ['PATH']}")
    there.connect()
    yield
    there.connect()
    assert there.left == ""
    assert there.performance_modes[-1] == "false"


def silent(line: str) -> None:
    """Take no notice of progress."""
    del line


def profile(build: str, abi: str, settings: Settings = FEW, *artifacts: str) -> DeviceProfile:
    """With the bundle for an ABI."""
    request = ProfileRequest(
        build=BUILDS / build,
        artifacts=artifacts,
        settings=settings,
        runner=WORK / "bundles" / f"{abi}.tgz",
    )
    return adb.profile(request, SERIAL, silent)


def assert_right(found: DeviceProfile) -> None:
    """Int8 bit for bit, floats as the manifest asks, and every layer with a time."""
    for artifact in found.artifacts:
        if artifact.outcome is Measured.NOT_RUN:
            assert not artifact.artifact.endswith(".pte") or "coreml" in artifact.artifact
            continue
        assert artifact.outcome is Measured.MEASURED, artifact.reason
        assert artifact.same_results is True, artifact.comparison
        assert artifact.latency is not None
        assert len(artifact.latency.samples_ms) == found.settings.iterations
        assert artifact.latency.min_ms > 0
        assert artifact.layers, artifact.notes
        assert sum(layer.share for layer in artifact.layers) == pytest.approx(1)


@pytest.mark.parametrize("build", ["classification", "detection", "segmentation"])
def test_native(build: str) -> None:
    """Every program of a build, by a runner that reads no PNG."""
    found = profile(build, "x86_64")
    assert_right(found)
    int8, fp32 = (
        next(a for a in found.artifacts if a.artifact == f"model-{precision}.pte")
        for precision in ("int8", "fp32")
    )
    assert "0 LSB on" in int8.comparison
    assert "dB to the golden" in fp32.comparison
    assert "pinned to the fastest cores, mask 2" in found.notes
    assert found.device.facts["cores"] == "1 x 1.80 GHz, 1 x 2.80 GHz"


def test_arm64_under_emulation(there: Phone) -> None:
    """The bundle for phones: int8 equals this x86-64 bit for bit; its times mean nothing."""
    if not (there.state / "runs-arm64").exists():
        pytest.skip("this kernel lets no user register an emulator (Linux 6.7 and newer do)")
    few = Settings(iterations=3, warmup=0)
    found = profile("classification", "arm64-v8a", few, "model-int8.pte")
    assert_right(found)
    (artifact,) = found.artifacts
    assert artifact.comparison == "logits: 0 LSB on 20 images; every bit of this machine's"


def test_the_command(tmp_path: Path) -> None:
    """As a user types it; the document alone is on standard output."""
    words = ["profile", BUILDS / "classification", "--device", f"adb:{SERIAL}", "--no-layers",
             "--artifact", "model-int8.pte", "--iterations", "20", "--out", tmp_path / "p.json",
             "--runner", WORK / "bundles" / "x86_64.tgz", "--json"]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "exporter", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["artifacts"][0]["same_results"] is True
    assert json.loads((tmp_path / "p.json").read_text()) == said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(there: Phone, number: int) -> None:
    """The command is stopped while the runner runs, which is stopped, too."""
    words = ["profile", BUILDS / "classification", "--device", f"adb:{SERIAL}", "--no-layers",
             "--artifact", "model-int8.pte", "--iterations", "1000000",
             "--runner", WORK / "bundles" / "x86_64.tgz"]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "exporter", *map(str, words)],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    end = time.monotonic() + 3 * START_S
    while "benchmark" not in there.shell("cat /proc/[0-9]*/cmdline | tr '\\0' ' '"):
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.2)
    process.send_signal(number)
    _, error = process.communicate(timeout=START_S)
    assert process.returncode == INTERRUPTED
    assert error.splitlines()[-1] == "interrupted: nothing was written"
    assert there.performance_modes[-1] == "false"
    assert "ld-linux-x86-64.so.2 --library-path /data" not in there.shell(
        "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"
    )


def test_cut_off_and_back_again(there: Phone) -> None:
    """The real adbd dies between two rounds and comes back: an error, and a phone in order."""

    def tell(line: str) -> None:
        if line.startswith("round 1"):
            there.cut_off()
        if "waiting" in line:
            there.come_back()

    request = ProfileRequest(
        build=BUILDS / "classification",
        settings=FEW,
        runner=WORK / "bundles" / "x86_64.tgz",
    )
    with pytest.raises(DeviceError, match="nothing was left on it"):
        adb.profile(request, SERIAL, tell)


def test_cut_off_for_good(there: Phone, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be put back is told, with commands that do it."""
    monkeypatch.setattr(client, "BACK_S", 1.0)
    request = ProfileRequest(
        build=BUILDS / "classification",
        artifacts=("model-int8.pte",),
        settings=FEW,
        runner=WORK / "bundles" / "x86_64.tgz",
    )

    def tell(line: str) -> None:
        if line == "comparing results":
            there.cut_off()

    with pytest.raises(DeviceError, match="could not be put back") as caught:
        adb.profile(request, SERIAL, tell)
    there.come_back()
    there.connect()
    assert there.left.startswith("mnv2-")
    commands = caught.value.hint.removeprefix("when it is back: ")
    subprocess.run(["bash", "-c", commands], check=True)


def test_full_phone(there: Phone, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told before; and where the room was not known, when adbd runs out of it."""
    there.shell("head -c 80000000 /dev/zero > /data/local/tmp/filler")
    try:
        with pytest.raises(DeviceError, match="MB are free"):
            profile("classification", "x86_64")
        monkeypatch.setattr(phone, "SPARE_BYTES", -(1 << 40))  # room enough, as it seems
        with pytest.raises(DeviceError, match="no space left in /data/local/tmp"):
            profile("classification", "x86_64")
    finally:
        there.shell("rm /data/local/tmp/filler")


def test_several_devices(there: Phone) -> None:
    """The same phone by another name, which to adb is another phone."""
    other = "localhost:5555"
    assert other in there.adb("connect", other)
    request = ProfileRequest(build=BUILDS / "classification")
    try:
        with pytest.raises(DeviceError, match="devices are connected: ") as caught:
            adb.profile(request, None, silent)
    finally:
        there.adb("disconnect", other)
    assert SERIAL in caught.value.message
    assert other in caught.value.message


def test_a_program_that_does_not_start_there() -> None:
    """A plain executable whose libraries are on this machine only."""
    request = ProfileRequest(
        build=BUILDS / "classification",
        settings=FEW,
        runner=WORK / "plain" / "mnv2_runner",
    )
    with pytest.raises(DeviceError, match=r"does not start .*libexecutorch"):
        adb.profile(request, SERIAL, silent)


def test_room_is_what_df_says(there: Phone) -> None:
    """The real df and adb's real answer."""
    device = client.Adb(there.program, SERIAL)
    phone.check_room(device, 1)
    with pytest.raises(DeviceError):
        phone.check_room(device, 1 << 30)
