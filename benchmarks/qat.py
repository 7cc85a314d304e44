"""What each step of quantization is worth, run as `.pte`: `python benchmarks/qat.py`, minutes.

On the demo every seed draws other calibration pictures and another order of training. Training and
its guard see drawing styles that the float model was trained on; the table is of a style that
nobody saw. `--checkpoint FILE --calibration DIR --held-out DIR` measures another model on photos
without labels (`benchmarks/photos.py` makes both folders); there every seed is another order of
training, and the guard's photos are split off the calibration folder.

A row is one stage's graph with the means over the seeds, written by the android target and executed
by ExecuTorch. Fewer bits of weight are a narrower range of int8 codes, which runs unchanged; fewer
bits of activation run in the integer simulation only. Shares have Wilson's 95 % interval over the
choice of test pictures; the difference to float is of the same pictures, so it is much surer. There
is no float row of "as many steps": what blocks learn is the float model's own output, so in float
there is nothing to learn, the loss is zero from the start.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch
from qat_rows import FLOAT, Row, Task, float_logits, interval, print_table

from exporter import demo
from exporter.checkpoints import build_model, load_checkpoint
from exporter.data import HOLDOUT_COUNT, TRAINING_COUNT, find_images, load_image_set
from exporter.errors import DataError, ExportError
from exporter.files import sha256
from exporter.fold import fold
from exporter.graph import QuantizedGraph
from exporter.preprocess import normalize, read_image, to_pixels
from exporter.quantize.settings import Bits
from exporter.quantize.stages import TRAINED

SETTINGS = {
    "W8A8": Bits(),
    "W6A8": Bits(weights=6),
    "W4A8": Bits(weights=4),
    "W8A4": Bits(activations=4),
}
FEWEST_SEEDS = 3
FEWEST_TEST_PHOTOS = 250
MAX_LOSS_POINTS = 0.3  # of top-1 at W8A8 against float
MIN_SQNR_DB, MIN_AGREEMENT = 29.5, 0.92  # of a real model at W8A8
MAX_SECONDS = 900.0  # of the whole run on the demo


def demo_tasks(graph: QuantizedGraph, seeds: int) -> list[Task]:
    """The embedded pictures; each seed draws those of the training styles."""
    contract = graph.spec.preprocess
    pixels, labels = demo.unseen_images()
    test = normalize(pixels, contract)
    reference = float_logits(graph, test)
    tasks = []
    for seed in range(seeds):
        seen = normalize(demo.calibration_images(TRAINING_COUNT + HOLDOUT_COUNT, seed), contract)
        tasks.append(
            Task(
                graph=graph,
                images=seen[:TRAINING_COUNT],
                guard=seen[TRAINING_COUNT:],
                test=test,
                reference=reference,
                labels=labels,
            )
        )
    return tasks


def photo_tasks(graph: QuantizedGraph, photos: Path, held_out: Path, seeds: int) -> list[Task]:
    """Photos without labels; raises DataError where the folders are few photos or share one."""
    contract = graph.spec.preprocess
    files = find_images([held_out])
    known = {sha256(file) for file in find_images([photos])}
    shared = next((file for file in files if sha256(file) in known), None)
    if shared is not None:
        raise DataError(f"{shared}: is in {photos} too", "hold out photos that calibrate nothing")
    if len(files) < FEWEST_TEST_PHOTOS:
        raise DataError(
            f"{held_out}: {len(files)} photos tell too little about agreement",
            f"hold out at least {FEWEST_TEST_PHOTOS}, see benchmarks/photos.py",
        )
    test = normalize(np.stack([to_pixels(read_image(file), contract) for file in files]), contract)
    images = load_image_set([photos], contract, TRAINING_COUNT)
    task = Task(
        graph=graph,
        images=normalize(images.calibration, contract),
        guard=normalize(images.holdout, contract),
        test=test,
        reference=float_logits(graph, test),
        labels=None,
    )
    return [task] * seeds


def verdict(table: dict[tuple[str, str], list[Row]], seconds: float, labeled: bool) -> list[str]:
    """What of the goals at W8A8 was missed."""
    rows = table["W8A8", TRAINED]
    missed = []
    if not labeled:
        ratio = float(np.mean([r.sqnr_db for r in rows]))
        agreement = float(np.mean([r.agrees.mean() for r in rows]))
        if ratio < MIN_SQNR_DB:
            missed.append(f"W8A8: {ratio:.2f} dB, below {MIN_SQNR_DB}")
        if agreement < MIN_AGREEMENT:
            missed.append(f"W8A8: {agreement:.1%} agreement, below {MIN_AGREEMENT:.0%}")
        return missed
    (reference,) = table[FLOAT, FLOAT]
    points, _ = interval(np.mean([r.hits for r in rows], axis=0) - reference.hits)
    if points < -MAX_LOSS_POINTS:
        missed.append(f"W8A8 loses {-points:.2f} points of top-1, more than {MAX_LOSS_POINTS}")
    if seconds > MAX_SECONDS:
        missed.append(f"{seconds:.0f} s, more than {MAX_SECONDS:.0f}")
    return missed


def parse() -> argparse.Namespace:
    """The command line; ends the process where options do not fit together."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--calibration", type=Path, help="photos, with --checkpoint")
    parser.add_argument("--held-out", type=Path, help="photos for the table, with --checkpoint")
    parser.add_argument("--seeds", type=int, default=FEWEST_SEEDS)
    parser.add_argument("--bits", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    arguments = parser.parse_args()
    given = [arguments.checkpoint, arguments.calibration, arguments.held_out]
    if any(given) != all(given):
        parser.error("--checkpoint, --calibration and --held-out go together")
    if arguments.seeds < FEWEST_SEEDS:
        parser.error(f"--seeds: at least {FEWEST_SEEDS}, or the spread means nothing")
    return arguments


def run(arguments: argparse.Namespace) -> int:
    """Print the table and what of the goals was missed."""
    graph = fold(build_model(load_checkpoint(arguments.checkpoint or demo.CHECKPOINT)))
    started = time.perf_counter()
    if arguments.checkpoint is None:
        tasks = demo_tasks(graph, arguments.seeds)
    else:
        tasks = photo_tasks(graph, arguments.calibration, arguments.held_out, arguments.seeds)
    table = print_table(tasks, {name: SETTINGS[name] for name in arguments.bits})
    seconds = time.perf_counter() - started
    judged = "W8A8" in arguments.bits
    missed = verdict(table, seconds, tasks[0].labels is not None) if judged else []
    print("\n".join([f"{seconds:.0f} s", *missed]))
    return int(bool(missed))


def main() -> int:
    """Run on one thread; a failure that the user can act on is one line."""
    arguments = parse()
    torch.set_num_threads(1)
    try:
        return run(arguments)
    except ExportError as error:
        print(f"{error.message}: {error.hint}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
