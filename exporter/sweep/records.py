"""What a sweep comes to; `sweep.json` holds the same fields, docs/sweep.md names them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from exporter.files import write_atomic
from exporter.latency.records import Device, Median, Settings
from exporter.spec import Precision
from exporter.verdicts import Outcome

FILE_NAME = "sweep.json"
SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Row:
    """One artifact of one point."""

    point: str  # its build directory
    width: float
    resolution: int
    artifact: str
    target: str
    precision: Precision
    size_bytes: int
    sha256: str
    parity: Outcome
    weights: str  # "random", or the checkpoint's name
    accuracy: float | None = None  # as a share
    figure: str = ""  # "top-1", "mAP", "mIoU"
    accuracy_of: str = ""  # whose, and on what
    latency_ms: Median | None = None
    stable: bool | None = None
    latency_note: str = ""  # why it was not measured, or is not stable
    fastest_so_right: bool = False  # no other of its kind is both as right and faster
    smallest_so_right: bool = False  # nor as right and smaller


@dataclass(frozen=True, kw_only=True)
class Lost:
    """What a sweep was asked for and does not have."""

    point: str
    what: str  # a target and precision, or nothing for the whole point
    error: str
    hint: str = ""


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """All of it."""

    rows: tuple[Row, ...]
    lost: tuple[Lost, ...] = ()
    device: Device | None = None  # None: no latency was measured
    settings: Settings | None = None
    seconds: float = 0.0  # of building
    from_cache: int = 0  # points that needed nothing to be made
    notes: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION


def to_json(sweep: Sweep) -> dict[str, Any]:
    """A JSON object of plain values."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(sweep)))
    return plain


def write_sweep(sweep: Sweep, folder: Path) -> None:
    """Write `sweep.json`."""
    text = json.dumps(to_json(sweep), indent=2, sort_keys=True) + "\n"
    write_atomic(folder / FILE_NAME, text.encode())
