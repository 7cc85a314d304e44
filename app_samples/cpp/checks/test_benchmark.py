"""Timing: plausible figures, and a profile that ExecuTorch's own tools read."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from conftest import app, run
from test_results import INT8

RUNS = 10  # that the runner profiles


@pytest.mark.parametrize("name", INT8)
def test_figures(name: str) -> None:
    """In order, and as many as asked for."""
    done = run(app(name), "--benchmark", "--json", "--iterations", 7, "--warmup", 2, "--threads", 2)
    assert done.code == 0, done.error
    found = done.json
    percentiles = [found[key] for key in ("min_ms", "p50_ms", "p90_ms", "p99_ms")]
    assert percentiles == sorted(percentiles)
    assert len(found["samples_ms"]) == 7
    assert min(found["samples_ms"]) == found["min_ms"]
    assert 0 < found["min_ms"] <= found["mean_ms"]
    assert found["load_ms"] > 0
    assert found["first_ms"] > 0
    assert (found["iterations"], found["warmup"], found["threads"]) == (7, 2, 2)
    assert 1 << 20 < found["peak_rss_bytes"] < 1 << 31


def test_profile(tmp_path: Path, photos: list[Path]) -> None:
    """One block of events for every profiled inference."""
    dump = tmp_path / "profile.etdp"
    done = run(app("detection"), "--benchmark", "--iterations", 3, "--etdump", dump, photos[0])
    assert done.code == 0, done.error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tools' own imports
        from executorch.devtools import Inspector

        blocks = Inspector(etdump_path=str(dump)).event_blocks
    runs = [block for block in blocks if block.name == "Execute"]
    assert runs
    calls = [e for block in runs for e in block.events if e.name == "Method::execute"]
    assert sum(len(event.perf_data.raw) for event in calls) == RUNS
