"""What a profile changes on a phone, put back whatever happens: the folder, the performance mode.

Every change is noted with its undoing before it is made, so that an interruption between the two
leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import shlex
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import FrameType

from exporter.devices.adb.client import Adb, DeviceLostError
from exporter.devices.adb.facts import parse_fixed_performance
from exporter.devices.request import Tell
from exporter.errors import DeviceError

ENDINGS = (signal.SIGTERM, signal.SIGHUP)
UNDO_S = 20.0  # each; nothing interrupts it
Handler = Callable[[int, FrameType | None], None] | signal.Handlers
FIXED_PERFORMANCE = "cmd power set-fixed-performance-mode-enabled"


@dataclass(frozen=True, kw_only=True)
class Change:
    """One, and the command line on the phone that undoes it."""

    what: str
    undo: str


class Changes:
    """The changes so far, in order."""

    def __init__(self, adb: Adb) -> None:
        self.adb = adb
        self.made: list[Change] = []

    def take_folder(self, folder: str) -> None:
        """Make an empty folder for us; what runs from it is stopped before it goes away."""
        name = shlex.quote(folder)
        # A number that was left behind may be another program's by now.
        stop = (
            f"p=$(cat {name}/pid 2>/dev/null); "
            f'case "$(readlink /proc/$p/cwd)" in {name}|{name}/*) kill -9 $p;; esac; rm -rf {name}'
        )
        self.made.append(Change(what=f"the folder {folder}", undo=stop))
        reply = self.adb.shell(f"{stop}; mkdir -p {name}")
        if reply.code != 0:
            raise DeviceError(f"{self.adb.serial}: cannot make {folder} ({reply.reason})")

    def fix_performance(self) -> str:
        """Ask for clocks that do not change; returns what a reader of the figures must know."""
        before = parse_fixed_performance(self.adb.shell("dumpsys power").out)
        undo = f"{FIXED_PERFORMANCE} {'true' if before else 'false'}"
        self.made.append(Change(what="fixed-performance mode", undo=undo))
        reply = self.adb.shell(f"{FIXED_PERFORMANCE} true")
        if reply.code == 0 and "Failed" not in reply.out + reply.err:
            return ""
        self.made.pop()
        return "no fixed-performance mode on this device: clocks may have changed while measuring"

    def undo(self) -> list[Change]:
        """Undo the last ones first; returns what could not be undone."""
        with _signals(signal.SIG_IGN, (signal.SIGINT, *ENDINGS)):
            failed = [change for change in reversed(self.made) if not self._undo(change)]
        self.made.clear()
        return failed

    def _undo(self, change: Change) -> bool:
        try:
            return self.adb.shell(change.undo, timeout_s=UNDO_S).code == 0
        except DeviceError:
            return False


@contextlib.contextmanager
def undone(adb: Adb, tell: Tell) -> Iterator[Changes]:
    """Undo every change at the end; a device that was lost is waited for.

    A request to end or a closed terminal, which would skip every `finally`, is taken as Ctrl-C;
    while changes are undone none of them is heard, here or by adb. Raises DeviceError with the
    commands to type where something stayed changed.
    """
    with _signals(_interrupt, ENDINGS):
        yield from _undone(adb, tell)


def _undone(adb: Adb, tell: Tell) -> Iterator[Changes]:
    changes = Changes(adb)
    problem: DeviceLostError | None = None
    try:
        yield changes
    except DeviceLostError as error:
        problem = error
        if changes.made:
            tell(f"{error.message}; waiting for it, to put things back in order")
            with contextlib.suppress(KeyboardInterrupt):  # no more waiting; it is told what is left
                adb.comes_back()
    except BaseException:
        if left := changes.undo():
            still = _not_undone(adb, left, None)
            tell(f"{still.message}; {still.hint}")
        raise
    if left := changes.undo():
        raise _not_undone(adb, left, problem)
    if problem is not None:
        raise DeviceLostError(f"{problem.message}; nothing was left on it", problem.hint)


@contextlib.contextmanager
def _signals(handler: Handler, numbers: Sequence[signal.Signals]) -> Iterator[None]:
    """Handle these signals in another way; programs that are started ignore what we ignore."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def _interrupt(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise KeyboardInterrupt


def _not_undone(adb: Adb, left: list[Change], problem: DeviceError | None) -> DeviceError:
    commands = " && ".join(
        f"adb -s {adb.serial} shell {shlex.quote(change.undo)}" for change in left
    )
    before = f"{problem.message}; " if problem else f"{adb.serial}: "
    names = " and ".join(change.what for change in left)
    return DeviceError(f"{before}could not be put back: {names}", f"when it is back: {commands}")
