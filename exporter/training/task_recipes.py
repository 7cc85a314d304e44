"""Recipes of detectors and segmenters, each value with where it comes from."""

from __future__ import annotations

import dataclasses

from exporter.tasks import Task
from exporter.training.recipe import Balance, Decay, OptimizerName, Recipe, RecipeName

# 200,000 updates of 24 images are 40.6 passes over COCO's 118,287; 800,720 updates are 162.5.
SSDLITE = Recipe(
    name=RecipeName.PAPER,
    optimizer=OptimizerName.RMSPROP,
    lr=0.004,
    batch=24,
    epochs=41,
    decay=Decay.STAIRS,
    decay_factor=0.95,
    decay_epochs=162.5,
    momentum=0.9,
    square_decay=0.9,
    eps=1.0,
    weight_decay=4e-5,
    decay_depthwise=False,
    loss=Balance.HARD_NEGATIVES,
    ema=0.9999,
)
# 30,000 updates of 16 images are 45.4 passes over the 10,582 of PASCAL VOC's trainaug.
DEEPLAB = Recipe(
    name=RecipeName.PAPER,
    optimizer=OptimizerName.MOMENTUM,
    lr=0.007,
    batch=16,
    epochs=45,
    decay=Decay.POLY,
    decay_power=0.9,
    momentum=0.9,
    weight_decay=4e-5,
    decay_depthwise=False,
)
ADAMW_DETECTION = Recipe(
    name=RecipeName.FINETUNE,
    optimizer=OptimizerName.ADAMW,
    lr=3e-3,
    batch=16,
    epochs=60,
    decay=Decay.COSINE,
    warmup_epochs=1.0,
    momentum=0.9,
    square_decay=0.999,
    weight_decay=1e-2,
    loss=Balance.HARD_NEGATIVES,
    ema=0.998,
)
ADAMW_SEGMENTATION = dataclasses.replace(ADAMW_DETECTION, batch=8, epochs=40, loss=None)
SGD_RATE = 0.01

