"""What a build is asked to make its graphs from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.checkpoints import Overrides
from exporter.data import CALIBRATION_COUNT, TRAINING_COUNT
from exporter.outputs import NmsMode, Outputs
from exporter.tasks import Task

if TYPE_CHECKING:
    from exporter.quantize.settings import QatSettings


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the reference is made from; without a checkpoint it is the embedded demo."""

    checkpoint: Path | None = None
    overrides: Overrides = field(default_factory=Overrides)
    calibration: tuple[Path, ...] = ()
    calibration_count: int | None = None  # None: as many as what is done with them needs
    demo: Task = Task.CLASSIFICATION  # without a checkpoint
    outputs: Outputs | None = None  # None: the task's usual ones
    nms: NmsMode = NmsMode.NONE
    qat: QatSettings | None = None  # int8: train block by block on the calibration images


def calibration_count(request: Request) -> int:
    """Calibration images of a build."""
    if request.calibration_count is not None:
        return request.calibration_count
    return CALIBRATION_COUNT if request.qat is None else TRAINING_COUNT
