"""An app sample with a model in place: sources, artifact, manifest, labels, golden vectors."""

from __future__ import annotations

import dataclasses
import importlib.resources
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from exporter.errors import ArtifactError, UnsupportedError
from exporter.files import exchange, replace_directory, sha256
from exporter.manifest import FILE_NAME, ArtifactRecord, Manifest, read_manifest, write_manifest
from exporter.outputs import NmsMode, Outputs
from exporter.sample_constants import constants, source
from exporter.sample_kinds import SAMPLES, SampleInfo, SampleKind
from exporter.self_test import SelfTest
from exporter.spec import Precision
from exporter.target import IoType
from exporter.vectors import FOLDER, reference_key
from exporter.verdicts import Outcome

LABELS = "labels.txt"
LONGEST_REASON = 200  # characters: copying a folder collects a reason for every file
PREFERRED = (Precision.INT8, Precision.FP16, Precision.FP32)
# What is in a sample's folder, but not for its user: our checks, and what tools leave behind.
NOT_COPIED = shutil.ignore_patterns(
    "check.sh", "checks", "apt-packages.txt", "node_modules", "vendor", "build", ".build",
    ".gradle", ".idea", "local.properties", "__pycache__", ".DS_Store",
)  # fmt: skip
UNFINISHED = (Outputs.RAW, Outputs.LOWRES_LOGITS)  # an app would have to do the rest


@dataclass(frozen=True, kw_only=True)
class SampleRequest:
    """Which app, made from what, where."""

    kind: SampleKind
    build: Path
    out: Path
    precision: Precision | None = None  # None: int8 if there is one, else what there is
    update: bool = False  # only the model and the constants of an app that exists


@dataclass(frozen=True, kw_only=True)
class MadeSample:
    """What was written."""

    kind: SampleKind
    out: str
    artifact: str
    precision: Precision
    files: int  # that were written
    next_step: str


def make_sample(request: SampleRequest) -> MadeSample:
    """Copy the sample with its model in place, or exchange the model of an app that exists.

    Raises ArtifactError for a build that is damaged or an `out` that is in the way, and
    UnsupportedError for a build that the sample cannot show.
    """
    try:
        return _made(request)
    except (OSError, RuntimeError) as error:  # what a file system refuses, a loop of links included
        path, reason = getattr(error, "filename", None), getattr(error, "strerror", None)
        text = " ".join(str(reason or error).split())[:LONGEST_REASON]
        raise ArtifactError(f"{path or request.out}: {text}", "choose another --out") from None


def _made(request: SampleRequest) -> MadeSample:
    info = SAMPLES[request.kind]
    manifest = read_manifest(request.build)
    record = _chosen(manifest, info, request)
    _check_runs(manifest, record, info)
    _check_bytes(request.build, manifest, record)
    _check_apart(request, info)
    model = _Model(build=request.build, manifest=manifest, record=record, info=info)
    written = _exchanged(request.out, model) if request.update else _copied(request.out, model)
    return MadeSample(
        kind=info.kind,
        out=str(request.out),
        artifact=record.path,
        precision=record.precision,
        files=written,
        next_step=info.next_step,
    )


@dataclass(frozen=True, kw_only=True)
class _Model:
    """What goes into an app."""

    build: Path
    manifest: Manifest
    record: ArtifactRecord
    info: SampleInfo


def _copied(out: Path, model: _Model) -> int:
    """A new app; the number of its files."""
    with replace_directory(out, _why_occupied) as fresh:
        shutil.copytree(_sources(model.info.kind), fresh, ignore=NOT_COPIED, dirs_exist_ok=True)
        _place(model, fresh)
        return _count(fresh)


def _exchanged(out: Path, model: _Model) -> int:
    """Another model in an app that exists; the number of its files."""
    _check_is_sample(out, model.info)
    with tempfile.TemporaryDirectory(prefix=".update.", dir=out) as folder:
        fresh, aside = Path(folder) / "new", Path(folder) / "old"
        fresh.mkdir()
        aside.mkdir()
        _place(model, fresh)
        written = _count(fresh)
        places = (model.info.model, model.info.constants)
        exchange([(fresh / place, out / place) for place in places], aside)
        return written


def _count(folder: Path) -> int:
    return sum(1 for path in folder.rglob("*") if path.is_file())


def _chosen(manifest: Manifest, info: SampleInfo, request: SampleRequest) -> ArtifactRecord:
    of_target = {a.precision: a for a in manifest.artifacts if _is_for(a, info)}
    wanted = PREFERRED if request.precision is None else (request.precision,)
    for precision in wanted:
        if precision in of_target:
            return of_target[precision]
    named = "" if request.precision is None else f"{request.precision} "
    extra = "" if request.precision is None else f" --precision {request.precision}"
    raise UnsupportedError(
        f"{request.build}: has no {named}{info.suffix} file of target {info.target}, "
        f"which the {info.kind} sample runs",
        f"mnv2-export build --target {info.target}{extra}",
    )


