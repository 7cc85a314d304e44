"""What each step of quantization is worth: `python benchmarks/qat.py`, about three minutes.

On the demo every seed draws other calibration pictures and another order of training. Training and
its guard see drawing styles that the float model was trained on; the table is of a style that
nobody saw. Intervals (95 %) are of the mean over the seeds, over the choice of test pictures, and
of the difference to float on the same pictures, which is much surer than the share itself.

`--checkpoint FILE --calibration PHOTOS` measures another model, with no labels. There is no float
row of "as many steps": what blocks learn is the float model's own output, so in float there is
nothing to learn, the loss is zero from the start.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from exporter import demo, golden
from exporter.checkpoints import build_model, load_checkpoint
from exporter.data import CALIBRATION_COUNT, HOLDOUT_COUNT, load_image_set
from exporter.fold import fold
from exporter.graph import QuantizedGraph
from exporter.metrics import quality
from exporter.preprocess import normalize
from exporter.quantize.integer_network import IntegerNetwork
from exporter.quantize.settings import Bits, QatSettings
from exporter.quantize.stages import CORRECTED, RANGES, TRAINED, Refined, refine

SETTINGS = {
    "W8A8": Bits(),
    "W6A8": Bits(weights=6),
    "W4A8": Bits(weights=4),
    "W8A4": Bits(activations=4),
}
Z = 1.96  # two-sided 95 %
MAX_LOSS_POINTS = 0.3  # of top-1 at W8A8 against float
MIN_SQNR_DB, MIN_AGREEMENT = 29.5, 0.92  # of a real model at W8A8
MAX_SECONDS = 600.0  # of the whole run on the demo


@dataclass(frozen=True, kw_only=True)
class Task:
    """A model, what one seed trains with, and what all are judged on."""

    graph: QuantizedGraph
    images: np.ndarray
    guard: np.ndarray  # decides which stage is kept
    test: np.ndarray
    labels: np.ndarray | None


@dataclass(frozen=True, kw_only=True)
class Row:
    """One stage with one seed, on the test pictures."""

    sqnr_db: float
    agreement: float
    right: np.ndarray | None  # bool (n,)
    seconds: float
    kept: bool


def demo_task(graph: QuantizedGraph, seed: int) -> Task:
    """The embedded pictures; the seed draws those of the training styles."""
    contract = graph.spec.preprocess
    drawn = demo.calibration_images(CALIBRATION_COUNT + HOLDOUT_COUNT, seed)
    pixels, labels = demo.unseen_images()
    seen = normalize(drawn, contract)
    return Task(
        graph=graph,
        images=seen[:CALIBRATION_COUNT],
        guard=seen[CALIBRATION_COUNT:],
        test=normalize(pixels, contract),
        labels=labels,
    )


def photo_task(graph: QuantizedGraph, photos: Path) -> Task:
    """Photos without labels; the held-out ones serve the guard and the table alike."""
    images = load_image_set([photos], graph.spec.preprocess)
    held = normalize(images.holdout, graph.spec.preprocess)
    seen = normalize(images.calibration, graph.spec.preprocess)
    return Task(graph=graph, images=seen, guard=held, test=held, labels=None)


def stages(task: Task, settings: QatSettings) -> dict[str, Row]:
    """Every stage's graph on the test pictures, kept or not."""
    started = time.perf_counter()
    refined = finished(refine(task.graph, task.images, task.guard, settings))
    seconds = time.perf_counter() - started
    kept = {stage.name: stage.kept for stage in refined.record.stages}
    rows = {}
    for name, graph in refined.offered.items():
        logits = IntegerNetwork(graph, settings.bits.code_limits(graph))(task.test)
        figures = quality(golden.run(task.graph, task.test), logits)
        rows[name] = Row(
            sqnr_db=figures.sqnr_db,
            agreement=figures.top1_agreement,
            right=None if task.labels is None else logits.argmax(1) == task.labels,
            kept=kept[name],
            seconds=seconds,
        )
    return rows


def finished(refining: Generator[object, None, Refined]) -> Refined:
    """Run training to its end."""
    while True:
        try:
            next(refining)
        except StopIteration as end:
            return end.value


