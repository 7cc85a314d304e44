"""The `adb` program: which device, one command at a time, and what its failures mean."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from exporter.errors import DeviceError, MissingDependencyError

ANSWER_S = 60.0  # for what a phone does at once
COPY_S = 600.0
BACK_S = 30.0  # how long a lost device is waited for, so that it can be put back in order
READY = "device"
PLATFORM_TOOLS = ("ANDROID_HOME", "ANDROID_SDK_ROOT")  # folders that hold platform-tools/
STATES = {  # of a device that is listed and cannot be used -> what to do
    "unauthorized": "unlock the phone and allow USB debugging for this computer",
    "authorizing": "wait a moment, unlock the phone and allow USB debugging",
    "offline": "unplug and plug it again, or run: adb reconnect",
    "no permissions": "give this user access to the USB device (udev rules), then: adb kill-server",
    "recovery": "start the phone into Android",
    "sideload": "start the phone into Android",
    "bootloader": "start the phone into Android",
}
NO_SPACE = "No space left on device"


class DeviceLostError(DeviceError):
    """The device went away in the middle; it may come back."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a command on the device said."""

    code: int
    out: str
    err: str

    @property
    def reason(self) -> str:
        """Its last line, of standard error if there is one."""
        lines = (self.err.strip() or self.out.strip()).splitlines()
        return lines[-1] if lines else f"exit code {self.code}"


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A line of `adb devices -l`."""

    serial: str
    state: str
    model: str = ""


class Adb:
    """One device, by its serial."""

    def __init__(self, program: Path, serial: str) -> None:
        self.program = program
        self.serial = serial

    def shell(self, command: str, timeout_s: float = ANSWER_S) -> Reply:
        """Run a command line there; raises DeviceLostError, and leaves its exit code to you."""
        return self._run("shell", "-n", "-T", command, timeout_s=timeout_s)

    def push(self, local: Path, remote: str) -> None:
        """Copy a file, or a folder with its name, into the folder `remote`."""
        reply = self._run("push", str(local), remote, timeout_s=COPY_S)
        if reply.code == 0:
            return
        if NO_SPACE in reply.out + reply.err:
            raise DeviceError(
                f"{self.serial}: no space left in {remote}", "free some and try again"
            )
        raise DeviceError(f"{self.serial}: cannot copy to {remote} ({reply.reason})")

    def pull(self, remote: str, local: Path) -> None:
        """Copy a file or a folder here."""
        reply = self._run("pull", remote, str(local), timeout_s=COPY_S)
        if reply.code != 0:
            raise DeviceError(f"{self.serial}: cannot read {remote} ({reply.reason})")

    def is_there(self) -> bool:
        """Whether it answers as a device that can be used."""
        return _output(self.program, "-s", self.serial, "get-state").out.strip() == READY

    def comes_back(self) -> bool:
        """Wait for a lost device."""
        try:
            _output(self.program, "-s", self.serial, "wait-for-device", timeout_s=BACK_S)
        except DeviceError:
            return False
        return self.is_there()

    def _run(self, *words: str, timeout_s: float) -> Reply:
        try:
            reply = _output(self.program, "-s", self.serial, *words, timeout_s=timeout_s)
        except DeviceError as error:
            raise DeviceLostError(f"{self.serial}: {error.message}") from None
        if reply.code != 0 and not self.is_there():
            raise DeviceLostError(
                f"{self.serial}: the device went away ({reply.reason})",
                "check the cable or the network, then try again",
            )
        return reply


def find_adb() -> Path:
    """The program on PATH or in the Android SDK; raises MissingDependencyError."""
    if found := shutil.which("adb"):
        return Path(found)
    for variable in PLATFORM_TOOLS:
        path = Path(os.environ.get(variable, "")) / "platform-tools" / "adb"
        if os.environ.get(variable) and os.access(path, os.X_OK):
            return path
    raise MissingDependencyError(
        "adb is not installed",
        "install Android's platform-tools and put adb on PATH, or set ANDROID_HOME",
    )


def connect(program: Path, serial: str | None) -> Adb:
    """The named device, $ANDROID_SERIAL's or the only one; raises DeviceError for none of them."""
    serial = serial or os.environ.get("ANDROID_SERIAL") or None
    listed = _devices(program)
    chosen: Sequence[Listed]
    if serial is not None:
        chosen = [device for device in listed if device.serial == serial]
        if not chosen:
            raise DeviceError(f"{serial}: adb knows no such device", _known(listed))
    else:
        usable = [device for device in listed if device.state == READY]
        chosen = usable or listed
        if not chosen:
            raise DeviceError(
                "no device is connected", "connect a phone with USB debugging on; see: adb devices"
            )
        if len(chosen) > 1:
            raise DeviceError(
                f"{len(chosen)} devices are connected: {_names(chosen)}",
                f"choose one, for instance --device adb:{chosen[0].serial}",
            )
    _check_state(chosen[0])
    adb = Adb(program, chosen[0].serial)
    _check_exit_codes(adb)
    return adb


def parse_devices(text: str) -> tuple[Listed, ...]:
    """The lines of `adb devices -l`, whose states may have several words."""
    found = []
    for line in text.splitlines():
        words = line.split()
        if len(words) < 2 or line.startswith(("*", "List of", "adb server")):
            continue
        state = "no permissions" if words[1:3] == ["no", "permissions"] else words[1]
        models = [word.removeprefix("model:") for word in words if word.startswith("model:")]
        found.append(Listed(serial=words[0], state=state, model=(models or [""])[0]))
    return tuple(found)


def _devices(program: Path) -> tuple[Listed, ...]:
    reply = _output(program, "devices", "-l")
    if reply.code != 0:
        raise DeviceError(f"adb: {reply.reason}", "see: adb kill-server; adb devices")
    return parse_devices(reply.out)


def _check_state(device: Listed) -> None:
    if device.state != READY:
        cure = STATES.get(device.state, "see: adb devices")
        raise DeviceError(f"{device.serial}: the device is {device.state}", cure)


def _check_exit_codes(adb: Adb) -> None:
    """Without this a failed command on the phone would look like a success."""
    reply = _output(adb.program, "-s", adb.serial, "features")
    if reply.code != 0 or "shell_v2" not in reply.out:
        raise DeviceError(
            f"{adb.serial}: its adb does not tell exit codes",
            "Android 7 or newer is needed, and adb of platform-tools 24 or newer",
        )


def _names(devices: Sequence[Listed]) -> str:
    return ", ".join(f"{d.serial} ({d.model or d.state})" for d in devices)


def _known(listed: tuple[Listed, ...]) -> str:
    return f"connected: {_names(listed)}" if listed else "none is connected; see: adb devices"


def _output(program: Path, *words: str, timeout_s: float = ANSWER_S) -> Reply:
    try:
        done = subprocess.run(
            [str(program), *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        command = words[2] if words[0] == "-s" else words[0]
        raise DeviceError(f"adb {command}: no answer within {timeout_s:.0f} s") from None
    except OSError as error:
        raise DeviceError(f"{program}: cannot be run ({error.strerror})") from None
    return Reply(code=done.returncode, out=done.stdout, err=done.stderr)
