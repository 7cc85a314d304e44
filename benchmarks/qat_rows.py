"""The rows of benchmarks/qat.py: each stage's graph written as `.pte`, executed and printed."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from exporter import golden
from exporter.errors import ParityError
from exporter.graph import QuantizedGraph
from exporter.intervals import Z, wilson
from exporter.metrics import sqnr_db
from exporter.quantize.integer_network import IntegerNetwork
from exporter.quantize.settings import Bits, QatSettings
from exporter.quantize.stages import Refined, refine
from exporter.spec import Precision
from exporter.target import ExportOptions
from targets import TargetName, get

FLOAT = "float"
EXACT_IMAGES = 32  # test pictures on which a .pte must give the simulation's logits, bit for bit
EXECUTED, SIMULATED = ".pte", "integer simulation"


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """A model, what one seed trains with, and what all are judged on."""

    graph: QuantizedGraph
    images: np.ndarray
    guard: np.ndarray  # decides which stage is kept
    test: np.ndarray
    reference: np.ndarray  # the float model's logits on `test`
    labels: np.ndarray | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Row:
    """One stage with one seed, on the test pictures."""

    ran_as: str
    sqnr_db: float
    agrees: np.ndarray  # bool (n,): names what the float model names
    right: np.ndarray | None  # bool (n,)
    seconds: float = 0.0  # CPU, of all stages
    kept: bool = True

    @property
    def hits(self) -> np.ndarray:
        """`right`, of a task with labels."""
        assert self.right is not None
        return self.right


def float_logits(graph: QuantizedGraph, images: np.ndarray) -> np.ndarray:
    """What every row is compared with."""
    return golden.run(graph, images)


def executed(graph: QuantizedGraph, precision: Precision, images: np.ndarray) -> np.ndarray:
    """Logits of the `.pte` that the android target writes of a graph."""
    backend = get(TargetName.ANDROID).backend
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.pte"
        backend.emit(graph, precision, ExportOptions(), path)
        return backend.load(path)(images)


def logits_of(graph: QuantizedGraph, bits: Bits, images: np.ndarray) -> tuple[np.ndarray, str]:
    """An int8 graph's logits and what ran it; raises ParityError where the `.pte` is another."""
    simulation = IntegerNetwork(graph, bits.code_limits(graph))
    if not bits.exportable:
        return simulation(images), SIMULATED
    logits = executed(graph, Precision.INT8, images)
    require_equal(logits[:EXACT_IMAGES], simulation(images[:EXACT_IMAGES]))
    return logits, EXECUTED


def require_equal(logits: np.ndarray, simulated: np.ndarray) -> None:
    """Raise ParityError unless every bit of every logit is the same."""
    if not np.array_equal(logits, simulated):
        raise ParityError("a .pte computes other logits than its graph", "this is a bug")


def row(task: Task, logits: np.ndarray, ran_as: str, seconds: float, kept: bool) -> Row:
    """Logits on the test pictures, judged."""
    named = logits.argmax(1)
    return Row(
        ran_as=ran_as,
        sqnr_db=sqnr_db(task.reference, logits),
        agrees=named == task.reference.argmax(1),
        right=None if task.labels is None else named == task.labels,
        seconds=seconds,
        kept=kept,
    )


def stage_rows(task: Task, settings: QatSettings) -> dict[str, Row]:
    """Every stage's graph on the test pictures, kept or not."""
    started = time.process_time()
    refined = finished(refine(task.graph, task.images, task.guard, settings))
    seconds = time.process_time() - started
    kept = {stage.name: stage.kept for stage in refined.record.stages}
    return {
        name: row(task, *logits_of(graph, settings.bits, task.test), seconds, kept[name])
        for name, graph in refined.offered.items()
    }


def finished(refining: Generator[object, None, Refined]) -> Refined:
    """Run training to its end."""
    while True:
        try:
            next(refining)
        except StopIteration as end:
            result: Refined = end.value
            return result


def interval(values: np.ndarray) -> tuple[float, float]:
    """Mean and 95 % half width of per-picture values, in percentage points."""
    return 100 * float(values.mean()), 100 * Z * float(values.std(ddof=1)) / len(values) ** 0.5


def share(seeds: list[np.ndarray]) -> str:
    """The seeds' mean share, with Wilson's interval over the choice of pictures."""
    found = wilson(round(float(np.mean(seeds) * len(seeds[0]))), len(seeds[0]))
    return f"{np.mean(seeds):6.1%} ({found.low:.1%} to {found.high:.1%})"


def line(bits: str, name: str, rows: list[Row], reference: Row) -> str:
    """One line of the table: means over the seeds."""
    ratios = [r.sqnr_db for r in rows]
    cells = [
        bits,
        f"{name:15}",
        rows[0].ran_as,
        f"{np.mean(ratios):5.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
        share([r.agrees for r in rows]),
    ]
    if reference.right is not None:
        points, error = interval(np.mean([r.hits for r in rows], axis=0) - reference.hits)
        cells += [share([r.hits for r in rows]), f"{points:+.2f} +- {error:.2f}"]
    cells += [f"{sum(r.kept for r in rows)} of {len(rows)}"]
    return " | ".join([*cells, f"{np.mean([r.seconds for r in rows]):.0f}"])


def print_table(tasks: list[Task], settings: dict[str, Bits]) -> dict[tuple[str, str], list[Row]]:
    """Print every stage that `refine` offers; returns each row's seeds, and float's."""
    first = tasks[0]
    logits = executed(first.graph, Precision.FP32, first.test)
    reference = row(first, logits, EXECUTED, 0.0, True)
    table = {(FLOAT, FLOAT): [reference]}
    header = "bits | stage | ran as | SQNR dB (seeds) | same top-1 as float (95 %)"
    if first.labels is not None:
        header += " | top-1 (95 %) | minus float, points (95 %)"
    pictures = f"{len(first.test)} test pictures, {len(tasks)} seeds"
    print(f"{pictures}\n{header} | kept | CPU s of all stages")
    print(line("fp32", FLOAT, [reference], reference), flush=True)
    for bits, setting in settings.items():
        seeds = [
            stage_rows(task, QatSettings(bits=setting, seed=seed))
            for seed, task in enumerate(tasks)
        ]
        for name in seeds[0]:
            table[bits, name] = [rows[name] for rows in seeds]
            print(line(bits, name, table[bits, name], reference), flush=True)
    return table
