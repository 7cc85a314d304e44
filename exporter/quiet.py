"""Third-party noise, kept away from the user at its source; errors still come through.

Native libraries (cpuinfo, XNNPACK, LiteRT) write to file descriptor 2 behind Python's back or to
`sys.stderr`, and torchao, coremltools and executorch warn on import about extensions that nothing
here uses. While `quiet` is active all of it goes to a temporary file, whose end is shown only when
something unexpected is raised.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from typing import TextIO

TAIL = 4000  # characters of swallowed output worth showing with an unexpected error


def silence_environment() -> None:
    """Switches that libraries read when they are first imported."""
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@contextlib.contextmanager
def quiet(expected: tuple[type[BaseException], ...]) -> Iterator[TextIO]:
    """Redirect standard error; yields a stream to the real one for our own messages.

    `expected` exceptions are ours and tell their own story; with any other the end of what was
    swallowed is printed, since it may hold the cause.
    """
    silence_environment()
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        swallowed = stack.enter_context(
            tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        )
        stream = stack.enter_context(_real_stderr())
        stack.enter_context(_descriptor_two_into(swallowed.fileno()))
        stack.enter_context(contextlib.redirect_stderr(swallowed))
        try:
            yield stream
        except expected:
            raise
        except BaseException:
            swallowed.flush()
            swallowed.seek(0)
            stream.write(swallowed.read()[-TAIL:])
            raise


@contextlib.contextmanager
def _real_stderr() -> Iterator[TextIO]:
    """A copy of descriptor 2, or what Python code has put in its place."""
    try:
        is_descriptor_two = sys.stderr.fileno() == 2
    except (AttributeError, OSError):
        is_descriptor_two = False
    if not is_descriptor_two:
        yield sys.stderr
        return
    sys.stderr.flush()
    with os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8", errors="replace") as stream:
        yield stream


@contextlib.contextmanager
def _descriptor_two_into(target: int) -> Iterator[None]:
    saved = os.dup(2)
    os.dup2(target, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
