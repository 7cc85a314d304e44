"""Train the demo's checkpoint again: `python -m exporter.demo.train --out FILE --seed 0`.

A plain loop on one thread, about nine minutes: AdamW, one cosine cycle, label smoothing and an
average of the weights, whose batch statistics are measured afresh at the end. What is written, and
what is tested, are the weights as they were rounded to float16.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from exporter import demo
from exporter.checkpoints import save_checkpoint
from exporter.demo import backgrounds
from exporter.demo.compose import TRAIN_JITTER, load_sprites, pictures
from exporter.models import MobileNetV2
from exporter.preprocess import normalize
from exporter.spec import ModelSpec

BACKGROUND_SIDE = 144  # pixels; each picture crops 96 of them
REPORT_EVERY = 100  # steps


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that the result depends on besides the seed."""

    steps: int = 4200
    batch: int = 32
    peak_lr: float = 3e-3
    warmup: float = 0.08  # share of the steps
    weight_decay: float = 1e-2  # of convolutions and fully connected layers only
    smoothing: float = 0.1
    average: float = 0.998  # decay of the weights' moving average per step
    backgrounds: int = 800
    statistics_batches: int = 120

    def lr(self, step: int) -> float:
        """Linear warm-up, then half a cosine down to zero."""
        rising = max(1.0, self.warmup * self.steps)
        if step < rising:
            return self.peak_lr * (step + 1) / (rising + 1)
        done = (step - rising) / max(1.0, self.steps - rising)
        return self.peak_lr * (1 + math.cos(math.pi * done)) / 2


DEFAULT = Recipe()


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The mean training loss since the last report."""

    step: int
    steps: int
    loss: float
    seconds: float

    def __str__(self) -> str:
        """One line for a person."""
        return f"step {self.step:5d}/{self.steps}  loss {self.loss:.3f}  {self.seconds:5.0f} s"


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Shares of the test pictures whose label is the first, or among the first five, guesses."""

    top1: float
    top5: float
    count: int


def batches(recipe: Recipe, seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless batches, float32 (b, 3, 96, 96) and int64 (b,), each class equally likely."""
    contract = demo.spec().preprocess
    for pixels, labels in drawn(recipe, seed):
        images = torch.from_numpy(normalize(pixels, contract))
        yield images.contiguous(memory_format=torch.channels_last), torch.from_numpy(labels)


def drawn(recipe: Recipe, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The same as pictures, uint8 (b, 96, 96, 3)."""
    rng = np.random.Generator(np.random.PCG64(seed))
    sprites = load_sprites(demo.TRAIN_STYLES, demo.LABELS)
    members = [np.flatnonzero(sprites.labels == i) for i in range(len(demo.LABELS))]
    scenes = backgrounds.paint(rng, backgrounds.TRAIN_FAMILIES, recipe.backgrounds, BACKGROUND_SIDE)
    while True:
        labels = rng.integers(0, len(members), recipe.batch)
        chosen = [rng.choice(members[label]) for label in labels]
        yield pictures(rng, sprites.pixels[chosen], scenes, TRAIN_JITTER), labels


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Decay matrices and kernels; leave batch norm and biases alone."""
    kernels = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim == 1]
    return [
        {"params": kernels, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def train(recipe: Recipe, seed: int, report: Callable[[Progress], None]) -> MobileNetV2:
    """The averaged model in eval mode, its weights rounded to float16."""
    torch.manual_seed(seed)
    model = MobileNetV2(demo.spec()).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.train()
    average: MobileNetV2 = copy.deepcopy(model)
    optimizer = torch.optim.AdamW(parameter_groups(model, recipe.weight_decay), betas=(0.9, 0.99))
    criterion = nn.CrossEntropyLoss(label_smoothing=recipe.smoothing)
    data = batches(recipe, seed)
    start, losses = time.monotonic(), []
    for step in range(recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.lr(step)
        images, labels = next(data)
        loss = criterion(model(images), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        follow(average, model, min(recipe.average, (step + 1) / (step + 10)))
        losses.append(loss.item())
        if (step + 1) % REPORT_EVERY == 0 or step + 1 == recipe.steps:
            mean, seconds = sum(losses) / len(losses), time.monotonic() - start
            report(Progress(step=step + 1, steps=recipe.steps, loss=mean, seconds=seconds))
            losses.clear()
    measure_statistics(average, data, recipe.statistics_batches)
    average.load_state_dict(rounded(average.state_dict()))
    average.eval()
    return average


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Move the average's parameters a step towards the model's."""
    for mean, value in zip(average.parameters(), model.parameters(), strict=True):
        mean.lerp_(value, 1 - decay)


@torch.no_grad()
def measure_statistics(
    model: nn.Module, data: Iterator[tuple[torch.Tensor, torch.Tensor]], count: int
) -> None:
    """Replace the running statistics by the plain mean over `count` training batches."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's spelling of a cumulative mean
    model.train()
    for _ in range(count):
        model(next(data)[0])
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def rounded(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same tensors after a trip through float16."""
    return {k: v.half().to(v.dtype) if v.is_floating_point() else v for k, v in state.items()}


@torch.no_grad()
def evaluate(model: nn.Module, spec: ModelSpec) -> Accuracy:
    """Accuracy on the unseen style over unseen backgrounds."""
    pixels, labels = demo.unseen_images()
    images = torch.from_numpy(normalize(pixels, spec.preprocess))
    logits = [model(images[i : i + 64]) for i in range(0, len(images), 64)]
    guesses = torch.cat(logits).topk(5).indices
    hits = guesses == torch.from_numpy(labels)[:, None]
    top1, top5 = hits[:, 0].double().mean().item(), hits.any(1).double().mean().item()
    return Accuracy(top1=top1, top5=top5, count=len(labels))


def main() -> None:
    """Parse the options, train, write the checkpoint and print its accuracy."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="the .safetensors file to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=DEFAULT.steps)
    args = parser.parse_args()
    torch.set_num_threads(1)  # more threads are slower on small maps and shared cores

    def say(line: object) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    model = train(dataclasses.replace(DEFAULT, steps=args.steps), args.seed, say)
    save_checkpoint(args.out, model.spec, model.state_dict(), half=True)
    found = evaluate(model, model.spec)
    say(f"unseen style: top-1 {found.top1:.3f}, top-5 {found.top5:.3f} of {found.count} pictures")
    say(f"wrote {args.out} ({args.out.stat().st_size:,} bytes)")


if __name__ == "__main__":
    main()
