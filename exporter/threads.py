"""One torch thread: the same sums in the same order on every machine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread inside the block.

    Float sums depend on how work is split, and ranges come from float sums: with several threads
    the same photos could give another graph on another machine. These networks are
    also too small for sharing them between cores to pay.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
