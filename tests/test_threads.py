"""Batches side by side: the order is kept, errors come through, limits hold."""

from __future__ import annotations

import threading
import time

import pytest
import torch

from exporter import threads


def test_results_come_in_the_order_of_the_items(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "workers", lambda: 3)

    def late_first(item: int) -> tuple[int, bool, int]:
        time.sleep(0.02 if item == 0 else 0.0)
        return item, torch.is_grad_enabled(), torch.get_num_threads()

    assert threads.side_by_side(late_first, range(6)) == [(i, False, 1) for i in range(6)]
    assert torch.is_grad_enabled()


def test_two_items_are_computed_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "workers", lambda: 2)
    both = threading.Barrier(2, timeout=10)
    assert len(threads.side_by_side(lambda _: both.wait(), range(2))) == 2


@pytest.mark.parametrize("count", [1, 2])
def test_an_error_comes_through(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "workers", lambda: count)
    with pytest.raises(ZeroDivisionError):
        threads.side_by_side(lambda item: 1 // item, range(4))


def test_processes_side_by_side_can_say_how_many_threads_each_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(threads, "cores", lambda: 64)
    monkeypatch.setenv(threads.LIMIT, "3")
    assert threads.workers() == 3
    monkeypatch.setenv(threads.LIMIT, " 2,1")
    assert threads.workers() == 2
    for free in ("", "-1", "many", ","):
        monkeypatch.setenv(threads.LIMIT, free)
        assert threads.workers() == threads.MOST_WORKERS
    monkeypatch.setenv(threads.LIMIT, "0")
    assert threads.workers() == 1
