"""From what a phone gave to the records of a profile."""

from __future__ import annotations

from pathlib import Path

from exporter.devices.adb.job import DAMAGED, Job
from exporter.devices.adb.measure import Measured, Remote, RunnerError, etdump_of, self_test
from exporter.devices.adb.results import Agreement, agreement, host_results, read_results
from exporter.errors import ExportError
from exporter.graph_file import load_graph
from exporter.latency.layers import xnnpack_layers
from exporter.latency.records import ArtifactProfile, LayerTime
from exporter.latency.records import Measured as Outcome
from exporter.manifest import ArtifactRecord
from exporter.vectors import vector_images

NO_RUNNER = "no runner for adb: the C++ runner runs .pte programs of XNNPACK"


def not_run(job: Job, record: ArtifactRecord) -> ArtifactProfile:
    """Of an artifact that is damaged, or not for this way of measuring."""
    if record.path in job.damaged:
        return _profile(job, record, outcome=Outcome.FAILED, reason=DAMAGED)
    return _profile(job, record, outcome=Outcome.NOT_RUN, reason=NO_RUNNER)


def measured(job: Job, remote: Remote, found: Measured, scratch: Path) -> ArtifactProfile:
    """Pull one artifact's trace and results, compare, and put it all together."""
    record = found.record
    if found.failure or not found.starts:
        return _profile(job, record, outcome=Outcome.FAILED, reason=found.failure)
    layers, notes = _layers(job, remote, record, scratch) if job.settings.layers else ((), ())
    same, comparison = _compared(job, remote, record, scratch)
    return _profile(
        job,
        record,
        outcome=Outcome.MEASURED,
        found=found,
        layers=layers,
        same_results=same,
        comparison=comparison,
        notes=notes,
    )


def _layers(
    job: Job, remote: Remote, record: ArtifactRecord, scratch: Path
) -> tuple[tuple[LayerTime, ...], tuple[str, ...]]:
    trace = scratch / f"{record.path}.etdp"
    remote.adb.pull(etdump_of(remote, record), trace)
    try:
        return xnnpack_layers(trace, load_graph(job.graph_of(record))), ()
    except ExportError as error:
        return (), (f"no table by layer: {error.message}",)


def _compared(
    job: Job, remote: Remote, record: ArtifactRecord, scratch: Path
) -> tuple[bool | None, str]:
    asked = record.self_test
    if asked is None:
        return None, "not compared: the manifest states no self-test"
    there, here = f"{remote.folder}/results", scratch / "results" / record.path
    here.parent.mkdir(exist_ok=True)
    try:
        verdict = self_test(remote, record, there)
    except RunnerError as error:
        return False, f"the runner's self-test failed: {error}"
    remote.adb.pull(there, here)
    remote.adb.shell(f"rm -rf {there}")
    images = vector_images(job.vectors, load_graph(job.graph_of(record)))
    found: Agreement = agreement(
        asked,
        read_results(here, asked, job.vectors),
        host_results(job.build / record.path, asked, images),
        job.stored,
        verdict,
    )
    return found.same, found.words


def _profile(
    job: Job,
    record: ArtifactRecord,
    *,
    outcome: Outcome,
    reason: str = "",
    found: Measured | None = None,
    layers: tuple[LayerTime, ...] = (),
    same_results: bool | None = None,
    comparison: str = "",
    notes: tuple[str, ...] = (),
) -> ArtifactProfile:
    version = job.manifest.versions.get("executorch", "")
    return ArtifactProfile(
        artifact=record.path,
        target=record.target,
        precision=record.precision,
        sha256=record.sha256,
        size_bytes=record.size_bytes,
        outcome=outcome,
        reason=reason,
        runtime="" if outcome is Outcome.NOT_RUN else f"ExecuTorch {version}, XNNPACK",
        threads=job.settings.threads,
        warmup=job.settings.warmup,
        latency=found.latency if found else None,
        peak_rss_bytes=found.peak_rss_bytes if found else None,
        layers=layers,
        same_results=same_results,
        comparison=comparison,
        notes=notes,
    )
