"""A profile over adb on a phone that is a folder of this machine, and every way that it may fail.

What adb and adbd themselves do is proved by `app_samples/cpp/checks/test_adb.py`.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import invoke
from phones import SERIAL, FakePhone, elf_head, make_build, make_bundle, make_phone

from exporter.devices import adb
from exporter.devices.adb import changes, client, phone, runner
from exporter.devices.request import ProfileRequest
from exporter.errors import ArtifactError, DeviceError, MissingDependencyError
from exporter.latency.records import DeviceKind, DeviceProfile, Measured, Settings, ThermalStatus
from targets import android

TWO = ("a.pte", "b.pte")
QUICK = Settings(iterations=10, warmup=1, layers=False)


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_build(tmp_path_factory.mktemp("build"), TWO)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("runner") / "bundle")


@pytest.fixture
def pixel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakePhone:
    monkeypatch.setattr(client, "BACK_S", 0.5)
    monkeypatch.setattr(phone, "LOOK_AGAIN_S", 0.01)
    monkeypatch.setattr(phone, "COOL_S", 0.2)
    return make_phone(tmp_path / "phone", monkeypatch)


@pytest.fixture
def through_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakePhone:
    """The same phone, but `adb` is started as a process."""
    return make_phone(tmp_path / "phone", monkeypatch, as_program=True)


Profile = Callable[..., DeviceProfile]


@pytest.fixture
def profile(build: Path, bundle: Path) -> Profile:
    """Profile one program with the bundle; what was told is in its attribute `told`."""

    def run(serial: str | None = None, **changed: object) -> DeviceProfile:
        asked = {"build": build, "artifacts": ("a.pte",), "settings": QUICK, "runner": bundle}
        return adb.profile(ProfileRequest(**(asked | changed)), serial, told.append)  # type: ignore[arg-type]

    told: list[str] = []
    run.told = told  # type: ignore[attr-defined]
    return run


def assert_in_order(pixel: FakePhone) -> None:
    """Nothing is left on the phone and its mode is off again."""
    assert pixel.data == []
    assert pixel.state("fixed_performance")[-1:] in ([], ["false"])


# What it measures.


def test_one_program(through_a_program: FakePhone, profile: Profile) -> None:
    pixel = through_a_program
    found = profile(SERIAL)
    assert (found.device.kind, found.device.name) == (DeviceKind.ADB, "Google Pixel 8")
    assert found.device.serial == SERIAL
    assert found.device.facts["soc"] == "Tensor G3"
    assert found.device.facts["cores"] == "4 x 1.70 GHz, 4 x 2.37 GHz, 1 x 2.91 GHz"
    assert found.device.facts["battery"] == "83 %, USB powered"
    assert found.thermal_before.status is ThermalStatus.NONE
    assert found.thermal_after.temperatures_c["battery"] == 30.2
    (artifact,) = found.artifacts
    assert artifact.outcome is Measured.MEASURED
    assert artifact.latency is not None
    assert len(artifact.latency.samples_ms) == 10
    assert artifact.same_results is True
    assert artifact.comparison == "logits: 0 LSB on 6 images; every bit of this machine's"
    assert "pinned to the fastest cores, mask 100" in found.notes
    assert pixel.state("fixed_performance") == ["true", "false"]
    assert set(pixel.state("masks")) == {"100"}
    assert_in_order(pixel)


def test_several_take_turns(pixel: FakePhone, profile: Profile) -> None:
    """In several starts each, every second round backwards; all samples are kept in order."""
    found = profile(artifacts=())
    a, b = "a.pte", "b.pte"
    assert pixel.state("starts") == [a, b, b, a, a, b, b, a]
    first, second, onnx = found.artifacts
    assert first.latency is not None
    assert [int(ms) for ms in first.latency.samples_ms] == [1] * 3 + [4] * 3 + [5] * 2 + [8] * 2
    assert (first.latency.load_ms, first.latency.first_ms) == (10.0, 2.0)
    assert first.peak_rss_bytes == 8000
    assert second.latency is not None
    assert second.latency.load_ms == 20.0
    assert onnx.outcome is Measured.NOT_RUN
    assert "no runner for adb" in onnx.reason
    assert not first.latency.stable  # of 10 samples that rise


def test_results_that_differ_are_no_match(pixel: FakePhone, profile: Profile) -> None:
    """By the bytes that were pulled, although the runner itself calls them right."""
    pixel.spoil_runner(flip=True)
    (artifact,) = profile().artifacts
    assert artifact.outcome is Measured.MEASURED
    assert artifact.same_results is False
    assert "first other at image 1" in artifact.comparison


@pytest.mark.parametrize(
    ("code", "reason"),
    [(6, "model.pte: refused"), (132, "the runner was ended by SIGILL"), (137, "SIGKILL")],
)
def test_an_artifact_that_the_runner_refuses(
    pixel: FakePhone, profile: Profile, code: int, reason: str
) -> None:
    pixel.spoil_runner(code=code)
    (artifact,) = profile().artifacts
    assert artifact.outcome is Measured.FAILED
    assert reason in artifact.reason
    assert artifact.latency is None
    assert_in_order(pixel)


def test_a_trace_that_nobody_can_read_costs_the_layers_only(
    pixel: FakePhone, profile: Profile
) -> None:
    (artifact,) = profile(settings=Settings(iterations=3, warmup=0)).artifacts
    assert artifact.outcome is Measured.MEASURED
    assert artifact.layers == ()
    assert artifact.notes[0].startswith("no table by layer")


# Heat, battery, performance.


def test_a_hot_phone_is_waited_for(
    pixel: FakePhone, profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(phone, "COOL_S", 60.0)  # it cools at the third look, whenever that is
    pixel.put("heat", "3\n2\n1\n")
    found = profile()
    assert any("severe heat; waiting" in line for line in profile.told)  # type: ignore[attr-defined]
    assert found.thermal_before.status is ThermalStatus.LIGHT
    assert not any("hot" in note for note in found.notes)


def test_not_for_ever(pixel: FakePhone, profile: Profile) -> None:
    pixel.put("heat", "3\n")
    found = profile()
    assert "measured hot: severe heat before the first run" in found.notes
    (artifact,) = found.artifacts
    assert artifact.latency is not None
    assert artifact.latency.verdict == "unstable: severe heat while measuring"


def test_a_phone_that_throttles_while_measuring(pixel: FakePhone, profile: Profile) -> None:
    pixel.put("heat", "0\n2\n0\n")
    (artifact,) = profile().artifacts
    assert artifact.latency is not None
    assert not artifact.latency.stable
    assert artifact.latency.verdict == "unstable: moderate heat while measuring"


def test_a_phone_with_little_to_offer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: Profile
) -> None:
    """An old Android without thermal service, performance mode or faster cores: all is noted."""
    old = make_phone(tmp_path / "phone", monkeypatch, "android8")
    found = profile()
    assert found.thermal_before.status is ThermalStatus.UNKNOWN
    assert found.thermal_before.temperatures_c == {"battery": 28.5}
    assert [note.partition(":")[0] for note in found.notes] == [
        "not pinned to cores",
        "no fixed-performance mode on this device",
    ]
    assert old.data == []


def test_a_phone_in_a_bad_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: Profile
) -> None:
    monkeypatch.setattr(phone, "COOL_S", 0.0)
    samsung = make_phone(tmp_path / "phone", monkeypatch, "samsung")
    notes = " ".join(profile().notes)
    for words in ("battery is low (14 %)", "battery saver is on", "measured hot: moderate heat"):
        assert words in notes
    assert samsung.state("fixed_performance") == ["true"]  # refused: nothing to put back


# Devices that cannot be used.


@pytest.mark.parametrize(
    ("listed", "message", "hint"),
    [
        ("", "no device is connected", "USB debugging"),
        (f"{SERIAL} unauthorized usb:1-1", "is unauthorized", "allow USB debugging"),
        (f"{SERIAL} offline usb:1-1", "is offline", "adb reconnect"),
        (f"{SERIAL} no permissions (udev); see [http://x]", "is no permissions", "udev"),
        (f"{SERIAL} recovery usb:1-1", "is recovery", "into Android"),
        (
            f"{SERIAL} device model:A\nFAKE0002 device model:B",
            f"2 devices are connected: {SERIAL} (A), FAKE0002 (B)",
            f"--device adb:{SERIAL}",
        ),
    ],
)
def test_no_usable_device(
    pixel: FakePhone, profile: Profile, listed: str, message: str, hint: str
) -> None:
    pixel.list_devices(listed + "\n" if listed else "")
    with pytest.raises(DeviceError) as caught:
        profile()
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_the_usable_one_of_several(
    pixel: FakePhone, profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by the variable that adb itself reads."""
    pixel.list_devices(f"FAKE0002 unauthorized usb:1-2\n{SERIAL} device model:A\n")
    assert profile().device.serial == SERIAL
    with pytest.raises(DeviceError, match="FAKE0002: the device is unauthorized"):
        profile("FAKE0002")
    monkeypatch.setenv("ANDROID_SERIAL", "FAKE0003")
    with pytest.raises(DeviceError, match="FAKE0003: adb knows no such device") as caught:
        profile()
    assert SERIAL in caught.value.hint


