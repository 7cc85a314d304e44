"""What a sweep is asked for: every width at every resolution, and the weights of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from exporter.errors import UnsupportedError
from exporter.tasks import Task, check_resolution

WIDTHS, RESOLUTIONS = (0.35, 0.5, 0.75, 1.0), (96, 160, 224)
WIDEST = 10.0


@dataclass(frozen=True, kw_only=True)
class Point:
    """One network; its build has every target and precision."""

    width: float
    resolution: int
    checkpoint: Path | None = None  # None: random weights

    @property
    def name(self) -> str:
        """Of its build directory."""
        width = f"{float(self.width)!r}".removesuffix(
            ".0"
        )  # all digits: no two points share a name
        return f"w{width}-r{self.resolution}"


def read_widths(text: str) -> tuple[float, ...]:
    """Comma-separated width multipliers; raises UnsupportedError."""
    found = []
    for part in text.split(","):
        try:
            value = float(part)
        except ValueError:
            value = 0.0
        if not 0.0 < value <= WIDEST:
            raise UnsupportedError(
                f"--widths {text}: {part.strip() or 'nothing'} is no width multiplier",
                "write them like 0.35,0.5,1.0",
            )
        found.append(value)
    return tuple(dict.fromkeys(found))


def read_resolutions(text: str, task: Task) -> tuple[int, ...]:
    """Comma-separated input sides in pixels; raises UnsupportedError."""
    found = []
    for part in text.split(","):
        if not part.strip().isdecimal():
            raise UnsupportedError(
                f"--resolutions {text}: {part.strip() or 'nothing'} is no number of pixels",
                "write them like 96,160,224",
            )
        found.append(int(part))
        check_resolution(task, found[-1])
    return tuple(dict.fromkeys(found))


def make_points(
    widths: Sequence[float], resolutions: Sequence[int], checkpoints: Mapping[float, Path]
) -> tuple[Point, ...]:
    """Every combination, the smallest first; raises UnsupportedError for a checkpoint left over."""
    unused = [path for width, path in checkpoints.items() if width not in widths]
    if unused:
        raise UnsupportedError(
            f"{unused[0]}: its width is not among --widths", "add it, or leave the checkpoint out"
        )
    return tuple(
        Point(width=width, resolution=resolution, checkpoint=checkpoints.get(width))
        for width in sorted(widths)
        for resolution in sorted(resolutions)
    )
