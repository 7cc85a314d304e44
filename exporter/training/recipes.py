"""Recipes: every number that a training run depends on, each with where it comes from.

No torch here, so that `train --explain` answers at once.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import StrEnum

from exporter.errors import UnsupportedError


class RecipeName(StrEnum):
    """The recipes that have a name."""

    PAPER = "paper"
    FINETUNE = "finetune"


class OptimizerName(StrEnum):
    """RMSPROP is TensorFlow's form of it, which is not torch's."""

    RMSPROP = "rmsprop"
    ADAMW = "adamw"
    SGD = "sgd"


class Decay(StrEnum):
    """STAIRS multiplies by a factor every few epochs; COSINE falls to zero at the end."""

    STAIRS = "stairs"
    COSINE = "cosine"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a model is trained; `batch` and `lr` are one worker's."""

    name: RecipeName
    optimizer: OptimizerName
    lr: float
    lr_times_workers: bool = False
    batch: int
    epochs: int
    decay: Decay
    decay_factor: float = 1.0  # of STAIRS
    decay_epochs: float = 0.0  # of STAIRS, divided by the number of workers
    warmup_epochs: float = 0.0
    momentum: float = 0.0
    square_decay: float = 0.0  # of RMSPROP's mean square
    eps: float = 1e-8
    weight_decay: float = 0.0
    decay_depthwise: bool = True  # batch norm and biases are never decayed
    label_smoothing: float = 0.0
    ema: float = 0.0  # decay per step of the weights' average; 0 keeps none
    statistics_batches: int = 50  # that the average's batch norm is measured on
    crop_area: tuple[float, float] = (0.08, 1.0)  # share of the photo that a crop keeps
    flip: float = 0.5  # probability of a mirrored picture
    color: float = 0.0  # brightness, contrast and saturation change by up to this share
    freeze: int = 0  # blocks of `features` that keep their weights
    head_epochs: int = 0  # epochs at first that train the classifier alone

    def __post_init__(self) -> None:
        for name in ("lr", "batch", "epochs"):
            if not getattr(self, name) > 0:
                raise UnsupportedError(f"{name} {getattr(self, name)} is not positive")
        if not 0 <= self.freeze <= BLOCKS:
            raise UnsupportedError(
                f"--freeze {self.freeze}: the network has {BLOCKS} blocks before its head"
            )
        if not 0 <= self.head_epochs <= self.epochs:
            raise UnsupportedError(
                f"--head-epochs {self.head_epochs} is not within the {self.epochs} epochs"
            )


BLOCKS = 19  # the stem, 17 inverted residuals and the last 1x1 convolution

PAPER = Recipe(
    name=RecipeName.PAPER,
    optimizer=OptimizerName.RMSPROP,
    lr=0.045,
    lr_times_workers=True,
    batch=96,
    epochs=420,
    decay=Decay.STAIRS,
    decay_factor=0.98,
    decay_epochs=2.5,
    momentum=0.9,
    square_decay=0.9,
    eps=1.0,
    weight_decay=4e-5,
    decay_depthwise=False,
    label_smoothing=0.1,
    ema=0.9999,
    crop_area=(0.05, 1.0),
    color=0.4,
)
ADAMW = Recipe(
    name=RecipeName.FINETUNE,
    optimizer=OptimizerName.ADAMW,
    lr=1e-3,
    batch=32,
    epochs=30,
    decay=Decay.COSINE,
    warmup_epochs=1.0,
    momentum=0.9,
    weight_decay=1e-2,
    label_smoothing=0.1,
    ema=0.998,
    crop_area=(0.25, 1.0),
    color=0.2,
)
SGD = dataclasses.replace(ADAMW, optimizer=OptimizerName.SGD, lr=0.01, weight_decay=4e-5)

