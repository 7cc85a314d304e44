"""Train the demo's checkpoint again: `python -m exporter.demo.train --out FILE --seed 0`.

The recipe of `fitting.py` with label smoothing: one thread, about nine minutes. What is written,
and what is tested, are the weights as they were rounded to float16.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from exporter import demo
from exporter.checkpoints import save_checkpoint
from exporter.demo import backgrounds
from exporter.demo.compose import TRAIN_JITTER, load_sprites, pictures
from exporter.demo.fitting import Progress, Recipe, arguments, fit, say
from exporter.models import MobileNetV2
from exporter.preprocess import normalize
from exporter.spec import ModelSpec

BACKGROUND_SIDE = 144  # pixels; each picture crops 96 of them
SMOOTHING = 0.1  # of the labels
DEFAULT = Recipe()


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


def train(recipe: Recipe, seed: int, report: Callable[[Progress], None]) -> MobileNetV2:
    """The averaged model in eval mode, its weights rounded to float16."""
    torch.manual_seed(seed)
    model = MobileNetV2(demo.spec())
    return fit(model, batches(recipe, seed), loss_of, recipe, report)


def loss_of(model: MobileNetV2, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy with smoothed labels."""
    return F.cross_entropy(model(images), labels, label_smoothing=SMOOTHING)


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
    args = arguments((__doc__ or "").splitlines()[0], DEFAULT)
    model = train(dataclasses.replace(DEFAULT, steps=args.steps), args.seed, say)
    save_checkpoint(args.out, model.spec, model.state_dict(), half=True)
    found = evaluate(model, model.spec)
    say(f"unseen style: top-1 {found.top1:.3f}, top-5 {found.top5:.3f} of {found.count} pictures")
    say(f"wrote {args.out} ({args.out.stat().st_size:,} bytes)")


if __name__ == "__main__":
    main()
