"""Train the demo's detector: `python -m exporter.demo.train_detection --out FILE --seed 0`.

The recipe of `fitting.py` from the classifier's backbone, with SSD's loss. What is written, and
what is tested, are the weights as they were rounded to float16.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import torch

from exporter import demo
from exporter.checkpoints import load_checkpoint, save_checkpoint
from exporter.demo.fitting import Progress, Recipe, arguments, fit, say, stored
from exporter.demo.scenes import SCENES_SEED, training_scenes, unseen_scenes
from exporter.detection.anchors import make_anchors
from exporter.detection.average_precision import mean_ap
from exporter.detection.loss import LossSettings, detection_loss
from exporter.detection.matching import Matches, match
from exporter.detection.records import Found, Objects, found_in
from exporter.models import SSDLite
from exporter.models.network import load_backbone
from exporter.preprocess import normalize
from exporter.verdicts import MeanAP

DEFAULT = Recipe(steps=2600, batch=16, peak_lr=2e-3, backgrounds=700)
EVALUATED = 25  # pictures at once


def batches(recipe: Recipe, seed: int) -> Iterator[tuple[torch.Tensor, Matches]]:
    """Endless batches, float32 (b, 3, 160, 160) and what every anchor should say (b, anchors)."""
    spec = demo.detection_spec()
    assert spec.detection is not None
    anchors = torch.from_numpy(make_anchors(spec.detection, spec.resolution))
    for scenes in training_scenes(spec.resolution, recipe.batch, recipe.backgrounds, seed):
        matches = [
            match(torch.from_numpy(boxes), torch.from_numpy(classes), anchors, spec.detection)
            for boxes, classes in zip(scenes.boxes, scenes.classes, strict=True)
        ]
        images = torch.from_numpy(normalize(scenes.pixels, spec.preprocess))
        wanted = Matches(*(torch.stack(parts) for parts in zip(*matches, strict=True)))
        yield images.contiguous(memory_format=torch.channels_last), wanted


def loss_of(model: SSDLite, images: torch.Tensor, wanted: Matches) -> torch.Tensor:
    """SSD's loss with hard negatives."""
    found = model(images)
    return detection_loss(
        found.class_logits, found.box_offsets, wanted.classes, wanted.offsets, LossSettings()
    ).total


def train(recipe: Recipe, seed: int, report: Callable[[Progress], None]) -> SSDLite:
    """The averaged detector in eval mode, its weights rounded to float16."""
    torch.manual_seed(seed)
    model = SSDLite(demo.detection_spec())
    load_backbone(model, load_checkpoint(demo.CHECKPOINT).state_dict)
    return fit(model, batches(recipe, seed), loss_of, recipe, report)


@torch.no_grad()
def evaluate(model: SSDLite, seed: int = SCENES_SEED) -> MeanAP:
    """COCO's average precision on the unseen style; `seed` draws other scenes of it."""
    drawn = unseen_scenes(model.spec.resolution, seed=seed)
    found: list[Found] = []
    for start in range(0, len(drawn.pixels), EVALUATED):
        pixels = drawn.pixels[start : start + EVALUATED]
        raw = model(torch.from_numpy(normalize(pixels, model.spec.preprocess)))
        results = {name: value.numpy() for name, value in raw._asdict().items()}
        found += found_in(results, model.spec)
    truth = [
        Objects(boxes=boxes, classes=classes, ignored=np.zeros(len(boxes), bool))
        for boxes, classes in zip(drawn.boxes, drawn.classes, strict=True)
    ]
    return mean_ap(found, truth, model.spec.classes)


def main() -> None:
    """Parse the options, train, write the checkpoint and print how right it is."""
    args = arguments((__doc__ or "").splitlines()[0], DEFAULT)
    model = train(dataclasses.replace(DEFAULT, steps=args.steps), args.seed, say)
    save_checkpoint(args.out, model.spec, stored(model), half=True)
    say(f"unseen style: mAP50 {evaluate(model).map50:.3f}")
    say(f"wrote {args.out} ({args.out.stat().st_size:,} bytes)")


if __name__ == "__main__":
    main()