_OURS = "our choice"
_CONFIG = "TF object detection, ssdlite_mobilenet_v2_coco.config"
_SCOPE = "TF-slim mobilenet.py, training_scope"
_CHEN = "Chen et al. 2017 (arXiv:1706.05587), section 4.1"
_FLAGS = "TF deeplab/train.py"
_LOSS = "Liu et al. 2016, section 2.2 (hard-negatives) or Lin et al. 2017 (focal)"
_MEASURED = f"{_OURS}: measured afresh instead of averaged"
_VIEWS = {
    Task.DETECTION: {
        "crop_area": "not used: SSD's zoom-out and crops (Liu et al. 2016, section 2.2)",
        "flip": "Liu et al. 2016, section 2.2",
        "color": "not used: SSD's brightness, contrast, saturation and hue",
    },
    Task.SEGMENTATION: {
        "crop_area": f"not used: scales of 0.5 to 2 and a crop ({_CHEN})",
        "flip": _CHEN,
        "color": "not used: SSD's brightness, contrast, saturation and hue",
    },
}
_ADAMW = {
    "optimizer": "Loshchilov and Hutter 2019 (adamw) or Nesterov's momentum (sgd)",
    "decay": "Loshchilov and Hutter 2017, one cycle without restarts",
    "warmup_epochs": "Goyal et al. 2017, shortened",
    "eps": "AdamW's default in PyTorch; sgd has none",
    "weight_decay": "AdamW's default in PyTorch; for sgd Sandler et al. 2018",
    "decay_depthwise": _OURS,
    "lr_times_workers": _OURS,
    "ema": f"{_OURS}, for hundreds of steps rather than hundreds of thousands",
    "statistics_batches": _MEASURED,
}
INTEGERS = {  # beside those of a classifier's
    Task.DETECTION: {**_VIEWS[Task.DETECTION], "loss": f"{_LOSS}; of --distill below 1"},
    Task.SEGMENTATION: _VIEWS[Task.SEGMENTATION],
}
SOURCES = {
    (Task.DETECTION, RecipeName.PAPER): {
        **_VIEWS[Task.DETECTION],
        "optimizer": f"{_CONFIG}; TensorFlow's form: lr inside the momentum, mean square from 1",
        "lr": _CONFIG,
        "lr_times_workers": _OURS,
        "batch": _CONFIG,
        "epochs": f"{_CONFIG}: 200 k steps of 24 images of COCO's 118,287",
        "decay": f"{_CONFIG}, staircase",
        "decay_factor": _CONFIG,
        "decay_epochs": f"{_CONFIG}: 800,720 steps, more than it trains",
        "momentum": _CONFIG,
        "square_decay": _CONFIG,
        "eps": f"{_CONFIG}, inside the square root",
        "weight_decay": _CONFIG,
        "decay_depthwise": f"{_SCOPE}: no regularizer on the backbone's depthwise kernels",
        "loss": f"{_CONFIG}; {_LOSS}",
        "ema": "TF object detection, optimizer.proto, default; capped as tf.train's",
        "statistics_batches": _MEASURED,
    },
    (Task.DETECTION, RecipeName.FINETUNE): {**_VIEWS[Task.DETECTION], **_ADAMW, "loss": _LOSS},
    (Task.SEGMENTATION, RecipeName.PAPER): {
        **_VIEWS[Task.SEGMENTATION],
        "optimizer": f"{_FLAGS}: MomentumOptimizer, not Nesterov's",
        "lr": f"{_CHEN}; {_FLAGS}",
        "lr_times_workers": _OURS,
        "batch": _CHEN,
        "epochs": f"{_CHEN}: 30 k steps of 16 images of VOC's 10,582 (trainaug)",
        "decay": f"{_CHEN}, (1 - step / steps) ** power",
        "decay_power": f"{_CHEN}; {_FLAGS}",
        "momentum": _FLAGS,
        "weight_decay": f"{_FLAGS}, for MobileNetV2",
        "decay_depthwise": f"{_SCOPE}: no regularizer on depthwise kernels",
    },
    (Task.SEGMENTATION, RecipeName.FINETUNE): {**_VIEWS[Task.SEGMENTATION], **_ADAMW},
}
_BACKBONE = "Give --init, a classifier whose backbone is trained."
NOTES = {
    (Task.DETECTION, RecipeName.PAPER): "Of SSDLite in TensorFlow's detection API, which begins "
    "with a trained backbone: give --init. It has crops and mirrors; zoom-out and light are SSD's.",
    (Task.SEGMENTATION, RecipeName.PAPER): "Of DeepLabv3's first stage (output stride 16), which "
    "begins with a trained backbone: give --init.",
    (Task.DETECTION, RecipeName.FINETUNE): _BACKBONE,
    (Task.SEGMENTATION, RecipeName.FINETUNE): _BACKBONE,
}
RECIPES = {
    (Task.DETECTION, RecipeName.PAPER): SSDLITE,
    (Task.DETECTION, RecipeName.FINETUNE): ADAMW_DETECTION,
    (Task.SEGMENTATION, RecipeName.PAPER): DEEPLAB,
    (Task.SEGMENTATION, RecipeName.FINETUNE): ADAMW_SEGMENTATION,
}
OPTIMIZERS = {
    (Task.DETECTION, RecipeName.PAPER): (OptimizerName.RMSPROP,),
    (Task.SEGMENTATION, RecipeName.PAPER): (OptimizerName.MOMENTUM,),
}


def of_integers(recipe: Recipe, task: Task) -> Recipe:
    """A recipe of integers with the batch, the views and the loss of the task's fine-tuning."""
    own = RECIPES[task, RecipeName.FINETUNE]
    return dataclasses.replace(
        recipe,
        batch=own.batch,
        crop_area=own.crop_area,
        flip=own.flip,
        color=own.color,
        loss=own.loss,
    )


def by_sgd(recipe: Recipe) -> Recipe:
    """The same with Nesterov's momentum in AdamW's place."""
    return dataclasses.replace(
        recipe,
        optimizer=OptimizerName.SGD,
        lr=SGD_RATE,
        square_decay=0.0,
        weight_decay=4e-5,
    )
