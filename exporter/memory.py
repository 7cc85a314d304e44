"""How a process that computes on large arrays gets its memory.

glibc gives every large array pages of its own and hands them back when the array dies. Building
walks through gigabytes of such arrays, and the kernel cleared every page of them anew: that was
half of a build's CPU time. Kept, the pages are used again.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from typing import Any

# Numbers of glibc's malloc.h.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -2, -3, -8
KEPT = 1 << 30  # bytes: of an array below it, and of what is free at the end of the heap
STEP = 64 << 20  # bytes by which the heap grows


def keep_pages() -> None:
    """Let this process keep the pages of what it frees; nothing where there is no glibc.

    Call it before other threads run: the limit to one heap holds only from the start, and the
    heap of a second thread could not keep a large array.
    """
    libc = _glibc()
    if libc is None:
        return
    for option, value in (
        (M_ARENA_MAX, 1),
        (M_MMAP_THRESHOLD, KEPT),
        (M_TRIM_THRESHOLD, KEPT),
        (M_TOP_PAD, STEP),
    ):
        libc.mallopt(option, value)  # a refusal costs time, nothing else


def return_pages() -> None:
    """Hand the pages that nothing uses back to the system, when much was freed for good."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


@functools.cache
def _glibc() -> Any:
    """The C library of this process where it is glibc, else None."""
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None