def _is_for(record: ArtifactRecord, info: SampleInfo) -> bool:
    return record.target == info.target and Path(record.path).suffixes == [info.suffix]


def _check_runs(manifest: Manifest, record: ArtifactRecord, info: SampleInfo) -> None:
    """Raise UnsupportedError for results that no sample finishes, or that were not proved."""
    options = manifest.options
    if record.parity.outcome is Outcome.DRIFTED:
        raise UnsupportedError(
            f"{record.path} drifted: {record.parity.reason}", "do not ship it; build again"
        )
    if options["outputs"] in UNFINISHED:
        wanted = " or ".join(_finished(manifest))
        raise UnsupportedError(
            f"the build gives {options['outputs']}, which an app would have to finish",
            f"build with --outputs {wanted}",
        )
    if options["nms"] == NmsMode.NATIVE and info.kind is SampleKind.IOS:
        raise UnsupportedError(
            "the ios sample does not read Core ML's own suppression", "build with --nms graph"
        )
    if options["batch"] != 1 or options["io"] != IoType.FLOAT32:
        raise UnsupportedError(
            f"the build takes {options['batch']} images at once as {options['io']}",
            "build without --batch and --io",
        )


def _finished(manifest: Manifest) -> tuple[str, ...]:
    if manifest.spec.detection is not None:
        return (Outputs.DECODED,)
    return (Outputs.LOGITS, Outputs.LABELS)


def _check_bytes(folder: Path, manifest: Manifest, record: ArtifactRecord) -> None:
    """The app must get what was proved."""
    for name, digest in ((record.path, record.sha256), (FOLDER, manifest.golden_sha256)):
        if Path(name).name != name or not (folder / name).exists():
            raise ArtifactError(f"{folder / name}: missing", "build again")
        if sha256(folder / name) != digest:
            raise ArtifactError(
                f"{folder / name}: not the bytes that were built (SHA-256 differs from the "
                "manifest)",
                "build again, or restore the file",
            )
    if record.self_test is None:
        raise ArtifactError(
            f"{folder / FILE_NAME}: says nothing of a self-test", "build again with this version"
        )


def _check_apart(request: SampleRequest, info: SampleInfo) -> None:
    """Neither may an app lie in the build, nor the build where the app's model goes."""
    build, out = request.build.resolve(), request.out.resolve()
    if out.is_relative_to(build) or build.is_relative_to((request.out / info.model).resolve()):
        raise ArtifactError(
            f"{request.out}: the app's files would lie among those of {request.build}",
            "choose another --out",
        )


def _check_is_sample(out: Path, info: SampleInfo) -> None:
    for name in (f"{info.model}/{FILE_NAME}", info.constants):
        if not (out / name).is_file():
            raise ArtifactError(
                f"{out}: no app that `mnv2-export sample {info.kind}` made: {name} is missing",
                "leave out --update to make one",
            )


def _why_occupied(_: Path) -> str:
    return "and may be an app with changes of yours, whose model --update exchanges"


def _sources(kind: SampleKind) -> Path:
    """The folder of the sample, in the repository or in the installed package."""
    root = importlib.resources.files("app_samples")
    found = Path(str(root)) / kind
    if not found.is_dir():
        raise ArtifactError(f"{found}: missing", "install mnv2-export again")
    return found


def _place(model: _Model, app: Path) -> None:
    """Write the model's folder and the constants into an app that has neither."""
    manifest, record, info = model.manifest, model.record, model.info
    asked = dataclasses.replace(record, self_test=_self_test(record, info))
    ours = dataclasses.replace(manifest, artifacts=(asked,), graphs=(), pairs=(), failures=())
    folder, code = app / info.model, app / info.constants
    folder.mkdir(parents=True)
    code.parent.mkdir(parents=True, exist_ok=True)
    _copy(model.build / record.path, folder / record.path)
    _copy(model.build / FOLDER, folder / FOLDER)
    write_manifest(ours, folder)
    (folder / LABELS).write_text(_lines(_labels(manifest)), encoding="utf-8")
    text = source(info.kind, constants(manifest, record, sha256(folder / FILE_NAME)))
    code.write_text(text, encoding="utf-8")


def _self_test(record: ArtifactRecord, info: SampleInfo) -> SelfTest:
    """Int8 by the rounding of the app's runtime: that in a browser is not the desktop's."""
    assert record.self_test is not None, "`_check_bytes` refuses a record without one"
    if record.self_test.reference == Precision.FP32:
        return record.self_test
    key = reference_key(record.precision, info.int8_rules)
    return dataclasses.replace(record.self_test, reference=key)


def _labels(manifest: Manifest) -> Iterable[str]:
    return (manifest.spec.label(index) for index in range(manifest.spec.classes))


def _lines(values: Iterable[str]) -> str:
    return "".join(f"{' '.join(value.split())}\n" for value in values)


def _copy(source: Path, to: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, to)
    else:
        shutil.copyfile(source, to)