_TABLE = "Sandler et al. 2018, section 6.1"
_SLIM = "TF-slim mobilenet README (V2, 72.0 %)"
_FLAGS = "TF-slim train_image_classifier.py, default"
_SCOPE = "TF-slim mobilenet.py, training_scope"
_OURS = "our choice"
_NO = "not part of this recipe"
_PAPER_SOURCES = {
    "optimizer": f"{_TABLE}; TensorFlow's form: lr inside the momentum, mean square starts at 1",
    "lr": f"{_TABLE}; {_SLIM}",
    "lr_times_workers": f"{_SLIM}: gradients of workers are averaged",
    "batch": f"{_TABLE}, per worker",
    "epochs": f"{_SLIM}: 700 k steps of 8 x 96 images",
    "decay": f"{_FLAGS}, staircase",
    "decay_factor": _TABLE,
    "decay_epochs": f"{_SLIM}: 2.5 / N epochs of one worker's steps, so 2.5 passes over the data",
    "momentum": _TABLE,
    "square_decay": _TABLE,
    "eps": f"{_FLAGS} (opt_epsilon), inside the square root",
    "weight_decay": _TABLE,
    "decay_depthwise": f"{_SCOPE}: no regularizer on depthwise kernels",
    "label_smoothing": _SLIM,
    "ema": f"{_SLIM}; capped at (1 + step) / (10 + step) as tf.train's",
    "statistics_batches": f"{_OURS}: measured afresh instead of averaged",
    "crop_area": "TF-slim inception_preprocessing.py",
    "flip": "TF-slim inception_preprocessing.py",
    "color": f"{_OURS}, near inception_preprocessing's 32 / 255 and 0.5",
}
_FINETUNE_SOURCES = {
    "optimizer": "Loshchilov and Hutter 2019 (adamw) or plain momentum (sgd)",
    "lr_times_workers": _OURS,
    "decay": "Loshchilov and Hutter 2017, one cycle without restarts",
    "warmup_epochs": "Goyal et al. 2017, shortened",
    "weight_decay": "AdamW's default in PyTorch; for sgd Sandler et al. 2018",
    "label_smoothing": "Szegedy et al. 2016",
    "ema": f"{_OURS}, for hundreds of steps rather than hundreds of thousands",
    "statistics_batches": f"{_OURS}: measured afresh instead of averaged",
}
NOTES = {
    RecipeName.PAPER: "The paper's 16 workers updated asynchronously, which cannot be repeated: "
    "here they update together, as in TF-slim's command for 72.0 %.",
    RecipeName.FINETUNE: "Give --init; from random weights the paper's schedule is the better one.",
}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One line of `--explain`."""

    name: str
    value: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What the command line asks of a recipe; None keeps the recipe's own."""

    optimizer: OptimizerName | None = None
    lr: float | None = None
    batch: int | None = None
    epochs: int | None = None
    freeze: int | None = None
    head_epochs: int | None = None


def make_recipe(name: RecipeName, changes: Changes) -> Recipe:
    """A named recipe with the user's changes; the optimizer is chosen first, as it sets the lr."""
    asked = {k: v for k, v in dataclasses.asdict(changes).items() if v is not None}
    return dataclasses.replace(_base(name, changes.optimizer), **asked)


def _base(name: RecipeName, optimizer: OptimizerName | None) -> Recipe:
    if name is RecipeName.PAPER:
        if optimizer not in (None, OptimizerName.RMSPROP):
            raise UnsupportedError(
                f"the paper's recipe has no {optimizer}", "use --recipe finetune for it"
            )
        return PAPER
    if optimizer is OptimizerName.RMSPROP:
        raise UnsupportedError(
            "the finetune recipe has no rmsprop", "use --recipe paper, or adamw or sgd"
        )
    return SGD if optimizer is OptimizerName.SGD else ADAMW


def explain(recipe: Recipe) -> tuple[Setting, ...]:
    """Every value of a recipe with its source."""
    base = _base(recipe.name, recipe.optimizer)
    sources = _PAPER_SOURCES if recipe.name is RecipeName.PAPER else _FINETUNE_SOURCES
    lines = []
    for field in dataclasses.fields(recipe):
        value = getattr(recipe, field.name)
        if field.name == "name":
            continue
        changed = value != getattr(base, field.name)
        unused = field.default is not dataclasses.MISSING and value == field.default
        own = sources.get(field.name, _NO if unused else _OURS)
        source = "the command line" if changed else own
        lines.append(Setting(name=field.name, value=_text(value), source=source))
    return tuple(lines)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return " to ".join(map(_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
