"""What a running build tells whoever watches it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from exporter.manifest import ArtifactRecord, Failure, Manifest


@dataclass(frozen=True, kw_only=True)
class StageStarted:
    """A step that may take a while begins."""

    stage: str


@dataclass(frozen=True, kw_only=True)
class StageProgressed:
    """The step that began last is so far."""

    detail: str


@dataclass(frozen=True, kw_only=True)
class StageFinished:
    """The step that began last is over."""

    stage: str
    seconds: float
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Note:
    """Something the user should know that is no error."""

    text: str


@dataclass(frozen=True, kw_only=True)
class ArtifactChecked:
    """An artifact was written (or found), reloaded from disk and compared."""

    record: ArtifactRecord
    emit_seconds: float | None
    check_seconds: float


@dataclass(frozen=True, kw_only=True)
class TargetFailed:
    """A target wrote nothing; the build goes on with the others."""

    failure: Failure
    hint: str = ""
    trace: str = ""  # of an unexpected error


@dataclass(frozen=True, kw_only=True)
class Finished:
    """The last event: the manifest as written."""

    manifest: Manifest


Event = (
    StageStarted
    | StageProgressed
    | StageFinished
    | Note
    | ArtifactChecked
    | TargetFailed
    | Finished
)


class Stage:
    """A named step and its clock, which starts when the stage is made."""

    def __init__(self, name: str) -> None:
        self.started = StageStarted(stage=name)
        self._clock = time.perf_counter()

    def finished(self, detail: str) -> StageFinished:
        """The end of the step, with one line of what came of it."""
        seconds = time.perf_counter() - self._clock
        return StageFinished(stage=self.started.stage, seconds=seconds, detail=detail)
