"""The targets as the commands see them: by name, and what each lacks on this machine.

Only this module imports `targets`; what lies behind the commands is given targets as values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from exporter.errors import ExportError
from exporter.outputs import NmsMode
from exporter.spec import Precision
from exporter.target import Arithmetic, Target, TargetInfo
from targets import TARGETS, TargetName, get

if TYPE_CHECKING:
    from pathlib import Path

    from exporter.evaluation import Model
    from exporter.pipeline import Job

Targets = Annotated[
    list[TargetName] | None,
    typer.Option("--target", "-t", help="Repeat for several; default: all.", show_default=False),
]


def all_targets() -> dict[str, Target]:
    """Every target by its name, installed or not."""
    return {str(name): get(name) for name in TargetName}


def rows() -> list[tuple[TargetInfo, str]]:
    """The static row of each target, and what it needs that is not installed here."""
    return [(TARGETS[name], _missing(name)) for name in TargetName]


def jobs(
    named: list[TargetName] | None,
    precisions: list[Precision],
    stream: TextIO,
    nms: NmsMode = NmsMode.NONE,
) -> tuple[Job, ...]:
    """Named targets must do all that is asked; unnamed ones do what they can, if installed."""
    from exporter.pipeline import jobs_for, offered_jobs

    precisions = list(dict.fromkeys(precisions))
    if named:
        return jobs_for([get(name) for name in dict.fromkeys(named)], precisions)
    missing = {name: _missing(name) for name in TargetName}
    if nms is NmsMode.NATIVE:
        lacking = {name: "no NMS of its own" for name in TargetName if not TARGETS[name].native_nms}
        missing |= lacking
    for name, cure in missing.items():
        if cure:
            stream.write(f"left out {name}: {cure}\n")
    return offered_jobs([get(n) for n in TargetName if not missing[n]], precisions)


def open_core_ml(package: Path, arithmetic: Arithmetic) -> Model:
    """A Core ML package that anyone wrote, ready to be evaluated."""
    from targets.mil.standalone import open_model

    return open_model(package, arithmetic)


def _missing(name: TargetName) -> str:
    """What a target needs that is not installed here, or nothing."""
    try:
        get(name).backend.check()
    except ExportError as error:
        return error.hint or error.message
    return ""