def test_adb_that_tells_no_exit_codes(pixel: FakePhone, profile: Profile) -> None:
    """Every command would look like a success."""
    (pixel.home / "features.txt").write_text("cmd\n")
    with pytest.raises(DeviceError, match="does not tell exit codes"):
        profile()


def test_no_adb(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, profile: Profile) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in client.PLATFORM_TOOLS:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(MissingDependencyError, match="adb is not installed"):
        profile()
    tools = tmp_path / "sdk" / "platform-tools"
    tools.mkdir(parents=True)
    (tools / "adb").write_text("#!/bin/sh\necho cannot connect to daemon >&2; exit 1\n")
    (tools / "adb").chmod(0o755)
    monkeypatch.setenv("ANDROID_HOME", str(tmp_path / "sdk"))
    with pytest.raises(DeviceError, match="adb: cannot connect to daemon"):
        profile()


# Lost in the middle.

STEPS = ("getprop", "df -k", "mkdir", "push", "--help", "dumpsys power", "mode-enabled true",
         "thermalservice", "--benchmark", "--self-test", "pull", "mode-enabled false")  # fmt: skip


@pytest.mark.parametrize("step", STEPS)
def test_lost_and_back_again(pixel: FakePhone, profile: Profile, step: str) -> None:
    """One clear error, and a phone that comes back is put in order."""
    pixel.fail(step, "lost")
    with pytest.raises(DeviceError) as caught:
        profile()
    assert SERIAL in caught.value.message
    if step != "mode-enabled false":  # then it is the putting back itself that was cut off
        assert_in_order(pixel)


