"""What `mnv2-export build` uses when it is given nothing: a small data set and a trained model.

24 everyday objects drawn as emoji in five openly licensed styles (NOTICE.txt), placed over
procedural backgrounds. The network has seen four styles and five families of backgrounds; the test
pictures show the fifth style over three other families. The checkpoint thus learned from Apache-2.0
and MIT artwork alone; it names 83.3 % of the 462 test pictures (97.0 % within five guesses);
`benchmarks/demo_accuracy.py` tells how much that depends on the draw of scenes and positions.
Importing this package loads no torch; `python -m exporter.demo.train` makes the checkpoint again.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from exporter.demo import backgrounds
from exporter.demo.compose import PLAIN_JITTER, SIDE, load_sprites, pictures
from exporter.spec import HeadLayer, ModelSpec, Preprocess

LABELS = (
    "apple",
    "ball",
    "bird",
    "book",
    "cake",
    "camera",
    "car",
    "cat",
    "clock",
    "cup",
    "dog",
    "fish",
    "flower",
    "glasses",
    "house",
    "ice cream",
    "key",
    "mobile phone",
    "pen",
    "shirt",
    "shoe",
    "train",
    "tree",
    "umbrella",
)
TRAIN_STYLES = ("noto", "fluent-emoji", "fluent-emoji-flat", "fxemoji")
TEST_STYLE = "twemoji"
CHECKPOINT = Path(__file__).resolve().parent / "mobilenetv2_035_96.safetensors"

TEST_VIEWS = 6  # pictures per emoji of the test style
_TEST_SCENES = 120  # backgrounds, each cropped anew for every picture
TEST_SEED, _CALIBRATION_STREAM = 20_260_101, 1
_BACKGROUND_SLACK = 16  # pixels beyond the crop


def spec() -> ModelSpec:
    """MobileNetV2 0.35 at 96 px over `LABELS`; pixels are mapped to [-1, 1]."""
    return ModelSpec(
        width=0.35,
        resolution=SIDE,
        labels=LABELS,
        head=(HeadLayer(units=len(LABELS)),),
        bn_eps=1e-3,
        dropout=0.1,
        preprocess=Preprocess(resize_size=SIDE, crop_size=SIDE, value_range=(-1.0, 1.0)),
    )


def calibration_images(count: int = 96, seed: int = 0) -> np.ndarray:
    """Uint8 (count, 96, 96, 3) RGB pictures of the training styles, every class in turn."""
    rng = np.random.Generator(np.random.PCG64([seed, _CALIBRATION_STREAM]))
    sprites = load_sprites(TRAIN_STYLES, LABELS)
    chosen = [rng.choice(np.flatnonzero(sprites.labels == i % len(LABELS))) for i in range(count)]
    scenes = backgrounds.paint(rng, backgrounds.TRAIN_FAMILIES, count, SIDE + _BACKGROUND_SLACK)
    return pictures(rng, sprites.pixels[chosen], scenes, PLAIN_JITTER)


def unseen_images(seed: int = TEST_SEED) -> tuple[np.ndarray, np.ndarray]:
    """Uint8 (462, 96, 96, 3) RGB pictures of the unseen style, and their int64 labels (462,).

    `seed` draws other scenes and positions of the same emoji; the default is the test split.

    The order is shuffled within rounds that show each emoji once, so any prefix is a fair sample.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    sprites = load_sprites((TEST_STYLE,), LABELS)
    order = np.concatenate([rng.permutation(len(sprites.labels)) for _ in range(TEST_VIEWS)])
    scenes = backgrounds.paint(
        rng, backgrounds.TEST_FAMILIES, _TEST_SCENES, SIDE + _BACKGROUND_SLACK
    )
    return pictures(rng, sprites.pixels[order], scenes, PLAIN_JITTER), sprites.labels[order]