def interval(values: np.ndarray) -> tuple[float, float]:
    """Mean and 95 % half width of per-picture values, in percentage points."""
    return 100 * float(values.mean()), 100 * Z * float(values.std(ddof=1)) / len(values) ** 0.5


def line(bits: str, name: str, rows: list[Row], float_right: np.ndarray | None) -> str:
    """One line of the table: means over the seeds."""
    ratio, spread = np.mean([r.sqnr_db for r in rows]), np.ptp([r.sqnr_db for r in rows])
    text = f"{bits} | {name:15} | {ratio:5.2f} ({spread:.2f}) | "
    text += f"{np.mean([r.agreement for r in rows]):6.1%} | "
    rights = [r.right for r in rows if r.right is not None]
    if rights and float_right is not None:
        mean = np.mean(rights, axis=0)
        share, half = interval(mean)
        points, error = interval(mean - float_right)
        text += f"{share:4.1f} +- {half:.1f} | {points:+.2f} +- {error:.2f} | "
    kept = f"{sum(r.kept for r in rows)} of {len(rows)}"
    return text + f"{kept} | {np.mean([r.seconds for r in rows]) if name == TRAINED else 0:4.0f}"


def measure(tasks: list[Task], chosen: list[str]) -> dict[tuple[str, str], list[Row]]:
    """Print the table; returns every row's seeds."""
    labels = tasks[0].labels
    float_right = None
    header = "bits | stage | SQNR dB (spread) | agreement"
    if labels is not None:
        float_right = golden.run(tasks[0].graph, tasks[0].test).argmax(1) == labels
        share, half = interval(float_right.astype(float))
        print(f"float top-1 {share:.1f} +- {half:.1f} on {len(labels)} pictures")
        header += " | top-1 | minus float, points"
    print(f"{header} | kept | seconds for all stages", flush=True)
    table: dict[tuple[str, str], list[Row]] = {}
    for bits in chosen:
        seeds = [
            stages(task, QatSettings(bits=SETTINGS[bits], seed=seed))
            for seed, task in enumerate(tasks)
        ]
        for name in (RANGES, CORRECTED, TRAINED):
            table[bits, name] = [rows[name] for rows in seeds]
            print(line(bits, name, table[bits, name], float_right), flush=True)
    return table


def verdict(rows: list[Row], float_right: np.ndarray | None, seconds: float) -> list[str]:
    """What of the goals at W8A8 was missed."""
    missed = []
    if float_right is None:
        ratio = float(np.mean([r.sqnr_db for r in rows]))
        agreement = float(np.mean([r.agreement for r in rows]))
        if ratio < MIN_SQNR_DB:
            missed.append(f"W8A8: {ratio:.2f} dB, below {MIN_SQNR_DB}")
        if agreement < MIN_AGREEMENT:
            missed.append(f"W8A8: {agreement:.1%} agreement, below {MIN_AGREEMENT:.0%}")
        return missed
    rights = [r.right for r in rows if r.right is not None]
    points, _ = interval(np.mean(rights, axis=0) - float_right)
    if points < -MAX_LOSS_POINTS:
        missed.append(f"W8A8 loses {-points:.2f} points of top-1, more than {MAX_LOSS_POINTS}")
    if seconds > MAX_SECONDS:
        missed.append(f"{seconds:.0f} s, more than {MAX_SECONDS:.0f}")
    return missed


def main() -> int:
    """Print the table and what of the goals was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--calibration", type=Path, help="photos, with --checkpoint")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--bits", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    graph = fold(build_model(load_checkpoint(arguments.checkpoint or demo.CHECKPOINT)))
    if arguments.checkpoint is None:
        tasks = [demo_task(graph, seed) for seed in range(arguments.seeds)]
    else:
        tasks = [photo_task(graph, arguments.calibration)] * arguments.seeds
    started = time.perf_counter()
    table = measure(tasks, arguments.bits)
    seconds = time.perf_counter() - started
    first, labels = tasks[0], tasks[0].labels
    right = None if labels is None else golden.run(graph, first.test).argmax(1) == labels
    missed = verdict(table["W8A8", TRAINED], right, seconds) if "W8A8" in arguments.bits else []
    print("\n".join([f"{seconds:.0f} s", *missed]))
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
