"""How much longer the new build's artifacts take: run in turn on this machine, or from profiles."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.comparison.records import HOST, Absolute, Ratio
from exporter.devices.request import Tell
from exporter.errors import ExportError
from exporter.latency.records import (
    ArtifactProfile,
    DeviceKind,
    DeviceProfile,
    Latency,
    Median,
    Settings,
)
from exporter.manifest import ArtifactRecord, Manifest
from exporter.target import Target

if TYPE_CHECKING:
    from exporter.latency.records import PairedLatency

IN_TURN, PROFILE, PROFILES, SAME_BYTES = "run in turn", "profile", "profiles", "same bytes"
CORE_ML = ".mlpackage"
UNPAIRED = "not in profiles of one device in both builds"
EQUAL = Median(value=1.0, low=1.0, high=1.0)


@dataclass(frozen=True, kw_only=True)
class Timing:
    """What is known of one artifact's latency."""

    base: tuple[Absolute, ...] = ()
    new: tuple[Absolute, ...] = ()
    ratios: tuple[Ratio, ...] = ()
    reason: str = ""  # why there is no ratio


Timings = Mapping[str, Timing]  # by artifact


def in_turn(
    builds: tuple[tuple[Path, Manifest], tuple[Path, Manifest]],
    settings: Settings,
    targets: Mapping[str, Target],
    tell: Tell,
) -> Timings:
    """Both builds' artifacts of one name, alive at once and run by turns on this machine.

    What else the machine does meets both alike. Each is fed its own build's image. Files of equal
    bytes are not run.
    """
    (base, old), (new, fresh) = builds
    before = {record.path: record for record in old.artifacts}
    timings = {}
    for record in fresh.artifacts:
        if record.path not in before:
            continue
        if before[record.path].sha256 == record.sha256:
            timings[record.path] = _same_bytes()
        elif reason := _why_not_here(record):
            timings[record.path] = Timing(reason=reason)
        else:
            pair = base / record.path, new / record.path
            timings[record.path] = _one_pair(pair, settings, targets, tell)
    return timings


def from_profiles(
    base: tuple[Manifest, tuple[DeviceProfile, ...]] | None,
    new: tuple[Manifest, tuple[DeviceProfile, ...]],
) -> Timings:
    """Saved figures; a ratio needs one device, measured in the same way, in both builds."""
    fresh = _measured(*new)
    old = {} if base is None else _measured(*base)
    named = set() if base is None else {record.path for record in base[0].artifacts}
    timings = {}
    for record in new[0].artifacts:
        here = {key: row for key, row in fresh.items() if key[0] == record.path}
        ratios = tuple(_ratio(key, old[key], row) for key, row in here.items() if key in old)
        timings[record.path] = Timing(
            base=tuple(_absolute(key, row) for key, row in old.items() if key[0] == record.path),
            new=tuple(_absolute(key, row) for key, row in here.items()),
            ratios=ratios,
            reason=UNPAIRED if record.path in named and not ratios else "",
        )
    return timings


def merged(here: Timings, saved: Timings) -> Timings:
    """This machine's figures from `here`, those of other devices from `saved`.

    Equal files are not run, so their times, too, are what a profile says.
    """
    both = {}
    for name in dict.fromkeys((*here, *saved)):
        now, then = here.get(name, Timing()), saved.get(name, Timing())
        both[name] = Timing(
            base=_with_saved(now.base, then.base),
            new=_with_saved(now.new, then.new),
            ratios=(*now.ratios, *(r for r in then.ratios if r.device != HOST)),
            reason=now.reason,
        )
    return both


def _with_saved(now: tuple[Absolute, ...], then: tuple[Absolute, ...]) -> tuple[Absolute, ...]:
    return *now, *(time for time in then if time.device != HOST or not now)


def stale(manifest: Manifest, profiles: tuple[DeviceProfile, ...]) -> tuple[str, ...]:
    """Artifacts that were profiled and then built anew."""
    built = {record.path: record.sha256 for record in manifest.artifacts}
    return tuple(
        f"{row.artifact} on {profile.device.name}"
        for profile in profiles
        for row in profile.artifacts
        if row.artifact in built and row.sha256 != built[row.artifact]
    )


def device_name(profile: DeviceProfile) -> str:
    """What a budget calls it."""
    return HOST if profile.device.kind is DeviceKind.HOST else profile.device.name


def _why_not_here(record: ArtifactRecord) -> str:
    mac = platform.system() == "Darwin"
    return "needs macOS" if record.path.endswith(CORE_ML) and not mac else ""


def _same_bytes() -> Timing:
    ratio = Ratio(device=HOST, ratio=EQUAL, stable=True, verdict="stable", source=SAME_BYTES)
    return Timing(ratios=(ratio,))


def _one_pair(
    pair: tuple[Path, Path], settings: Settings, targets: Mapping[str, Target], tell: Tell
) -> Timing:
    from exporter.devices.host import measure_pairs

    try:
        (found,) = measure_pairs([pair], settings, targets, tell)
    except ExportError as error:  # this artifact does not run here; the others may
        return Timing(reason=error.message)
    return _timing(found)


def _timing(found: PairedLatency) -> Timing:
    ratio = Ratio(
        device=HOST,
        ratio=found.ratio,
        stable=found.stable,
        verdict=found.verdict,
        source=IN_TURN,
    )
    base, new = (_of_latency(HOST, latency, IN_TURN) for latency in (found.a, found.b))
    return Timing(base=(base,), new=(new,), ratios=(ratio,))


def _of_latency(device: str, latency: Latency, source: str) -> Absolute:
    return Absolute(
        device=device,
        median_ms=latency.median,
        stable=latency.stable,
        verdict=latency.verdict,
        source=source,
    )


Key = tuple[str, str, str, int]  # artifact, device, its identifier or its facts, threads


def _measured(manifest: Manifest, profiles: tuple[DeviceProfile, ...]) -> dict[Key, Latency]:
    """What is not stale."""
    built = {record.path: record.sha256 for record in manifest.artifacts}
    found = {}
    for profile in profiles:
        same = profile.device.serial or profile.device.name
        for row in profile.artifacts:
            if row.latency is not None and built.get(row.artifact) == row.sha256:
                found[_key(profile, same, row)] = row.latency
    return found


def _key(profile: DeviceProfile, same: str, row: ArtifactProfile) -> Key:
    return row.artifact, device_name(profile), same, row.threads


def _absolute(key: Key, latency: Latency) -> Absolute:
    return _of_latency(key[1], latency, PROFILE)


def _ratio(key: Key, base: Latency, new: Latency) -> Ratio:
    """The interval is as wide as both medians' together allow: nothing was paired."""
    low, high = new.median.low / base.median.high, new.median.high / base.median.low
    both = {"base": base, "new": new}
    unstable = [f"{name} {one.verdict}" for name, one in both.items() if not one.stable]
    value = new.median.value / base.median.value
    return Ratio(
        device=key[1],
        ratio=Median(value=value, low=low, high=high),
        stable=not unstable,
        verdict="; ".join(unstable) or "stable",
        source=PROFILES,
    )
