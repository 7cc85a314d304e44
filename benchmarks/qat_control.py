"""What quantization-aware training is worth beyond as many updates of the float model.

`python benchmarks/qat_control.py`, about a quarter of an hour. On the demo, by labels and the float
model's logits at once (`--distill 0.5` of `mnv2-export qat`): from the best stage before it the
int8 graph is trained end to end, and as a control the float model, with the same pictures, rate and
number of updates. (Block-wise training before it has no control: it learns the float model's own
output, so in float its loss would be zero from the start.) Each seed draws other pictures; top-1 is
of a drawing style that nothing here was trained on, with paired 95 % intervals over the choice of
test pictures.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterator

import numpy as np
import torch
from qat import SETTINGS, demo_tasks
from qat_rows import Task, finished, interval, logits_of, share

from exporter import demo, golden
from exporter.checkpoints import TrainedIntegers, build_model, load_checkpoint
from exporter.demo import train as demo_train
from exporter.fold import fold
from exporter.manifest import Calibration
from exporter.quantize.settings import Bits, QatSettings
from exporter.quantize.stages import CORRECTED, END_TO_END, refine
from exporter.training.distributed import World
from exporter.training.loading import Batch
from exporter.training.qat_learner import QatLearner
from exporter.training.recipes import Changes, Recipe, RecipeName, make_recipe
from exporter.training.schedule import Plan

DISTILL = 0.5
CONTROL = "float control"


def recipe_for(bits: Bits) -> Recipe:
    """What `mnv2-export qat --distill 0.5` trains with, in one epoch."""
    changes = Changes(
        epochs=1,
        distill=DISTILL,
        weight_bits=bits.weights,
        depthwise_bits=bits.depthwise,
        edge_bits=bits.edges,
        activation_bits=bits.activations,
    )
    return make_recipe(RecipeName.QAT, changes)


def batches(seed: int, size: int) -> Iterator[Batch]:
    """Endless pictures of the styles that the float model was trained on."""
    how = dataclasses.replace(demo_train.DEFAULT, batch=size)
    for pixels, labels in demo_train.drawn(how, seed):
        planes = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
        yield Batch(images=planes, labels=torch.from_numpy(labels), indices=torch.arange(size))


def trained(learner: QatLearner, seed: int) -> QatLearner:
    """After the plan's updates."""
    learner.begin(0)
    pictures = batches(1000 + seed, learner.recipe.batch)
    for step in range(learner.plan.steps):
        learner.update(next(pictures), step, seed)
    return learner


def float_control(learner: QatLearner, task: Task) -> np.ndarray:
    """Logits of a float network on the test pictures."""
    with torch.no_grad():
        parts = torch.split(torch.from_numpy(task.test), 32)
        return torch.cat([learner.network(part) for part in parts]).numpy()


def measure(task: Task, bits: Bits, seed: int, steps: int) -> dict[str, np.ndarray]:
    """Right or not by picture: each stage, and the float model after as many updates."""
    model = build_model(load_checkpoint(demo.CHECKPOINT))
    settings = QatSettings(bits=bits, seed=seed)
    refined = finished(refine(task.graph, task.images, task.guard, settings))
    none = Calibration(images=len(task.images), sha256="", origin="demo")
    integers = TrainedIntegers(graph=refined.graph, record=refined.record, calibration=none)
    recipe = recipe_for(bits)
    spread = {"logits": float(golden.run(task.graph, task.images).var())}
    plan = Plan(recipe=recipe, images=steps * recipe.batch)

    def learner(*, rounding: bool) -> QatLearner:
        return QatLearner(
            model, refined.exact, integers, plan, World(), 1, spread, rounding=rounding
        )

    after = trained(learner(rounding=True), seed).network.quantized()
    control = trained(learner(rounding=False), seed)
    graphs = {**refined.offered, END_TO_END: after}
    logits = {name: logits_of(graph, bits, task.test)[0] for name, graph in graphs.items()}
    logits[CONTROL] = float_control(control, task)
    return {name: values.argmax(1) == task.labels for name, values in logits.items()}


def print_rows(bits: str, seeds: list[dict[str, np.ndarray]], right: np.ndarray) -> None:
    """A line per graph, means over the seeds."""
    for name in seeds[0]:
        hits = [seed[name] for seed in seeds]
        points, error = interval(np.mean(hits, axis=0) - right)
        print(f"{bits} | {name:15} | {share(hits)} | {points:+.2f} +- {error:.2f}", flush=True)


def gain(seeds: list[dict[str, np.ndarray]], name: str, before: np.ndarray) -> tuple[float, float]:
    """Points of top-1 over what it began with, and their 95 % half width."""
    return interval(np.mean([seed[name] for seed in seeds], axis=0) - before)


def main() -> int:
    """Print the table; 1 when training integers gained no more than training floats."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=200, help="updates of either")
    parser.add_argument("--bits", nargs="+", choices=SETTINGS, default=["W6A8", "W4A8", "W8A4"])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    graph = fold(build_model(load_checkpoint(demo.CHECKPOINT)))
    tasks = demo_tasks(graph, arguments.seeds)
    right = tasks[0].reference.argmax(1) == tasks[0].labels
    print(f"float model: top-1 {share([right])} of {len(right)} pictures")
    print("bits | graph | top-1 | minus float, points", flush=True)
    won, controls = [], []
    for bits in arguments.bits:
        seeds = [
            measure(task, SETTINGS[bits], seed, arguments.steps) for seed, task in enumerate(tasks)
        ]
        print_rows(bits, seeds, right)
        before = np.mean([seed[CORRECTED] for seed in seeds], axis=0)
        won.append(gain(seeds, END_TO_END, before))
        controls.append(gain(seeds, CONTROL, right))
        told = (f"{points:+.2f} +- {error:.2f}" for points, error in (won[-1], controls[-1]))
        print(f"{bits}: {next(told)} points over bias correction; float control {next(told)}")
    return int(np.mean(won, axis=0)[0] <= np.mean(controls, axis=0)[0])


if __name__ == "__main__":
    sys.exit(main())
