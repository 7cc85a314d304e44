"""The fixtures of MNV2Core's tests can be made, and hold models that pass their self-test."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from make_fixtures import make


@pytest.fixture(scope="module")
def fixtures(apps: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `swift_on_linux.sh` hands to the tests in Swift."""
    folder = tmp_path_factory.mktemp("ios") / "fixtures"
    make(folder, apps)
    return folder


def test_awkward_cases_are_there(fixtures: Path) -> None:
    """Of every kind."""
    wanted = {
        "resizes": 156,
        "orientations": 8,
        "normalizations": 3,
        "suppressions": 24,
        "rankings": 4,
        "shares": 12,
    }
    for name, count in wanted.items():
        assert len(json.loads((fixtures / f"{name}.json").read_text())) == count


def test_every_package_passes_its_self_test(apps: list[Path], fixtures: Path) -> None:
    """By the reference evaluator, on the very files that the app carries."""
    for app in apps:
        home = fixtures / "models" / app.name
        (record,) = json.loads((home / "model/manifest.json").read_text())["artifacts"]
        figures = json.loads((home / "recording.json").read_text())["figures"]
        for output in record["self_test"]["outputs"]:
            limit = output["min_sqnr_db"] or output["min_agreement"]
            assert figures[output["name"]] >= limit > 0
        assert not record["self_test"]["outputs"][0]["exact"]  # a device rounds as it likes
