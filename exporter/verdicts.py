"""The records of parity and quality; plain data, so reading a manifest loads no framework."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from exporter.spec import Precision


class Outcome(StrEnum):
    """The verdict on one artifact or on one pair."""

    SAME = "same"
    DRIFTED = "drifted"
    NOT_RUN = "not run"


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """How far logits may be from the reference, with the reason for the figure."""

    name: str
    min_sqnr_db: float  # infinity demands equality of every bit
    why: str


EXACT = Tolerance(
    name="EXACT",
    min_sqnr_db=float("inf"),
    why="integers have one right answer: 0 LSB, every bit of the dequantized logits",
)
FP32 = Tolerance(
    name="FP32",
    min_sqnr_db=100.0,
    why="kernels sum float32 in different orders: 113 to 135 dB on the demo and on a real model",
)
FP16 = Tolerance(
    name="FP16",
    min_sqnr_db=45.0,
    why="11-bit significands through 53 layers: 47 to 69 dB on the same two",
)
TOLERANCES = {Precision.INT8: EXACT, Precision.FP32: FP32, Precision.FP16: FP16}


@dataclass(frozen=True, kw_only=True)
class Gate:
    """One part of a proof, for an artifact that is proved in parts."""

    name: str
    passed: bool
    detail: str  # the figure, or what is wrong and where


@dataclass(frozen=True, kw_only=True)
class Parity:
    """One comparison. Figures are None when nothing ran."""

    outcome: Outcome
    tolerance: str
    images: int = 0
    max_lsb: int | None = None  # int8 only, in steps of the logits' scale
    max_abs: float | None = None  # largest |difference of logits|
    sqnr_db: float | None = None  # None also when equal: the ratio is infinite
    reason: str = ""  # why it did not run, or where it drifted
    by: str = ""  # what ran, where that is not simply the runtime that the artifact is for
    gates: tuple[Gate, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two artifacts of one precision, compared with each other."""

    a: str
    b: str
    outcome: Outcome
    max_lsb: int | None = None
    max_abs: float | None = None
    exact_images: float | None = None  # share of images with equal logits
    top1_agreement: float | None = None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Logits against the float model's, on real images."""

    images: int
    sqnr_db: float
    top1_agreement: float
    kl: float  # mean KL(float || this) of the softmax, nats
    max_abs: float


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """Against true labels."""

    images: int
    top1: float
    top5: float


@dataclass(frozen=True, kw_only=True)
class QuantizationStage:
    """One step towards the integers, measured on held-out images."""

    name: str
    quality: Quality
    kept: bool  # nearer to the float model (SQNR) than what was kept before it


@dataclass(frozen=True, kw_only=True)
class Quantization:
    """The steps that were tried, in order; the last one that was kept is what was built."""

    stages: tuple[QuantizationStage, ...]
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def winner(self) -> QuantizationStage:
        """The stage that was built."""
        return [stage for stage in self.stages if stage.kept][-1]

    @property
    def runner_up(self) -> QuantizationStage | None:
        """The nearest to the float model of the others."""
        others = [stage for stage in self.stages if stage is not self.winner]
        return max(others, key=lambda stage: stage.quality.sqnr_db, default=None)

    @property
    def gain_db(self) -> float:
        """How much nearer to the float model the winner is than the runner-up."""
        if self.runner_up is None:
            return 0.0
        return self.winner.quality.sqnr_db - self.runner_up.quality.sqnr_db
