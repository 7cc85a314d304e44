"""Builds of small random detectors and segmenters, and artifacts that say what they are told."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from fakes import FakeBackend, FakeRunner, fake_target
from graphs import random_network

from exporter.checkpoints import save_checkpoint
from exporter.graph_file import load_graph
from exporter.outputs import Outputs
from exporter.pipeline import BuildRequest, build, jobs_for
from exporter.published import default_spec
from exporter.reference import Request
from exporter.scoring.evaluate import evaluate
from exporter.scoring.records import PictureEvaluation
from exporter.spec import Precision
from exporter.target import Runner, Target
from exporter.tasks import Task

SIDES = {Task.DETECTION: 64, Task.SEGMENTATION: 65}
Targets = Mapping[str, Target]
Script = Sequence[Mapping[str, np.ndarray]]  # what is said of each image, in order


def build_fakes(
    folder: Path, task: Task, labels: Sequence[str], outputs: Outputs | None = None
) -> Path:
    """A build of the fake targets "one" and "two" at fp32."""
    spec = default_spec(task, width=0.1, resolution=SIDES[task], classes=len(labels))
    spec = dataclasses.replace(spec, labels=tuple(labels))
    checkpoint = folder / "model.safetensors"
    save_checkpoint(checkpoint, spec, random_network(spec).state_dict())
    jobs = jobs_for([fake_target("one"), fake_target("two")], [Precision.FP32])
    request = Request(checkpoint=checkpoint, outputs=outputs)
    list(build(BuildRequest(request=request, jobs=jobs, out=folder / "build")))
    return folder / "build"


def fakes(**others: Target) -> Targets:
    return {"one": fake_target("one"), "two": fake_target("two")} | others


class ScriptedRunner(FakeRunner):
    """Says what is written, whatever it is shown."""

    def results(self, images: np.ndarray) -> Mapping[str, np.ndarray]:
        script = SCRIPTS[id(self)]
        said = [script.pop(0) for _ in images]
        return {name: np.stack([one[name] for one in said]) for name in said[0]}


SCRIPTS: dict[int, list[Mapping[str, np.ndarray]]] = {}


@dataclasses.dataclass(frozen=True)
class ScriptedBackend(FakeBackend):
    script: Script = ()

    def load(self, path: Path) -> Runner:
        runner = ScriptedRunner(load_graph(path), 0.0)
        SCRIPTS[id(runner)] = list(self.script)
        return runner


def scripted(name: str, script: Script) -> Target:
    return dataclasses.replace(fake_target(name), backend=ScriptedBackend(script=script))


class NanRunner(FakeRunner):
    """One value of each result is no number."""

    def results(self, images: np.ndarray) -> Mapping[str, np.ndarray]:
        found = {name: value.copy() for name, value in super().results(images).items()}
        for value in found.values():
            value.flat[-1] = np.nan
        return found


@dataclasses.dataclass(frozen=True)
class NanBackend(FakeBackend):
    def load(self, path: Path) -> Runner:
        return NanRunner(load_graph(path), 0.0)


def with_nan(name: str) -> Target:
    return dataclasses.replace(fake_target(name), backend=NanBackend())


def result(
    path: Path, data: Path, targets: Targets, limit: int | None = None, worst: int = 0
) -> PictureEvaluation:
    *_, last = evaluate(path, data, targets, limit, worst)
    assert isinstance(last, PictureEvaluation)
    return last
