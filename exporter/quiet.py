"""Third-party noise, kept away from the user at its source; errors still come through.

Native libraries (cpuinfo, XNNPACK, LiteRT) write to file descriptor 2 behind Python's back, and
torchao, coremltools and executorch warn on import about extensions that nothing here uses. While
`quiet` is active both go to a temporary file, whose end is shown only when something unexpected
is raised.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from typing import TextIO

TAIL = 4000  # bytes of swallowed output worth showing with an unexpected error


def silence_environment() -> None:
    """Switches that libraries read when they are first imported."""
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@contextlib.contextmanager
def quiet(expected: tuple[type[BaseException], ...]) -> Iterator[TextIO]:
    """Redirect descriptor 2; yields a stream to the real standard error for our own messages.

    `expected` exceptions are ours and tell their own story; with any other the end of what was
    swallowed is printed, since it may hold the cause.
    """
    silence_environment()
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as swallowed, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        os.dup2(swallowed.fileno(), 2)
        stream = os.fdopen(os.dup(terminal), "w", buffering=1, encoding="utf-8", errors="replace")
        try:
            yield stream
        except expected:
            raise
        except BaseException:
            sys.stderr.flush()
            swallowed.seek(max(0, swallowed.seek(0, os.SEEK_END) - TAIL))
            stream.write(swallowed.read().decode(errors="replace"))
            raise
        finally:
            sys.stderr.flush()
            stream.close()
            os.dup2(terminal, 2)
            os.close(terminal)
