"""One of two workers: trains a little, evaluates its share, writes down what it has and saw."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
from pathlib import Path

import torch
from training_data import recipe, settings

from exporter.training.distributed import World, join
from exporter.training.float_learner import FloatLearner
from exporter.training.loading import train_batches, val_batches
from exporter.training.schedule import Plan
from exporter.training.settings import Arithmetic
from exporter.training.sources import open_splits
from exporter.training.start import starting_point
from exporter.training.validation import evaluate
from exporter.training.views import ClassView


def digest(model: torch.nn.Module) -> str:
    data = b"".join(t.contiguous().numpy().tobytes() for t in model.state_dict().values())
    return hashlib.sha256(data).hexdigest()


def main() -> None:
    torch.set_num_threads(1)
    data, out = Path(sys.argv[1]), Path(sys.argv[2])
    how = recipe(batch=4)
    with join(torch.device("cpu")) as world:
        splits = open_splits(data, val_share=0.3)
        start = starting_point(settings(data, how), splits.train.labels)
        contract = start.model.spec.preprocess
        held_out = ClassView(splits.val, contract)
        plan = Plan(recipe=how, images=len(splits.train), workers=world.size)
        # Two parts: gradients travel with the second only.
        learner = FloatLearner(start.model, plan, world, Arithmetic.FP32, 2)
        learner.begin(0)
        share = {"rank": world.rank, "world": world.size}

        def batches():
            from exporter.training.engine import augmentation

            return train_batches(
                ClassView(splits.train, contract, augmentation(how)), 4, epoch=0, seed=0, **share
            )

        seen: list[int] = []
        losses = []
        for step, batch in enumerate(batches()):
            seen += batch.indices.tolist()
            losses.append(learner.update(batch, step, 0).item())
        candidate = learner.candidate(batches())
        model, classes = candidate.model, len(splits.train.labels)

        def softer(images: torch.Tensor) -> torch.Tensor:
            return 0.9 * candidate(images)

        mine = [i for b in val_batches(held_out, 4, **share) for i in b.indices.tolist()]
        tally = evaluate(candidate, classes, val_batches(held_out, 4, **share), world, softer)
        alone = {"rank": 0, "world": 1}
        everything = val_batches(held_out, 4, **alone)
        whole = evaluate(candidate, classes, everything, World(device=world.device), softer)
        world.copy_buffers(learner.model)
        record = {
            "model": digest(learner.model),
            "average": digest(model),
            "losses": losses,
            "trained_on": seen,
            "evaluated": mine,
            "images": len(splits.val),
            "confusion": tally.confusion.tolist(),
            "confusion_alone": whole.confusion.tolist(),
            "loss": tally.loss,
            "loss_alone": whole.loss,
            "quality": dataclasses.asdict(tally.quality),
            "quality_alone": dataclasses.asdict(whole.quality),
            "stop": world.largest(15 if world.rank == 1 else 0),
            "said": world.same(f"rank {world.rank}"),
        }
    (out / f"{world.rank}.json").write_text(json.dumps(record))


if __name__ == "__main__":
    main()
