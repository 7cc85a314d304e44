"""A polite stop: the first Ctrl-C or SIGTERM lets the update finish and the run be saved."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from multiprocessing import forkserver
from types import FrameType
from typing import Any

NUMBERS = (signal.SIGINT, signal.SIGTERM)
Handler = Callable[[int, FrameType | None], Any] | int | signal.Handlers | None


class Interrupt:
    """The signal that asked this process to stop, 0 while none has."""

    def __init__(self, *, alone: bool) -> None:
        self.number = 0
        self._alone = alone

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Remember the first; a second Ctrl-C stops at once, unless a launcher may repeat it."""
        del frame
        if self.number and self._alone and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = self.number or number


def shield_loaders() -> None:
    """Make the processes that load images deaf to both signals, which reach the whole group.

    They are forked from a server, and what it ignores when it starts, it and they ignore for good.
    Without this they would end before the run is saved.
    """
    before = [signal.signal(number, signal.SIG_IGN) for number in NUMBERS]
    try:
        forkserver.ensure_running()
    finally:
        _restore(before)


@contextlib.contextmanager
def watched(*, alone: bool) -> Iterator[Interrupt]:
    """Handle both signals inside the block; a thread other than the main one cannot."""
    interrupt = Interrupt(alone=alone)
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    shield_loaders()
    before = [signal.signal(number, interrupt.handle) for number in NUMBERS]
    try:
        yield interrupt
    finally:
        _restore(before)


def _restore(handlers: list[Handler]) -> None:
    for number, handler in zip(NUMBERS, handlers, strict=True):
        signal.signal(number, handler)
