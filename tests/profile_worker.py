"""A worker process of `profile` whose runtime does what its artifact says, and writes a diary.

An artifact is JSON: {"name", "ms", "at", "after", "does"}; `at` "load", "run" or "trace", `after`
so many runs, it `does` "die", "hang", "refuse", "shout" or "break".
"""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from exporter.devices.host_worker import serve
from exporter.errors import MissingDependencyError
from exporter.spec import Precision, Rules
from exporter.target import CannotRunError, Contents, Target, TargetInfo
from exporter.timing import TimedSession, Trace, TraceFormat

DIARY = "PROFILE_DIARY"  # the environment variable with the file's name


def write_down(*words: object) -> None:
    """One line of what happened, for all processes in one file."""
    with Path(os.environ[DIARY]).open("a") as file:
        file.write(" ".join(map(str, words)) + "\n")


@dataclass
class Session:
    threads: int
    runtime: str = "a runtime 1.0"
    plan: dict = field(default_factory=dict)
    runs: int = 0

    def load(self, path: Path) -> None:
        self.plan = json.loads(path.read_text())
        write_down("load", self.plan["name"], os.getpid(), self.threads)
        self.reach("load")

    def feed(self, image: np.ndarray) -> None:
        write_down("feed", self.plan["name"], *image.shape, image.dtype)

    def run(self) -> None:
        write_down("run", self.plan["name"])
        self.reach("run")
        self.runs += 1
        time.sleep(self.plan["ms"] / 1e3)

    def trace(self, runs: int) -> Trace | None:
        self.reach("trace")
        layers = self.plan.get("layers")
        if layers is None:
            return None
        return Trace(format=TraceFormat.LAYERS, data=json.dumps([layers] * runs).encode())

    def reach(self, where: str) -> None:
        if self.plan.get("at") != where or self.runs < self.plan.get("after", 0):
            return
        does = self.plan["does"]
        if does == "die":
            os.write(2, b"out of cheese\n")
            os.kill(os.getpid(), signal.SIGABRT)
        elif does == "hang":
            time.sleep(60)
        elif does == "refuse":
            raise CannotRunError("this CPU has no cheese")
        elif does == "shout":
            os.write(1, b'{"error": "noise"}\n')
        elif does == "break":
            raise ValueError("cheese\nwith holes")


@dataclass(frozen=True)
class Backend:
    missing: bool = False

    def check(self) -> None:
        if self.missing:
            raise MissingDependencyError("fake needs fakelib", "pip install fakelib")

    def timed_session(self, threads: int) -> TimedSession:
        return Session(threads=threads)

    def describe(self, path: Path) -> Contents:
        return Contents(
            format="fake",
            size_bytes=path.stat().st_size,
            inputs=(),
            outputs=(),
            ops={},
            delegation="none",
            layers=(),
            undelegated=3,
        )


class Immovable:
    """A backend that offers no session."""

    def check(self) -> None:
        return


def target(name: str, backend: object) -> Target:
    info = TargetInfo(
        name=name,
        format=name,
        suffix=f".{name}",
        precisions=(Precision.FP32,),
        rules=Rules.XNNPACK,
        runs_on="the moon",
        parity="none",
    )
    return Target(info=info, backend=backend)  # type: ignore[arg-type]


TARGETS = {
    "fake": target("fake", Backend()),
    "missing": target("missing", Backend(missing=True)),
    "moon": target("moon", Immovable()),
}

if __name__ == "__main__":
    serve(TARGETS)
