"""The record of a recipe: every number that a training run depends on. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from exporter.errors import UnsupportedError

BLOCKS = 19  # the stem, 17 inverted residuals and the last 1x1 convolution


class RecipeName(StrEnum):
    """The recipes that have a name."""

    PAPER = "paper"
    FINETUNE = "finetune"
    QAT = "qat"


class OptimizerName(StrEnum):
    """RMSPROP is TensorFlow's form of it, which is not torch's; SGD has Nesterov's momentum."""

    RMSPROP = "rmsprop"
    ADAMW = "adamw"
    SGD = "sgd"
    MOMENTUM = "momentum"  # the plain one, of TensorFlow's MomentumOptimizer


class Decay(StrEnum):
    """How the rate falls: by a factor every few epochs, or to zero at the end in either curve."""

    STAIRS = "stairs"
    COSINE = "cosine"
    POLY = "poly"


class Balance(StrEnum):
    """What keeps the many anchors without an object from drowning the few that have one."""

    HARD_NEGATIVES = "hard-negatives"  # the wrongest three per positive count
    FOCAL = "focal"  # all count, the easy ones less


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
    decay_power: float = 0.0  # of POLY
    warmup_epochs: float = 0.0
    momentum: float = 0.0
    square_decay: float = 0.0  # of the mean square of RMSPROP and ADAMW
    eps: float = 1e-8
    weight_decay: float = 0.0
    decay_depthwise: bool = True  # batch norm and biases are never decayed
    label_smoothing: float = 0.0
    loss: Balance | None = None  # of a detector
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
