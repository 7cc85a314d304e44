"""How many threads torch computes with, and how many cores there are to share."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch


def one_thread() -> contextlib.AbstractContextManager[None]:
    """Run torch on one thread inside the block.

    Float sums depend on how work is split, and ranges come from float sums: with several threads
    the same photos could give another graph on another machine. These networks are
    also too small for sharing them between cores to pay.
    """
    return threads(1)


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Run torch on so many threads inside the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def cores() -> int:
    """Those that this process may use, not those that are built in."""
    available = getattr(os, "sched_getaffinity", None)
    return len(available(0)) if available else os.cpu_count() or 1
