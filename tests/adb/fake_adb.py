"""An `adb` whose phone is the folder $FAKE_ADB of this machine, and which fails on demand.

It is no evidence of how phones behave: tests against the real adbd are among the C++ sample's
checks. `plan.json` there says which command fails how: {"match", "nth", "how", "returns"}. It runs
as a program, or, since starting Python costs more than all the rest, as a function.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

SERIAL = "FAKE0001"
GONE = f"error: device '{SERIAL}' not found"
FOLDERS = ("/data/local/tmp", "/sys/devices")
FULL = "adb: error: failed to copy 'a' to 'b': remote write failed: No space left on device"


class ReplyError(Exception):
    """Ends a command: its exit code, standard output and standard error."""

    def __init__(self, code: int = 0, out: str = "", err: str = "") -> None:
        super().__init__(code, out, err)


class FakeAdb:
    def __init__(self, home: Path) -> None:
        self.home = home

    def run(self, words: list[str]) -> tuple[int, str, str]:
        try:
            self.dispatch(words)
        except ReplyError as end:
            return end.args
        return 0, "", ""

    def dispatch(self, words: list[str]) -> None:
        if words[:1] == ["devices"]:
            body = f"{SERIAL} device usb:1-1 product:shiba model:Fake device:shiba\n"
            raise ReplyError(
                out="List of devices attached\n" + self.text("devices.txt", body) + "\n"
            )
        command, rest, line = words[2], words[3:], " ".join(words[2:])
        with (self.home / "log").open("a") as log:
            log.write(line + "\n")
        if command == "wait-for-device":
            return self.wait_for_device()
        if (self.home / "gone").exists():
            raise ReplyError(1, err=GONE + "\n")
        self.fail_as_planned(line)
        if command == "get-state":
            raise ReplyError(out="device\n")
        if command == "features":
            raise ReplyError(out=self.text("features.txt", "shell_v2\ncmd\n"))
        if command == "shell":
            done = subprocess.run(
                ["sh", "-c", self.there(rest[-1])], capture_output=True, text=True, check=False
            )
            code = done.returncode if done.returncode >= 0 else 128 - done.returncode
            raise ReplyError(code, done.stdout, done.stderr)
        if command == "push":
            return copy(rest[0], self.there(rest[1]))
        if command == "pull":
            return copy(self.there(rest[0]), rest[1])
        raise ReplyError(1, err=f"adb: unknown command {command}\n")

    def there(self, text: str) -> str:
        """Paths of the phone as this machine's."""
        for folder in FOLDERS:
            text = text.replace(folder, f"{self.home}/root{folder}")
        return text

    def text(self, name: str, default: str) -> str:
        path = self.home / name
        return path.read_text() if path.exists() else default

    def fail_as_planned(self, line: str) -> None:
        """Let the nth command that matches fail."""
        plan = json.loads(self.text("plan.json", "{}"))
        if not plan or plan["match"] not in line:
            return
        plan["nth"] -= 1
        (self.home / "plan.json").write_text(json.dumps(plan))
        if plan["nth"] != 0:
            return
        if plan["how"] == "lost":
            (self.home / "gone").touch()
            raise ReplyError(1, err="error: closed\n")
        if plan["how"] == "no space":
            raise ReplyError(1, err=FULL + "\n")
        if plan["how"] == "broken":
            raise ReplyError(255)
        time.sleep(30)  # silent

    def wait_for_device(self) -> None:
        if not json.loads(self.text("plan.json", "{}"))["returns"]:
            raise ReplyError(1)
        (self.home / "gone").unlink(missing_ok=True)


def copy(source: str, target: str) -> None:
    if not Path(source).exists():
        raise ReplyError(1, err=f"adb: error: failed to stat {source}: No such file or directory\n")
    if Path(source).is_dir():
        place = Path(target) / Path(source).name if Path(target).is_dir() else Path(target)
        shutil.copytree(source, place, dirs_exist_ok=True)
    else:
        shutil.copy(source, target)


if __name__ == "__main__":
    code, out, err = FakeAdb(Path(os.environ["FAKE_ADB"])).run(sys.argv[1:])
    sys.stdout.write(out)
    sys.stderr.write(err)
    raise SystemExit(code)
