"""Graph -> each target -> written, reloaded from disk, compared; yields events as it goes."""

from __future__ import annotations

import contextlib
import errno
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import gettempdir
from typing import TYPE_CHECKING

from exporter.building import Run
from exporter.errors import ArtifactError, UnsupportedError
from exporter.events import Event, Finished
from exporter.files import replace_directory
from exporter.latency.records import FOLDER as PROFILES
from exporter.layout import GOLDEN, artifact_name
from exporter.made import Job
from exporter.manifest import FILE_NAME, read_manifest
from exporter.outputs import NmsMode
from exporter.request import Request
from exporter.spec import Precision
from exporter.target import ExportOptions, Target

if TYPE_CHECKING:
    from exporter.cache.store import Store

__all__ = ["BuildRequest", "Job", "artifact_name", "build", "jobs_for", "offered_jobs"]

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def jobs_for(targets: Iterable[Target], precisions: Iterable[Precision]) -> tuple[Job, ...]:
    """Every target in every precision; raises UnsupportedError where one lacks it."""
    jobs = tuple((target, precision) for precision in precisions for target in targets)
    for target, precision in jobs:
        if precision not in target.info.precisions:
            raise UnsupportedError(
                f"{target.info.name} has no {precision} artifact",
                f"it offers {', '.join(target.info.precisions)}",
            )
    return jobs


def offered_jobs(targets: Iterable[Target], precisions: Iterable[Precision]) -> tuple[Job, ...]:
    """Every target in those of the named precisions that it has."""
    return tuple((t, p) for p in precisions for t in targets if p in t.info.precisions)


@dataclass(frozen=True, kw_only=True)
class BuildRequest:
    """Everything that one build depends on."""

    request: Request  # checkpoint, overrides, calibration images
    jobs: tuple[Job, ...]
    options: ExportOptions = field(default_factory=ExportOptions)
    out: Path = Path("build")
    command: str = ""
    workers: int = 1  # processes that make artifacts; 1: this one, which a library's crash ends
    cache: Store | None = None  # None: everything is made and proved anew
    only_cached: bool = False  # raise NotCachedError rather than make anything


def build(build_request: BuildRequest) -> Iterator[Event]:
    """Run a build; the last event is `Finished` with the manifest.

    The output directory appears (or replaces an earlier build) only when everything was written.
    A target that fails is reported by `TargetFailed` and the others go on; a checkpoint or data
    that cannot be used raises an ExportError.
    """
    for target, precision in build_request.jobs:
        target.backend.check()
        target.backend.check_options(precision, build_request.options)
        _check_nms(target, build_request.request.nms)
    with (
        room_in(build_request.out),
        replace_directory(build_request.out, why_no_build) as folder,
        tempfile.TemporaryDirectory(prefix="mnv2-export-") as scratch,
    ):
        manifest = yield from Run(build_request, folder, Path(scratch)).run()
    yield Finished(manifest=manifest)


@contextlib.contextmanager
def room_in(out: Path) -> Iterator[None]:
    """Say that a disk is full as what it is; raises ArtifactError."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise ArtifactError(
            f"{error.filename2 or error.filename or out}: cannot be written ({error.strerror})",
            f"make room there, or choose another --out; temporary files go to {gettempdir()}, "
            "unless TMPDIR says otherwise",
        ) from None


def _check_nms(target: Target, nms: NmsMode) -> None:
    if nms is NmsMode.NATIVE and not target.info.native_nms:
        raise UnsupportedError(
            f"{target.info.name} has no non-maximum suppression of its own",
            "choose --nms graph, or none and suppress in the app",
        )


def why_no_build(folder: Path) -> str:
    """Why a directory is not (only) what an earlier build wrote; empty if it is."""
    try:
        manifest = read_manifest(folder)
    except ArtifactError as error:
        return f"and not an earlier build: {error.message}"
    written = {FILE_NAME, GOLDEN, PROFILES, *(a.path for a in manifest.artifacts)}
    written |= {g.path for g in manifest.graphs}
    foreign = sorted(p.name for p in folder.iterdir() if p.name not in written)
    if not foreign:
        return ""
    return f"and not an earlier build: it also holds {', '.join(foreign[:3])}"
