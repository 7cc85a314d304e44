"""One build, step by step: its reference, its artifacts in processes or here, what is kept of them.

What is in the cache is not computed, and what computing it needs is not imported.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import shutil
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporter.cache import keys
from exporter.cache.builds import REFERENCE, Kept, NotCachedError
from exporter.errors import TargetError
from exporter.events import ArtifactChecked, Event, Note, Stage, StageStarted, TargetFailed
from exporter.files import sha256
from exporter.layout import GOLDEN, NOTES, artifact_name, discard, evidence_of, graph_name
from exporter.manifest import Manifest, read_manifest, write_manifest
from exporter.outputs import chosen_ends
from exporter.spec import Precision
from exporter.workers import Workers

if TYPE_CHECKING:
    from exporter.made import Made
    from exporter.pipeline import BuildRequest
    from exporter.reference import Reference
    from exporter.verdicts import Pair


@dataclass(kw_only=True, eq=False)
class Base:
    """What every artifact of a build rests on."""

    manifest: Manifest  # without artifacts
    folder: Path  # holds what lies beside artifacts, and, for workers and the cache, the rest
    sums: Mapping[str, str] = field(default_factory=dict)  # of the files, where they are kept
    made: Reference | None = None

    def reference(self) -> Reference:
        """In memory, from disk where another build made it."""
        if self.made is None:
            from exporter.reference_file import load_reference

            self.made = load_reference(self.folder)
        return self.made


class Run:
    """A build under way; `run` yields what is said and leaves everything in `folder`."""

    def __init__(self, request: BuildRequest, folder: Path, scratch: Path) -> None:
        self.request, self.folder, self.scratch = request, folder, scratch
        self.cache = Kept(request.cache, scratch)
        self.keys: list[str] = [""] * len(request.jobs)
        self.made: dict[int, Made] = {}
        self.failed: dict[int, TargetFailed] = {}

    def run(self) -> Generator[Event, None, Manifest]:
        """Raises ExportError for inputs that cannot be used, or when no target wrote anything."""
        needs_int8 = any(precision is Precision.INT8 for _, precision in self.request.jobs)
        if self.cache.store is not None:
            keys.read_code(target for target, _ in self.request.jobs)
        key = self._reference_key(needs_int8=needs_int8)
        base = yield from self._kept_base(key)
        if base is not None:
            self._look_up(base)
        todo = [i for i in range(len(self.request.jobs)) if i not in self.made]
        if self.request.only_cached and (todo or base is None):
            raise NotCachedError("there is something to make")
        with contextlib.ExitStack() as stack:
            if todo:
                from exporter.threads import one_thread

                stack.enter_context(one_thread())
            workers = self._workers(todo, stack)
            if base is None:
                base = yield from self._new_base(key, needs_int8=needs_int8)
                self._look_up(base)
                todo = [i for i in todo if i not in self.made]
            _copy_beside(base, self.folder)
            yield from self._make(base, todo, workers)
        return (yield from self._concluded(base))

    def _reference_key(self, *, needs_int8: bool) -> str:
        return self.cache.key(
            lambda: keys.reference_key(self.request.request, needs_int8=needs_int8)
        )

    def _workers(self, todo: Sequence[int], stack: contextlib.ExitStack) -> Workers | None:
        if self.request.workers < 2 or len(todo) < 2:
            return None
        request = self.request
        return stack.enter_context(
            Workers(request.workers, request.jobs, request.options, todo, self.scratch)
        )

    def _kept_base(self, key: str) -> Generator[Event, None, Base | None]:
        stage = Stage("cache")
        fetched = self.cache.fetch(REFERENCE, key)
        yield from self._told()
        if fetched is None:
            return None
        folder, found = fetched
        yield stage.started
        yield stage.finished(f"graphs and golden results, made on {found.made[:10]}")
        yield from (Note(text=note) for note in json.loads((folder / NOTES).read_text()))
        return Base(manifest=self._stated(read_manifest(folder)), folder=folder, sums=found.sums)

    def _new_base(self, key: str, *, needs_int8: bool) -> Generator[Event, None, Base]:
        from exporter.reference import make_reference
        from exporter.reference_file import write_beside, write_inside

        folder = self.scratch / REFERENCE
        folder.mkdir()
        notes: list[str] = []
        making = make_reference(self.request.request, needs_int8=needs_int8)
        reference = yield from _noting(making, notes)
        write_beside(reference, folder)
        manifest = base_manifest(reference, folder)
        write_manifest(manifest, folder)
        if key or self.request.workers > 1:
            write_inside(reference, notes, folder)
        if key != self._reference_key(needs_int8=needs_int8):
            key = ""  # the checkpoint or a photo is no longer what it was when it was hashed
        sums = self.cache.keep(REFERENCE, key, folder, f"graphs of {reference.source.name}")
        yield from self._told()
        return Base(manifest=self._stated(manifest), folder=folder, sums=sums, made=reference)

    def _stated(self, manifest: Manifest) -> Manifest:
        """With what this build was asked for; of outputs what is built where nothing was."""
        request, spec = self.request.request, manifest.spec
        ends = chosen_ends(spec.task, spec.classes, request.outputs, request.nms)
        options: dict[str, Any] = dataclasses.asdict(self.request.options)
        options |= {"outputs": ends.outputs, "nms": ends.nms}
        return dataclasses.replace(
            manifest, options=json.loads(json.dumps(options)), command=self.request.command
        )

    def _look_up(self, base: Base) -> None:
        """Take what the cache has; `keys` says under which key the rest will be kept."""
        if not base.sums:
            return
        for index, (target, precision) in enumerate(self.request.jobs):
            evidence = evidence_of(base.sums, precision, target.info.rules)
            self.keys[index] = self.cache.key(
                functools.partial(
                    keys.artifact_key, target, precision, self.request.options, evidence
                )
            )
            found = self.cache.artifact(self.keys[index], self.folder)
            if found is not None:
                self.made[index] = found

    def _make(self, base: Base, todo: Sequence[int], workers: Workers | None) -> Iterator[Event]:
        """Every artifact in the order of the jobs, whoever makes it and whoever is done first."""
        options = self.request.options
        names = [
            artifact_name(target, precision, options) for target, precision in self.request.jobs
        ]
        places = [self.folder / name for name in names]
        if workers is not None:
            workers.begin(todo, base.reference(), base.folder, places)
        for index, job in enumerate(self.request.jobs):
            yield StageStarted(stage=names[index])
            if index in todo:
                outcome = (
                    self._attempt(base, index, places[index])
                    if workers is None
                    else workers.result(index)
                )
                if isinstance(outcome, TargetFailed):
                    discard(job[0], places[index])
                    self.failed[index] = outcome
                    yield outcome
                    continue
                self.made[index] = outcome
                self.cache.keep_artifact(
                    self.keys[index], outcome, base.manifest, self.folder, names[index]
                )
            yield from _checked(self.made[index])
            yield from self._told()

    def _attempt(self, base: Base, index: int, place: Path) -> Made | TargetFailed:
        from exporter.making import attempt

        return attempt(self.request.jobs[index], self.request.options, base.reference(), place)

    def _concluded(self, base: Base) -> Generator[Event, None, Manifest]:
        if not self.made:
            raise TargetError("no target wrote an artifact", "the lines above say why")
        indices = sorted(self.made)
        manifest = dataclasses.replace(
            base.manifest,
            artifacts=tuple(record for i in indices for record in self.made[i].records),
            failures=tuple(failed.failure for _, failed in sorted(self.failed.items())),
        )
        used = [self.keys[index] for index in indices]
        key = self.cache.key(lambda: keys.build_key(manifest, used)) if all(used) else ""
        pairs = self.cache.pairs(key)
        if pairs is None:
            pairs = self._pairs(base, indices)
            self.cache.keep_pairs(key, dataclasses.replace(manifest, pairs=pairs))
        if self.cache.kept:
            self.cache.limit()
        yield from self._told()
        manifest = dataclasses.replace(manifest, pairs=pairs)
        write_manifest(manifest, self.folder)
        return manifest

    def _pairs(self, base: Base, indices: Sequence[int]) -> tuple[Pair, ...]:
        from exporter.proof import all_pairs

        return all_pairs(
            [
                p
                for i in indices
                for p in self.made[i].proved(base.reference(), *self.request.jobs[i])
            ]
        )

    def _told(self) -> Iterator[Event]:
        """What the cache had to say since this was asked last."""
        yield from (Note(text=note) for note in self.cache.notes)
        self.cache.notes.clear()


def base_manifest(reference: Reference, folder: Path) -> Manifest:
    """What is said of the reference in `folder`: a manifest without artifacts."""
    from exporter.manifest import GraphRecord, installed_versions
    from exporter.metadata import metadata

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
        artifacts=(),
        float_accuracy=reference.float_accuracy,
        normalize=described["normalize"],
        input_quantization=described["input_quantization"],
        golden_sha256=sha256(folder / GOLDEN),
        versions=installed_versions(),
    )


def _copy_beside(base: Base, folder: Path) -> None:
    """The graphs and the golden vectors, into the build directory."""
    for graph in base.manifest.graphs:
        shutil.copyfile(base.folder / graph.path, folder / graph.path)
    shutil.copytree(base.folder / GOLDEN, folder / GOLDEN)


def _checked(made: Made) -> Iterator[Event]:
    emit_seconds = made.emit_seconds
    for record, seconds in zip(made.records, made.check_seconds, strict=True):
        yield ArtifactChecked(record=record, emit_seconds=emit_seconds, check_seconds=seconds)
        emit_seconds = None  # a companion was written with its artifact
    first = made.records[0]
    yield from (Note(text=f"{first.path}: {note}") for note in first.notes)


def _noting(
    making: Generator[Event, None, Reference], notes: list[str]
) -> Generator[Event, None, Reference]:
    """Hand events on, and keep the text of those that are to be told again."""
    try:
        while True:
            event = next(making)
            if isinstance(event, Note):
                notes.append(event.text)
            yield event
    except StopIteration as end:
        reference: Reference = end.value
        return reference
