"""Graph -> each target -> written, reloaded from disk, compared; yields events as it goes."""

from __future__ import annotations

import dataclasses
import json
import shutil
import time
import traceback
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from exporter.errors import ArtifactError, ExportError, TargetError, UnsupportedError
from exporter.events import (
    ArtifactChecked,
    Event,
    Finished,
    Note,
    StageStarted,
    TargetFailed,
)
from exporter.files import replace_directory, sha256
from exporter.graph_file import save_graph
from exporter.latency.records import FOLDER as PROFILES
from exporter.manifest import (
    FILE_NAME,
    Failure,
    GraphRecord,
    Manifest,
    installed_versions,
    read_manifest,
    write_manifest,
)
from exporter.metadata import metadata
from exporter.outputs import NmsMode, chosen_ends
from exporter.proof import Proved, all_pairs, prove
from exporter.reference import Reference, Request, make_reference
from exporter.spec import Precision
from exporter.target import ExportOptions, Target
from exporter.threads import one_thread
from exporter.vectors import FOLDER, write_vectors

Job = tuple[Target, Precision]


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
    with one_thread(), replace_directory(build_request.out, why_no_build) as folder:
        reference = yield from make_reference(
            build_request.request,
            needs_int8=any(precision is Precision.INT8 for _, precision in build_request.jobs),
        )
        _write_references(folder, reference)
        proved: list[Proved] = []
        failures: list[Failure] = []
        for target, precision in build_request.jobs:
            try:
                proved += yield from _build_one(build_request, target, precision, reference, folder)
            except Exception as error:  # one SDK's bug must not stop the other targets
                name = artifact_name(target, precision, build_request.options)
                _discard(target, folder / name)
                failed = _failed(target, precision, error)
                failures.append(failed.failure)
                yield failed
        if not proved:
            raise TargetError("no target wrote an artifact", "the lines above say why")
        manifest = _manifest(build_request, reference, folder, proved, failures)
        write_manifest(manifest, folder)
    yield Finished(manifest=manifest)


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
    written = {FILE_NAME, FOLDER, PROFILES, *(a.path for a in manifest.artifacts)}
    written |= {g.path for g in manifest.graphs}
    foreign = sorted(p.name for p in folder.iterdir() if p.name not in written)
    if not foreign:
        return ""
    return f"and not an earlier build: it also holds {', '.join(foreign[:3])}"


def _discard(target: Target, path: Path) -> None:
    """Leave nothing behind that was not proved."""
    for file in (path, *(path.with_suffix(suffix) for suffix in target.info.companions)):
        if file.is_dir():
            shutil.rmtree(file)
        file.unlink(missing_ok=True)


def artifact_name(target: Target, precision: Precision, options: ExportOptions) -> str:
    """File name of an artifact in the build directory."""
    return f"model-{precision}{target.info.suffix_for(options)}"


def graph_name(precision: Precision) -> str:
    """File name of a reference graph in the build directory."""
    return f"model-{precision}.graph"


def _failed(target: Target, precision: Precision, error: Exception) -> TargetFailed:
    """An expected failure says it all; of any other the traceback is kept for `--verbose`."""
    name, expected = target.info.name, isinstance(error, ExportError)
    message = (
        error.message if isinstance(error, ExportError) else f"{type(error).__name__}: {error}"
    )
    return TargetFailed(
        failure=Failure(target=name, precision=precision, error=message),
        hint=error.hint if isinstance(error, ExportError) else "this is a bug: see --verbose",
        trace="" if expected else "".join(traceback.format_exception(error)),
    )


def _write_references(folder: Path, reference: Reference) -> None:
    for precision, graph in reference.graphs.items():
        save_graph(graph, folder / graph_name(precision))
    write_vectors(folder / FOLDER, reference.vectors, reference.expected)


def _build_one(
    build_request: BuildRequest,
    target: Target,
    precision: Precision,
    reference: Reference,
    folder: Path,
) -> Generator[Event, None, list[Proved]]:
    """Write one artifact (and its companions), reload and compare; returns what was proved."""
    name = artifact_name(target, precision, build_request.options)
    yield StageStarted(stage=name)
    graph, path = reference.graphs[precision.graph], folder / name
    started = time.perf_counter()
    notes = target.backend.emit(graph, precision, build_request.options, path)
    emit_seconds: float | None = time.perf_counter() - started
    evidence = reference.evidence(precision, target.info.rules)
    companions = [path.with_suffix(suffix) for suffix in target.info.companions]
    proved = []
    for file in [path, *(c for c in companions if c.exists())]:
        started = time.perf_counter()
        proved.append(prove(target, file, evidence, notes if file == path else ()))
        yield ArtifactChecked(
            record=proved[-1].record,
            emit_seconds=emit_seconds,
            check_seconds=time.perf_counter() - started,
        )
        emit_seconds = None  # a companion was written with its artifact
    for note in proved[0].record.notes:
        yield Note(text=f"{name}: {note}")
    return proved


def _options(build_request: BuildRequest, reference: Reference) -> dict[str, Any]:
    """What was chosen, plainly; of outputs what was built where nothing was asked for."""
    spec, request = reference.spec, build_request.request
    ends = chosen_ends(spec.task, spec.classes, request.outputs, request.nms)
    options: dict[str, Any] = dataclasses.asdict(build_request.options)
    options |= {"outputs": ends.outputs, "nms": ends.nms}
    plain: dict[str, Any] = json.loads(json.dumps(options))
    return plain


def _manifest(
    build_request: BuildRequest,
    reference: Reference,
    folder: Path,
    proved: list[Proved],
    failures: list[Failure],
) -> Manifest:
    # The int8 graph, where there is one, also says how the image is quantized.
    precision = Precision.INT8 if Precision.INT8 in reference.graphs else Precision.FP32
    described = metadata(reference.graphs[precision], precision)
    return Manifest(
        spec=reference.spec,
        source=reference.source,
        calibration=reference.calibration,
        quantization=reference.quantization,
        graphs=tuple(
            GraphRecord(precision=p, path=graph_name(p), sha256=sha256(folder / graph_name(p)))
            for p in reference.graphs
        ),
        artifacts=tuple(p.record for p in proved),
        failures=tuple(failures),
        pairs=all_pairs(proved),
        float_accuracy=reference.float_accuracy,
        normalize=described["normalize"],
        input_quantization=described["input_quantization"],
        golden_sha256=sha256(folder / FOLDER),
        options=_options(build_request, reference),
        command=build_request.command,
        versions=installed_versions(),
    )
