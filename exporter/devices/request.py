"""What a device module is asked for: which artifacts of which build, and how often to run them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from exporter.latency.records import Settings

Tell = Callable[[str], None]  # progress, one line each


@dataclass(frozen=True, kw_only=True)
class ProfileRequest:
    """One `mnv2-export profile`, whatever the device."""

    build: Path  # a build directory
    artifacts: tuple[str, ...] = ()  # file names; empty: every one
    settings: Settings = field(default_factory=Settings)
    runner: Path | None = None  # adb: a user's own runner, an executable or a bundle
