"""Recipes: their values for classifiers and integers, each with where it comes from.

Those of the other tasks are in `task_recipes`. No torch here, so `train --explain` answers at once.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from exporter.errors import UnsupportedError
from exporter.tasks import Task
from exporter.training import task_recipes
from exporter.training.recipe import (
    BLOCKS,
    Balance,
    Decay,
    OptimizerName,
    Recipe,
    RecipeName,
)

__all__ = [
    "ADAMW",
    "BLOCKS",
    "MOST_BITS",
    "PAPER",
    "QAT",
    "SGD",
    "Balance",
    "Changes",
    "Decay",
    "OptimizerName",
    "Recipe",
    "RecipeName",
    "Setting",
    "explain",
    "make_recipe",
    "note_on",
]

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
SGD = task_recipes.by_sgd(ADAMW)

_OPTIMIZERS = {
    RecipeName.PAPER: (OptimizerName.RMSPROP,),  # of classifiers
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
    "distill": "Ba and Caruana 2014: squared distance of results, over their variance",
    "learn_ranges": "Esser et al. 2020 (LSQ); frozen at the smallest squared error unless asked",
    "block_steps": f"{_OURS}, as in `build --qat`; Li et al. 2021 (BRECQ) for the method",
    "weight_bits": "--weights",
    "depthwise_bits": "--depthwise",
    "edge_bits": "--edges",
    "activation_bits": "--activations",
}
_SOURCES = {
    (Task.CLASSIFICATION, RecipeName.PAPER): _PAPER_SOURCES,
    (Task.CLASSIFICATION, RecipeName.FINETUNE): _FINETUNE_SOURCES,
    (Task.CLASSIFICATION, RecipeName.QAT): _QAT_SOURCES,
    **task_recipes.SOURCES,
    **{(t, RecipeName.QAT): _QAT_SOURCES | own for t, own in task_recipes.INTEGERS.items()},
}
_TOGETHER = (
    "The paper's 16 workers updated asynchronously, which cannot be repeated: here they update "
    "together, as in TF-slim's command for 72.0 %."
)
_AFTERWARDS = (
    "Of `mnv2-export qat`: after ranges, bias correction and block-wise training the whole network "
    "is trained, and kept only if that helps on held-out images."
)
_WITH_INIT = "Give --init; from random weights the paper's schedule is the better one."
_NOTES = {
    (Task.CLASSIFICATION, RecipeName.PAPER): _TOGETHER,
    (Task.CLASSIFICATION, RecipeName.FINETUNE): _WITH_INIT,
    **task_recipes.NOTES,
    **{(task, RecipeName.QAT): _AFTERWARDS for task in Task},
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
    loss: Balance | None = None
    distill: float | None = None
    learn_ranges: bool | None = None
    weight_bits: int | None = None
    depthwise_bits: int | None = None
    edge_bits: int | None = None
    activation_bits: int | None = None


def make_recipe(name: RecipeName, changes: Changes, task: Task = Task.CLASSIFICATION) -> Recipe:
    """A named recipe with the user's changes; optimizer and bits come first, as they set the lr."""
    if changes.loss is not None and task is not Task.DETECTION:
        raise UnsupportedError(
            f"--loss {changes.loss} is a detector's, not one of {task}",
            "leave --loss out" if name is RecipeName.QAT else "add --task detection",
        )
    asked = {k: v for k, v in dataclasses.asdict(changes).items() if v is not None}
    return dataclasses.replace(_base(name, changes, task), **asked)


def note_on(recipe: Recipe, task: Task) -> str:
    """What there is to know about it beside its values."""
    return _NOTES[task, recipe.name]


def _base(name: RecipeName, changes: Changes | Recipe, task: Task) -> Recipe:
    optimizer = changes.optimizer
    offered = task_recipes.OPTIMIZERS.get((task, name), _OPTIMIZERS[name])
    if optimizer is not None and optimizer not in offered:
        raise UnsupportedError(
            f"the recipe {name} has no {optimizer}", f"it has {' and '.join(offered)}"
        )
    if name is RecipeName.QAT:
        asked = (changes.weight_bits, changes.depthwise_bits, changes.activation_bits)
        few = min(bits or MOST_BITS for bits in asked) <= FEW_BITS
        base = dataclasses.replace(QAT, lr=FEW_BITS_LR) if few else QAT
        return base if task is Task.CLASSIFICATION else task_recipes.of_integers(base, task)
    if task is Task.CLASSIFICATION:
        base = PAPER if name is RecipeName.PAPER else ADAMW
    else:
        base = task_recipes.RECIPES[task, name]
    return task_recipes.by_sgd(base) if optimizer is OptimizerName.SGD else base


def explain(recipe: Recipe, task: Task = Task.CLASSIFICATION) -> tuple[Setting, ...]:
    """Every value of a recipe with its source."""
    base = _base(recipe.name, recipe, task)
    sources = _SOURCES[task, recipe.name]
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
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return " to ".join(map(_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
