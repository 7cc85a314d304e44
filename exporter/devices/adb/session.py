"""A build's `.pte` artifacts on one phone: copied, timed, compared, and taken away again."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from exporter.devices.adb import outcomes, runner
from exporter.devices.adb.changes import undone
from exporter.devices.adb.client import Adb, connect, find_adb
from exporter.devices.adb.facts import big_cores, mask
from exporter.devices.adb.job import Job, read_job
from exporter.devices.adb.measure import Remote, take_turns
from exporter.devices.adb.payload import MODEL, RUNNER, results_bytes, stage_model
from exporter.devices.adb.phone import FOLDER, Phone, check_room, cooled, read_phone, read_thermal
from exporter.devices.request import ProfileRequest, Tell
from exporter.files import sha256, size
from exporter.latency.records import ArtifactProfile, DeviceProfile, Thermal
from exporter.manifest import installed_versions

HASH_DIGITS = 12  # of the pushed folder's name


@dataclass(frozen=True, kw_only=True)
class Staged:
    """The folder to push, named as on the phone."""

    folder: Path
    start: tuple[str, ...]
    runner: str  # which, for the record


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the phone gave."""

    before: Thermal
    after: Thermal
    artifacts: dict[str, ArtifactProfile]
    notes: tuple[str, ...]


def profile(request: ProfileRequest, serial: str | None, tell: Tell) -> DeviceProfile:
    """Profile on the device `serial`, or the only one, and leave nothing of it there.

    Raises DeviceError for a device that cannot be used or goes away, ArtifactError for a build
    with nothing for it.
    """
    job = read_job(request)
    adb = connect(find_adb(), serial)
    phone = read_phone(adb)
    tell(f"{phone.device.name} ({adb.serial})")
    with tempfile.TemporaryDirectory(prefix="mnv2-adb-") as scratch:
        staged = _stage(job, request.runner, phone, Path(scratch))
        room = size(staged.folder) + results_bytes(job.programs, len(job.vectors.names))
        check_room(adb, room)
        found = _on_the_phone(job, adb, phone, staged, tell)
    return DeviceProfile(
        device=phone.device,
        settings=request.settings,
        thermal_before=found.before,
        thermal_after=found.after,
        artifacts=tuple(
            found.artifacts.get(record.path) or outcomes.not_run(job, record)
            for record in job.chosen
        ),
        notes=(*phone.notes, *found.notes),
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        versions={**installed_versions(), "runner": staged.runner},
    )


def _stage(job: Job, wanted: Path | None, phone: Phone, scratch: Path) -> Staged:
    """Lay out what is pushed, under a name that tells its contents."""
    path = wanted or runner.cached_bundle(job.manifest.versions.get("executorch", ""), phone.abis)
    folder = scratch / "payload"
    folder.mkdir()
    program = runner.unpack(path, folder / RUNNER)
    runner.check_abi(program, path, phone.abis)
    stage_model(job.build, job.programs, job.vectors, folder / MODEL)
    named = scratch / f"mnv2-{sha256(folder)[:HASH_DIGITS]}"
    digest = sha256(folder / RUNNER)[:HASH_DIGITS]
    which = f"{path.name}, {program.abi}, {digest}"
    return Staged(folder=folder.rename(named), start=program.start, runner=which)


def _on_the_phone(job: Job, adb: Adb, phone: Phone, staged: Staged, tell: Tell) -> Found:
    folder = f"{FOLDER}/{staged.folder.name}"
    with undone(adb, tell) as changes:
        changes.take_folder(folder)
        tell(f"copying {size(staged.folder) / 1e6:.1f} MB to {folder}")
        adb.push(staged.folder, FOLDER)
        adb.shell(f"chmod -R 755 {folder}")
        cores, core_notes = _pinned(adb, phone, job.settings.threads)
        remote = Remote(adb=adb, folder=folder, start=staged.start, mask=cores)
        remote.check_start()
        performance = changes.fix_performance()
        before, hot = cooled(adb, tell)
        timed = take_turns(remote, job.programs, job.settings, tell)
        after = read_thermal(adb)
        tell("comparing results")
        artifacts = {
            found.record.path: outcomes.measured(job, remote, found, staged.folder.parent)
            for found in timed
        }
    notes = (*core_notes, *([performance] if performance else ()), *hot)
    return Found(before=before, after=after, artifacts=artifacts, notes=notes)


def _pinned(adb: Adb, phone: Phone, threads: int) -> tuple[str, tuple[str, ...]]:
    """The mask of the fastest cores, and what to note about it."""
    cores = mask(big_cores(phone.cores, threads))
    if cores == "0":
        return "", ("not pinned to cores: none is known to be faster than the others",)
    if not phone.has_taskset:
        return "", ("not pinned to cores: this device has no taskset",)
    reply = adb.shell(f"taskset {cores} true")
    if reply.code != 0:
        return "", (f"not pinned to the cores {cores}: {reply.reason}",)
    return cores, (f"pinned to the fastest cores, mask {cores}",)
