"""Train the demo's segmenter: `python -m exporter.demo.train_segmentation --out FILE --seed 0`.

The recipe of `fitting.py` from the classifier's backbone. What is written, and what is tested, are
the weights as they were rounded to float16.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F

from exporter import demo
from exporter.checkpoints import load_checkpoint, save_checkpoint
from exporter.demo.fitting import Progress, Recipe, arguments, fit, say, stored
from exporter.demo.scenes import SCENES_SEED, training_scenes, unseen_scenes
from exporter.models import MobileDeepLabV3
from exporter.models.deeplabv3 import enlarge
from exporter.models.network import load_backbone
from exporter.preprocess import normalize
from exporter.segmentation import Confusion, segmentation_loss

DEFAULT = Recipe(steps=2300, batch=16, peak_lr=2e-3, backgrounds=700)
LOSS_SIDE = 54  # pixels: a third of the picture's, a third of the time
EVALUATED = 25  # pictures at once


def batches(recipe: Recipe, seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless batches, float32 (b, 3, 161, 161) and int64 labels (b, 161, 161)."""
    spec = demo.segmentation_spec()
    for scenes in training_scenes(spec.resolution, recipe.batch, recipe.backgrounds, seed):
        images = torch.from_numpy(normalize(scenes.pixels, spec.preprocess))
        labels = torch.from_numpy(scenes.masks).long()
        yield images.contiguous(memory_format=torch.channels_last), labels


def loss_of(model: MobileDeepLabV3, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy where the pixels of a coarser picture have their centers."""
    size = torch.Size((LOSS_SIDE, LOSS_SIDE))
    logits = enlarge(model.lowres(images), size)
    sampled = F.interpolate(labels[:, None].float(), list(size), mode="nearest-exact")
    return segmentation_loss(logits, sampled[:, 0].long())


def train(recipe: Recipe, seed: int, report: Callable[[Progress], None]) -> MobileDeepLabV3:
    """The averaged segmenter in eval mode, its weights rounded to float16."""
    torch.manual_seed(seed)
    model = MobileDeepLabV3(demo.segmentation_spec())
    load_backbone(model, load_checkpoint(demo.CHECKPOINT).state_dict)
    return fit(model, batches(recipe, seed), loss_of, recipe, report)


@torch.no_grad()
def evaluate(model: MobileDeepLabV3, seed: int = SCENES_SEED) -> Confusion:
    """Pixels of the unseen style over unseen backgrounds; `seed` draws other scenes of them."""
    drawn = unseen_scenes(model.spec.resolution, seed=seed)
    confusion = Confusion(model.spec.classes)
    for start in range(0, len(drawn.pixels), EVALUATED):
        part = slice(start, start + EVALUATED)
        images = torch.from_numpy(normalize(drawn.pixels[part], model.spec.preprocess))
        confusion.add(model(images).argmax(1).numpy(), drawn.masks[part])
    return confusion


def main() -> None:
    """Parse the options, train, write the checkpoint and print how right it is."""
    args = arguments((__doc__ or "").splitlines()[0], DEFAULT)
    model = train(dataclasses.replace(DEFAULT, steps=args.steps), args.seed, say)
    save_checkpoint(args.out, model.spec, stored(model), half=True)
    say(f"unseen style: mIoU {evaluate(model).mean_iou():.3f}")
    say(f"wrote {args.out} ({args.out.stat().st_size:,} bytes)")


if __name__ == "__main__":
    main()
