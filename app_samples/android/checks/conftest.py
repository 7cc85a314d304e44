"""One JVM and the apps that check.sh made."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from driver import WORK, App, Driver


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Driver]:
    """The app's core."""
    running = Driver(tmp_path_factory.mktemp("driver"))
    yield running
    running.close()


@pytest.fixture(scope="session")
def apps() -> dict[str, App]:
    """By build and precision, such as detection_nms-int8."""
    return {folder.name: App(folder) for folder in sorted((WORK / "apps").iterdir())}
