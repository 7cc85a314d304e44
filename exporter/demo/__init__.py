"""What `mnv2-export build` uses when it is given nothing: small data sets and trained models.

24 everyday objects drawn as emoji in five openly licensed styles (NOTICE.txt), placed over
procedural backgrounds. The networks have seen four styles and some families of backgrounds; the
test pictures show the fifth style over three other families. The checkpoints thus learned from
Apache-2.0 and MIT artwork alone. On the test splits the classifier names 83.3 % of 462 pictures
(97.0 % within five guesses); the detector, of 12 objects in 200 pictures of up to four, has a mean
average precision of 85.7 % at an overlap of a half; the segmenter a mean IoU of 60.4 % on the same
scenes. `benchmarks/demo_accuracy.py` tells how much that depends on the draw of scenes and
positions. Importing this package loads no torch; `python -m exporter.demo.train`,
`.train_detection` and `.train_segmentation` make the checkpoints again.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from exporter.demo import backgrounds
from exporter.demo.compose import PLAIN_JITTER, SIDE, load_sprites, pictures
from exporter.spec import HeadLayer, ModelSpec, Preprocess, keras_preprocess
from exporter.tasks import DetectionSpec, SegmentationSpec, Task

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
HERE = Path(__file__).resolve().parent
CHECKPOINT = HERE / "mobilenetv2_035_96.safetensors"
DETECTION_CHECKPOINT = HERE / "ssdlite_035_160.safetensors"
SEGMENTATION_CHECKPOINT = HERE / "deeplabv3_035_161.safetensors"
# Of the latter two, half of all, so that the detector stays below 1.5 MB and learns in minutes:
# those that a first detector, of all of them, found best among the training styles.
SCENES_LABELS = (
    "background",
    "apple",
    "ball",
    "cake",
    "camera",
    "car",
    "cat",
    "clock",
    "cup",
    "house",
    "ice cream",
    "mobile phone",
    "shirt",
)
DETECTION_SIDE, SEGMENTATION_SIDE = 160, 161

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


def detection_spec() -> ModelSpec:
    """SSDLite 0.35 at 160 px over `SCENES_LABELS`.

    Half of the labels, and anchors of three shapes per cell where the paper has six, keep the
    checkpoint below 1.5 MB; the anchors' sizes are those of the emoji in `scenes`.
    """
    return ModelSpec(
        task=Task.DETECTION,
        width=0.35,
        resolution=DETECTION_SIDE,
        labels=SCENES_LABELS,
        head=(HeadLayer(units=len(SCENES_LABELS)),),
        bn_eps=1e-3,
        dropout=0.0,
        preprocess=keras_preprocess(DETECTION_SIDE),
        detection=DetectionSpec(
            smallest_scale=0.35, min_scale=0.35, max_scale=0.85, ratios=(1.5, 1 / 1.5)
        ),
    )


def segmentation_spec() -> ModelSpec:
    """Mobile DeepLabv3 0.35 at 161 px, output stride 16, over `SCENES_LABELS`."""
    return ModelSpec(
        task=Task.SEGMENTATION,
        width=0.35,
        resolution=SEGMENTATION_SIDE,
        labels=SCENES_LABELS,
        head=(HeadLayer(units=len(SCENES_LABELS)),),
        bn_eps=1e-3,
        dropout=0.1,
        preprocess=keras_preprocess(SEGMENTATION_SIDE),
        segmentation=SegmentationSpec(),
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
