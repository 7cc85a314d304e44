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
    QAT = "qat"


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
    square_decay: float = 0.0  # of the mean square of RMSPROP and ADAMW
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
    distill: float = 0.0  # share of the loss that is the distance to the float model's logits
    learn_ranges: bool = False  # of activations; weights keep their channel's range
    block_steps: int = 0  # updates of each block before that
    weight_bits: int = 8
    depthwise_bits: int = 8
    edge_bits: int = 8  # weights of the first and the last layer
    activation_bits: int = 8  # but for the image and the logits

    def __post_init__(self) -> None:
        if not 0 <= self.distill <= 1:
            raise UnsupportedError(f"--distill {self.distill:g} is not within 0 and 1")
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
    square_decay=0.999,
    weight_decay=1e-2,
    label_smoothing=0.1,
    ema=0.998,
    crop_area=(0.25, 1.0),
    color=0.2,
)
QAT = Recipe(
    name=RecipeName.QAT,
    optimizer=OptimizerName.ADAMW,
    lr=1e-5,
    batch=32,
    epochs=5,
    decay=Decay.COSINE,
    momentum=0.9,
    square_decay=0.999,
    crop_area=(0.5, 1.0),
    color=0.1,
    distill=1.0,
    block_steps=60,
)
FEW_BITS, FEW_BITS_LR, MOST_BITS = 6, 1e-4, 8  # so few bits of a kind of tensor want this lr
SGD = dataclasses.replace(
    ADAMW, optimizer=OptimizerName.SGD, lr=0.01, square_decay=0.0, weight_decay=4e-5
)

_OPTIMIZERS = {
    RecipeName.PAPER: (OptimizerName.RMSPROP,),
    RecipeName.FINETUNE: (OptimizerName.ADAMW, OptimizerName.SGD),
    RecipeName.QAT: (OptimizerName.ADAMW,),
}
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
    "optimizer": "Loshchilov and Hutter 2019 (adamw) or Nesterov's momentum (sgd)",
    "lr_times_workers": _OURS,
    "decay": "Loshchilov and Hutter 2017, one cycle without restarts",
    "warmup_epochs": "Goyal et al. 2017, shortened",
    "eps": "AdamW's default in PyTorch; sgd has none",
    "weight_decay": "AdamW's default in PyTorch; for sgd Sandler et al. 2018",
    "decay_depthwise": _OURS,
    "flip": _OURS,
    "label_smoothing": "Szegedy et al. 2016",
    "ema": f"{_OURS}, for hundreds of steps rather than hundreds of thousands",
    "statistics_batches": f"{_OURS}: measured afresh instead of averaged",
}
_QAT_SOURCES = {
    "optimizer": "Loshchilov and Hutter 2019; Adam without decay, as in BRECQ (Li et al. 2021)",
    "eps": "AdamW's default in PyTorch",
    "flip": _OURS,
    "lr": f"{_OURS}, of weights as shares of their channel's range; 1e-4 up to {FEW_BITS} bits",
    "decay": "Loshchilov and Hutter 2017, one cycle without restarts",
    "distill": "Ba and Caruana 2014: squared distance of logits, over their variance",
    "learn_ranges": "Esser et al. 2020 (LSQ); frozen at the smallest squared error unless asked",
    "block_steps": f"{_OURS}, as in `build --qat`; Li et al. 2021 (BRECQ) for the method",
    "weight_bits": "--weights",
    "depthwise_bits": "--depthwise",
    "edge_bits": "--edges",
    "activation_bits": "--activations",
}
_SOURCES = {
    RecipeName.PAPER: _PAPER_SOURCES,
    RecipeName.FINETUNE: _FINETUNE_SOURCES,
    RecipeName.QAT: _QAT_SOURCES,
}
NOTES = {
    RecipeName.PAPER: "The paper's 16 workers updated asynchronously, which cannot be repeated: "
    "here they update together, as in TF-slim's command for 72.0 %.",
    RecipeName.QAT: "Of `mnv2-export qat`: after ranges, bias correction and block-wise training "
    "the whole network is trained, and kept only if that helps on held-out images.",
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
    distill: float | None = None
    learn_ranges: bool | None = None
    weight_bits: int | None = None
    depthwise_bits: int | None = None
    edge_bits: int | None = None
    activation_bits: int | None = None


def make_recipe(name: RecipeName, changes: Changes) -> Recipe:
    """A named recipe with the user's changes; optimizer and bits come first, as they set the lr."""
    asked = {k: v for k, v in dataclasses.asdict(changes).items() if v is not None}
    return dataclasses.replace(_base(name, changes), **asked)


def _base(name: RecipeName, changes: Changes | Recipe) -> Recipe:
    optimizer = changes.optimizer
    offered = _OPTIMIZERS[name]
    if optimizer is not None and optimizer not in offered:
        raise UnsupportedError(
            f"the recipe {name} has no {optimizer}", f"it has {' and '.join(offered)}"
        )
    if name is RecipeName.PAPER:
        return PAPER
    if name is RecipeName.QAT:
        asked = (changes.weight_bits, changes.depthwise_bits, changes.activation_bits)
        few = min(bits or MOST_BITS for bits in asked) <= FEW_BITS
        return dataclasses.replace(QAT, lr=FEW_BITS_LR) if few else QAT
    return SGD if optimizer is OptimizerName.SGD else ADAMW


def explain(recipe: Recipe) -> tuple[Setting, ...]:
    """Every value of a recipe with its source."""
    base = _base(recipe.name, recipe)
    sources = _SOURCES[recipe.name]
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
