"""How many threads torch computes with, and how many cores there are to share.

One operation runs on one thread, several batches run on several: a sum is then the same whatever
the machine has, and no core waits.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

MOST_WORKERS = 4  # each holds the maps of a batch
LIMIT = "OMP_NUM_THREADS"  # what runs several processes side by side sets it

Item = TypeVar("Item")
Result = TypeVar("Result")


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


def workers() -> int:
    """Threads that `side_by_side` computes on."""
    limit = os.environ.get(LIMIT, "").split(",")[0].strip()  # further ones are of nested loops
    return max(1, min(cores(), MOST_WORKERS, int(limit) if limit.isdecimal() else MOST_WORKERS))


def side_by_side(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """The results in the order of the items, which are computed at the same time.

    Torch and numpy let go of the interpreter while they compute, so threads are enough. Gradients
    are off. The first exception is raised once all that has begun is done.
    """
    listed = list(items)

    def compute(item: Item) -> Result:
        with torch.no_grad():  # which each thread says for itself
            return function(item)

    count = min(workers(), len(listed))
    if count < 2:
        return [compute(item) for item in listed]
    with one_thread(), ThreadPoolExecutor(count) as pool:
        return list(pool.map(compute, listed))
