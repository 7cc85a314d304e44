"""A target that writes the graph itself and runs the golden, with faults on demand."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from exporter import golden
from exporter.errors import MissingDependencyError, UnsupportedError
from exporter.graph import QuantizedGraph
from exporter.graph_file import load_graph, save_graph
from exporter.spec import Precision, Rules
from exporter.target import (
    CannotRunError,
    Contents,
    ExportOptions,
    Runner,
    Target,
    TargetInfo,
    one_result,
)


@dataclasses.dataclass(frozen=True)
class FakeRunner:
    graph: QuantizedGraph
    error: float

    def results(self, images: np.ndarray) -> Mapping[str, np.ndarray]:
        found = golden.run_outputs(self.graph, images)
        return {name: value + np.asarray(self.error, value.dtype) for name, value in found.items()}

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return one_result(self.results(images))

    def layers(self, images: np.ndarray) -> Mapping[str, np.ndarray]:
        return {}


@dataclasses.dataclass(frozen=True)
class FakeBackend:
    error: float = 0.0
    fails: bool = False
    crashes: bool = False
    crashes_after_writing: bool = False
    run_crashes: bool = False
    cannot_run: bool = False
    missing: bool = False
    refuses: bool = False

    def check(self) -> None:
        if self.missing:
            raise MissingDependencyError("fake needs fakelib", "pip install fakelib")

    def check_options(self, precision: Precision, options: ExportOptions) -> None:
        if self.refuses:
            raise UnsupportedError(f"fake has no {precision} with these options", "drop them")

    def emit(
        self, graph: QuantizedGraph, precision: Precision, options: ExportOptions, path: Path
    ) -> tuple[str, ...]:
        if self.fails:
            raise UnsupportedError("fake cannot do this", "try another")
        if self.crashes:
            raise ZeroDivisionError("out of cheese")
        save_graph(graph, path)
        if self.crashes_after_writing:
            raise ZeroDivisionError("out of cheese")
        return ("a note",)

    def load(self, path: Path) -> Runner:
        if self.cannot_run:
            raise CannotRunError("only fakes run this")
        if self.run_crashes:
            raise ZeroDivisionError("out of\ncheese")
        return FakeRunner(load_graph(path), self.error)

    def describe(self, path: Path) -> Contents:
        return Contents(
            format="fake",
            size_bytes=path.stat().st_size,
            inputs=(),
            outputs=(),
            ops={},
            delegation="none",
            layers=(),
        )


def fake_target(name: str = "fake", **faults: object) -> Target:
    info = TargetInfo(
        name=name,
        format="fake",
        suffix=f".{name}",
        precisions=(Precision.INT8, Precision.FP32),
        rules=Rules.XNNPACK,
        runs_on="tests",
        parity="executed by the golden",
    )
    return Target(info=info, backend=FakeBackend(**faults))  # type: ignore[arg-type]
