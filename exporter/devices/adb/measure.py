"""Starting the runner on the phone, again and again in turn, and what it says."""

from __future__ import annotations

import dataclasses
import json
import shlex
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from exporter.devices.adb.client import Adb, DeviceLostError
from exporter.devices.adb.payload import MODEL, RUNNER
from exporter.devices.adb.phone import COOL, read_thermal
from exporter.devices.request import Tell
from exporter.errors import DeviceError
from exporter.latency.records import Latency, Settings, ThermalStatus
from exporter.latency.statistics import summarize
from exporter.manifest import ArtifactRecord

ROUNDS = 4  # starts of each artifact where several take turns
RUN_S = 900.0  # one start, on a slow phone ...
INFERENCE_S = 1.0  # ... and this for each inference
BROKEN = 255  # adb's own exit code where the connection broke
SIGNALLED = 128  # what a shell adds to a signal's number
ETDUMP = "profile.etdp"


class RunnerError(Exception):
    """The runner refused an artifact, or died of it: told in that artifact's place."""


@dataclass(frozen=True, kw_only=True)
class Remote:
    """The pushed folder, and how to start what is in it."""

    adb: Adb
    folder: str
    start: tuple[str, ...]
    mask: str = ""  # of the cores to run on; empty: any

    def run(self, *arguments: str, inferences: int = 0) -> str:
        """One start of the runner to its end; raises RunnerError, or DeviceLostError.

        Its process id is on the phone meanwhile, so that it can be stopped when we are.
        """
        pin = ("taskset", self.mask) if self.mask else ()
        words = shlex.join(["exec", *pin, *self.start, *arguments])
        counted = shlex.quote(f"echo $$ > ../pid; {words}")
        command = f"cd {self.folder}/{RUNNER} && sh -c {counted}; c=$?; rm -f ../pid; exit $c"
        reply = self.adb.shell(command, timeout_s=RUN_S + inferences * INFERENCE_S)
        if reply.code == 0 or (reply.code == 1 and reply.out.startswith("{")):  # a failed self-test
            return reply.out
        if reply.code == BROKEN and not reply.err.strip():
            raise DeviceLostError(f"{self.adb.serial}: the connection broke while measuring")
        if reply.code > SIGNALLED:
            raise RunnerError(f"the runner was ended by {_signal(reply.code - SIGNALLED)}")
        raise RunnerError(reply.reason.removeprefix("mnv2_runner: "))

    def check_start(self) -> None:
        """Raise DeviceError where the program does not start at all."""
        try:
            self.run("--help")
        except RunnerError as error:
            raise DeviceError(
                f"{self.adb.serial}: the runner does not start ({error})",
                "build it for this device: docs/adb.md",
            ) from None


@dataclass(kw_only=True)
class Measured:
    """What one artifact gave so far; `failure` ends it."""

    record: ArtifactRecord
    starts: list[dict[str, Any]] = field(default_factory=list)
    hottest: ThermalStatus | None = None  # throttled, while or after it ran
    failure: str = ""

    @property
    def latency(self) -> Latency:
        """Of all starts' samples as they came; load and first inference are the first start's."""
        samples = [ms for start in self.starts for ms in start["samples_ms"]]
        first = self.starts[0]
        found = summarize(samples, load_ms=first["load_ms"], first_ms=first["first_ms"])
        if self.hottest is None:
            return found
        verdict = f"unstable: {self.hottest} heat while measuring"
        return dataclasses.replace(found, stable=False, verdict=verdict)

    @property
    def peak_rss_bytes(self) -> int:
        """The most that a start took."""
        return max(int(start["peak_rss_bytes"]) for start in self.starts)


def take_turns(
    remote: Remote, artifacts: Sequence[ArtifactRecord], settings: Settings, tell: Tell
) -> list[Measured]:
    """Time every artifact in several processes, so that a slow spell meets all of them."""
    found = [Measured(record=record) for record in artifacts]
    rounds = min(ROUNDS, settings.iterations) if len(found) > 1 else 1
    for index, iterations in enumerate(_shares(settings.iterations, rounds)):
        for measured in found if index % 2 == 0 else found[::-1]:
            if not measured.failure:
                last = index == rounds - 1 and settings.layers
                _start(remote, measured, settings, iterations, last=last)
        if rounds > 1:
            tell(f"round {index + 1} of {rounds}")
    return found


def self_test(remote: Remote, record: ArtifactRecord, results: str) -> dict[str, Any]:
    """The runner's verdict on the golden images; its raw results stay in a folder on the phone."""
    arguments = ("--self-test", "--json", "--dump-results", results)
    return _document(remote.run(*_model(record), *arguments))


def _start(
    remote: Remote, measured: Measured, settings: Settings, iterations: int, *, last: bool
) -> None:
    options = {
        "--threads": settings.threads,
        "--iterations": iterations,
        "--warmup": settings.warmup,
    }
    words = [str(word) for option in options.items() for word in option]
    if last:
        words += ["--etdump", etdump_of(remote, measured.record)]
    try:
        words = ["--benchmark", "--json", *_model(measured.record), *words]
        said = _document(remote.run(*words, inferences=iterations + settings.warmup))
    except RunnerError as error:
        measured.failure = str(error)
        return
    measured.starts.append(said)
    status = read_thermal(remote.adb).status
    if status not in COOL:
        measured.hottest = status


def etdump_of(remote: Remote, record: ArtifactRecord) -> str:
    """Where the trace of an artifact is on the phone."""
    return f"{remote.folder}/{record.path}.{ETDUMP}"


def _model(record: ArtifactRecord) -> tuple[str, ...]:
    return ("--model", f"../{MODEL}", "--artifact", record.path)


def _document(text: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(text)
        if "samples_ms" not in found and "passed" not in found:
            raise ValueError
    except ValueError:
        raise DeviceError(
            "the runner does not tell its samples", "build it from this version's app_samples/cpp"
        ) from None
    return found


def _shares(total: int, parts: int) -> list[int]:
    return [total // parts + (index < total % parts) for index in range(parts)]


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