@pytest.mark.parametrize("step", ["push", "--benchmark", "mode-enabled false"])
def test_lost_for_good(pixel: FakePhone, profile: Profile, step: str) -> None:
    """The commands that put it back in order are told, and do so."""
    pixel.fail(step, "lost", returns=False)
    with pytest.raises(DeviceError) as caught:
        profile()
    assert "could not be put back" in caught.value.message
    assert len(pixel.data) == 1
    (pixel.home / "gone").unlink()
    script = caught.value.hint.removeprefix("when it is back: ")
    subprocess.run(["bash", "-c", script], check=True)
    assert_in_order(pixel)


def test_a_connection_that_breaks(pixel: FakePhone, profile: Profile) -> None:
    """adb says 255 and nothing more, which is no exit code of the runner."""
    pixel.fail("--benchmark", "broken")
    with pytest.raises(DeviceError, match="the connection broke while measuring"):
        profile()
    assert_in_order(pixel)


def test_a_phone_that_does_not_answer(
    through_a_program: FakePhone, profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixel = through_a_program
    monkeypatch.setattr("exporter.devices.adb.measure.RUN_S", 0.5)
    monkeypatch.setattr("exporter.devices.adb.measure.INFERENCE_S", 0.0)
    pixel.fail("--benchmark", "silent")
    with pytest.raises(DeviceError, match=f"{SERIAL}: adb shell: no answer within"):
        profile()
    assert_in_order(pixel)


@pytest.mark.parametrize("when", ["copying", "comparing"])
def test_interrupted(pixel: FakePhone, build: Path, bundle: Path, when: str) -> None:
    """Ctrl-C leaves nothing behind."""

    def interrupt(line: str) -> None:
        if line.startswith(when):
            raise KeyboardInterrupt

    request = ProfileRequest(build=build, artifacts=("a.pte",), settings=QUICK, runner=bundle)
    with pytest.raises(KeyboardInterrupt):
        adb.profile(request, None, interrupt)
    assert_in_order(pixel)


def test_asked_to_end(pixel: FakePhone, build: Path, bundle: Path) -> None:
    """As a job that is cancelled: like Ctrl-C; the signal's handler is what it was before."""

    def end(line: str) -> None:
        if line.startswith("comparing"):
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    request = ProfileRequest(build=build, artifacts=("a.pte",), settings=QUICK, runner=bundle)
    with pytest.raises(KeyboardInterrupt):
        adb.profile(request, None, end)
    assert_in_order(pixel)
    assert signal.getsignal(signal.SIGTERM) == before


def test_what_still_runs_there_is_stopped(pixel: FakePhone) -> None:
    """A runner whose start was interrupted goes on by itself."""
    folder = pixel.home / "root/data/local/tmp/mnv2-x"
    folder.mkdir()
    process = subprocess.Popen(["sleep", "60"], cwd=folder)
    (folder / "pid").write_text(f"{process.pid}\n")
    device = client.Adb(pixel.home / "bin" / "adb", SERIAL)
    with changes.undone(device, print) as made:
        made.take_folder("/data/local/tmp/mnv2-x")
    assert process.wait(timeout=5) == -9
    assert pixel.data == []


def test_what_has_its_number_by_now_is_not_stopped(pixel: FakePhone) -> None:
    """After a restart the phone counts from the beginning."""
    folder = pixel.home / "root/data/local/tmp/mnv2-x"
    folder.mkdir()
    device = client.Adb(pixel.home / "bin" / "adb", SERIAL)
    with subprocess.Popen(["sleep", "60"]) as process:
        (folder / "pid").write_text(f"{process.pid}\n")
        with changes.undone(device, print) as made:
            made.take_folder("/data/local/tmp/mnv2-x")
        assert process.poll() is None
        process.kill()
    assert pixel.data == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_interrupts_the_putting_back(
    through_a_program: FakePhone, build: Path, bundle: Path, number: int, tmp_path: Path
) -> None:
    """An impatient second Ctrl-C, which a terminal sends to adb as well."""
    pixel = through_a_program
    real = pixel.home / "bin" / "adb"
    real.rename(real.with_name("adb.real"))
    # It is this test's process that gets the signal, and adb itself, while the folder is removed.
    real.write_text(
        f'#!/bin/sh\ncase "$*" in *"rm -rf"*) if [ -e {tmp_path}/now ]; then'
        f" kill -{number} $PPID $$; sleep 0.2; fi;; esac\n"
        'exec "$0.real" "$@"\n'
    )
    real.chmod(0o755)

    def interrupt(line: str) -> None:
        if line.startswith("comparing"):
            (tmp_path / "now").touch()
            raise KeyboardInterrupt

    request = ProfileRequest(build=build, artifacts=("a.pte",), settings=QUICK, runner=bundle)
    with pytest.raises(KeyboardInterrupt):
        adb.profile(request, None, interrupt)
    assert_in_order(pixel)


def test_the_command_counts_what_runs_outside_of_the_delegate(
    pixel: FakePhone, build: Path, bundle: Path, tmp_path: Path
) -> None:
    options = ["--device", "adb", "--runner", bundle, "--no-layers", "--iterations", 4]
    result = invoke("profile", build, *options, "--out", tmp_path / "p.json", "--json")
    assert result.exit_code == 0, result.output
    rows = {row["artifact"]: row for row in json.loads(result.stdout)["artifacts"]}
    assert rows["a.pte"]["undelegated"] == android.describe(build / "a.pte").undelegated
    assert isinstance(rows["a.pte"]["undelegated"], int)
    assert rows["model-int8.onnx"]["undelegated"] is None  # not run


def test_a_folder_that_is_no_bundle_is_not_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a home directory given by mistake."""
    (tmp_path / "home").mkdir()
    monkeypatch.setattr(shutil, "copytree", None)
    with pytest.raises(DeviceError, match=r"cannot be used as a runner \(no run.sh in it"):
        runner.unpack(tmp_path / "home", tmp_path / "new")


# Space.


def test_no_room(pixel: FakePhone, profile: Profile) -> None:
    """Told before anything is copied."""
    df = pixel.home / "bin" / "df"
    df.write_text("#!/bin/sh\necho Filesystem 1K-blocks Used Available Use% Mounted on\n"
                  "echo /dev/block/dm-5 1000 900 100 90% /data\n")  # fmt: skip
    df.chmod(0o755)
    with pytest.raises(DeviceError, match="0 MB are free"):
        profile()
    assert not any(line.startswith("push") for line in pixel.log)


def test_room_that_runs_out(pixel: FakePhone, profile: Profile) -> None:
    pixel.fail("push", "no space")
    with pytest.raises(DeviceError, match="no space left in /data/local/tmp"):
        profile()
    assert_in_order(pixel)


# Runners.


def test_a_runner_for_other_phones(pixel: FakePhone, profile: Profile, tmp_path: Path) -> None:
    """An emulator's bundle on a phone: told before anything is copied."""
    with pytest.raises(DeviceError, match="is for x86_64, the device runs arm64-v8a") as caught:
        profile(runner=make_bundle(tmp_path / "x86", 62))
    assert "--abi arm64-v8a" in caught.value.hint
    assert not any(line.startswith("push") for line in pixel.log)


def test_a_packed_bundle_from_the_cache(
    pixel: FakePhone,
    profile: Profile,
    bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(
        DeviceError, match=r"no runner of ExecuTorch 1\.5\.1 for arm64-v8a"
    ) as caught:
        profile(runner=None)
    assert "bundle.sh" in caught.value.hint
    cached = tmp_path / "cache/mnv2-export/runners/1.5.1-arm64-v8a.tgz"
    cached.parent.mkdir(parents=True)
    with tarfile.open(cached, "w:gz") as archive:
        archive.add(bundle, ".")
    found = profile(runner=None)
    assert found.artifacts[0].outcome is Measured.MEASURED
    assert found.versions["runner"].startswith("1.5.1-arm64-v8a.tgz, arm64-v8a, ")


def test_an_executable_of_ones_own(tmp_path: Path) -> None:
    program = tmp_path / "my_runner"
    program.write_bytes(elf_head(183))
    found = runner.unpack(program, tmp_path / "there")
    assert (found.abi, found.start) == ("arm64-v8a", ("./mnv2_runner",))
    assert (tmp_path / "there" / "mnv2_runner").is_file()


@pytest.mark.parametrize("kind", ["text", "missing", "cut", "empty"])
def test_no_runner_at_all(tmp_path: Path, bundle: Path, kind: str) -> None:
    path = tmp_path / "runner.tgz"
    if kind == "text":
        path.write_text("#!/bin/sh\necho this is no program\n")
    elif kind == "empty":
        path.mkdir()
    elif kind == "cut":
        with tarfile.open(path, "w:gz") as archive:
            archive.add(bundle, ".")
        path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DeviceError, match="cannot be used as a runner"):
        runner.unpack(path, tmp_path / "there")


def test_a_runner_that_does_not_start(pixel: FakePhone, profile: Profile) -> None:
    pixel.spoil_runner(help=126)
    with pytest.raises(DeviceError, match="the runner does not start"):
        profile()
    assert_in_order(pixel)


def test_a_runner_of_an_earlier_version(pixel: FakePhone, profile: Profile) -> None:
    pixel.spoil_runner(old=True)
    with pytest.raises(DeviceError, match="does not tell its samples"):
        profile()
    assert_in_order(pixel)


# Builds.


def test_builds_with_nothing_for_a_phone(pixel: FakePhone, profile: Profile, build: Path) -> None:
    """Found before any device is asked."""
    with pytest.raises(ArtifactError, match=r"no \.pte program"):
        profile(artifacts=("model-int8.onnx",))
    with pytest.raises(ArtifactError, match=r"c\.pte: no artifact of this build"):
        profile(artifacts=("c.pte",))
    assert not (pixel.home / "log").exists()


def test_an_artifact_that_was_changed(
    pixel: FakePhone, profile: Profile, build: Path, tmp_path: Path
) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(build, changed)
    with (changed / "a.pte").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ArtifactError, match=r"a\.pte: not what the manifest says"):
        profile(build=changed)
    first, second, _ = profile(build=changed, artifacts=()).artifacts
    assert (first.outcome, second.outcome) == (Measured.FAILED, Measured.MEASURED)
    assert set(pixel.state("starts")) == {"b.pte"}


def test_an_artifact_that_lies_outside_of_its_build(
    pixel: FakePhone, profile: Profile, build: Path, tmp_path: Path
) -> None:
    """A manifest from elsewhere must not have files written beside the folder that is copied."""
    other = Path(shutil.copytree(build, tmp_path / "other"))
    manifest = other / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"a.pte"', '"../other/a.pte"'))
    with pytest.raises(ArtifactError, match="is not a file name"):
        profile(build=other, artifacts=("../other/a.pte",))
    assert not (pixel.home / "log").exists()
