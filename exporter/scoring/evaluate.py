"""Every model of a build over labeled images, in batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from exporter.errors import ArtifactError, ExportError, UnsupportedError
from exporter.labeled_images import evenly_chosen
from exporter.scoring.classes import ClassJudge
from exporter.scoring.judge import Extent, Judge
from exporter.scoring.models import answer, open_models
from exporter.scoring.objects import ObjectJudge
from exporter.scoring.records import FLOAT, Found, Seen
from exporter.scoring.regions import MaskJudge
from exporter.spec import ModelSpec
from exporter.target import Target
from exporter.tasks import Task
from exporter.threads import one_thread


def evaluate(
    path: Path,
    data: Path,
    targets: Mapping[str, Target],
    limit: int | None = None,
    worst: int = 0,
) -> Iterator[Seen | Found]:
    """The figures of a build directory's models, or of one artifact; the last is the result.

    `limit` takes images evenly from the whole set, `worst` asks for so many classes. Raises
    ArtifactError when the models cannot be found, DataError when the images cannot be used and
    MissingDependencyError for a detector without COCO's tools; an artifact that does not run is a
    row that says why.
    """
    with one_thread():
        models = open_models(path, targets)
        judge = _judge(data, models.spec)
        chosen = evenly_chosen(len(judge), limit)
        for start in range(0, len(chosen), judge.batch):
            part = chosen[start : start + judge.batch]
            answer(models, judge.see(part), judge.run, judge.keep)
            yield Seen(images=start + len(part), of=len(chosen))
        extent = Extent(data=str(data), images=len(chosen), of=len(judge))
        yield judge.conclude(models, extent, worst)


def objection(found: Found) -> ExportError | None:
    """An error when an artifact broke, or when none could run here."""
    failed = [row for row in found.scores if row.failed]
    if failed:
        named = ", ".join(f"{row.path} ({row.reason})" for row in failed)
        return ArtifactError(f"cannot be run: {named}", "run `mnv2-export verify`, or build again")
    if all(row.seconds is None for row in found.scores if row.path != FLOAT):
        return UnsupportedError("no artifact runs on this machine", "the table says why")
    return None


def _judge(data: Path, spec: ModelSpec) -> Judge:
    if spec.task is Task.DETECTION:
        return ObjectJudge(data, spec)
    if spec.task is Task.SEGMENTATION:
        return MaskJudge(data, spec)
    return ClassJudge(data, spec)
