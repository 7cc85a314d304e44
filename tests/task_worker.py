"""One of two workers that train a detector and a segmenter; writes down what it has and saw."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import torch
from training_worker import digest

from exporter.tasks import Task
from exporter.training.augment import NOTHING
from exporter.training.distributed import World, join
from exporter.training.float_learner import FloatLearner
from exporter.training.loading import train_batches, val_batches
from exporter.training.recipes import Changes, RecipeName, make_recipe
from exporter.training.runs import find_splits
from exporter.training.schedule import Plan
from exporter.training.settings import Arithmetic, Settings
from exporter.training.start import starting_point
from exporter.training.views import view_of


def learn(world: World, data: Path, task: Task, side: int) -> dict:
    """A few updates, then the validation split: shared, and all of it on each worker."""
    how = make_recipe(RecipeName.FINETUNE, Changes(batch=2, epochs=1), task)
    asked = Settings(data=data / task, task=task, recipe=how, width=0.35, resolution=side)
    splits = find_splits(asked)
    start = starting_point(asked, splits.train.labels)
    plan = Plan(recipe=how, images=len(splits.train), workers=world.size)
    learner = FloatLearner(start.model, plan, world, Arithmetic.FP32, 1)
    train, val = (view_of(s, learner.spec, NOTHING) for s in (splits.train, splits.val))
    learner.begin(0)
    share = {"rank": world.rank, "world": world.size}
    batches = list(train_batches(train, 2, epoch=0, seed=0, **share))
    losses = [learner.update(batch, step, 0).item() for step, batch in enumerate(batches)]
    candidate = learner.candidate(batches)
    shared = learner.evaluate(candidate, val_batches(val, 2, **share))
    learner.objective.world = World(device=world.device)
    alone = learner.evaluate(candidate, val_batches(val, 2))
    world.copy_buffers(learner.model)
    return {
        "model": digest(learner.model),
        "average": digest(candidate.model),
        "losses": losses,
        "shared": [shared.images, shared.loss, dataclasses.asdict(shared.score)],
        "alone": [alone.images, alone.loss, dataclasses.asdict(alone.score)],
    }


def main() -> None:
    torch.set_num_threads(1)
    data, out = Path(sys.argv[1]), Path(sys.argv[2])
    with join(torch.device("cpu")) as world:
        record = {
            task: learn(world, data, task, side)
            for task, side in ((Task.DETECTION, 64), (Task.SEGMENTATION, 65))
        }
    (out / f"{world.rank}.json").write_text(json.dumps(record))


if __name__ == "__main__":
    main()
