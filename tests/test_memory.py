"""Pages that a process frees stay its own until it hands them back."""

from __future__ import annotations

import subprocess
import sys

import pytest

from exporter import memory

FAULTS = """
import resource, sys
import numpy as np
from exporter.memory import keep_pages, return_pages

if {keep}:
    keep_pages()
def walk():
    for _ in range(10):
        np.ones(5_000_000)  # 40 MB, above every threshold of glibc's
walk()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
walk()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
return_pages()
held = int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
print(held)
"""


def faults(*, keep: bool) -> tuple[int, int]:
    """Page faults of ten large arrays in turn, and bytes held after all were handed back."""
    done = subprocess.run(
        [sys.executable, "-c", FAULTS.format(keep=keep)], capture_output=True, text=True, check=True
    )
    found, held = done.stdout.split()
    return int(found), int(held)


@pytest.mark.skipif(memory._glibc() is None, reason="keep_pages is about glibc")
def test_large_arrays_use_the_same_pages_again() -> None:
    anew, kept = faults(keep=False), faults(keep=True)
    assert kept[0] < anew[0] / 100
    assert kept[1] < anew[1] + 20e6  # half of one array: nothing stays behind


def test_without_glibc_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_glibc", lambda: None)
    memory.keep_pages()
    memory.return_pages()
