"""The records of parity and quality; plain data, so reading a manifest loads no framework."""

from __future__ import annotations

import abc
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from exporter.spec import Precision
from exporter.tasks import Task


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
    min_agreement: float = 1.0  # of labels and detections, which have no ratio


EXACT = Tolerance(
    name="EXACT",
    min_sqnr_db=float("inf"),
    why="integers have one right answer: 0 LSB, every bit of the dequantized logits",
)
EXACT_BOXES = Tolerance(
    name="EXACT_BOXES",
    min_sqnr_db=100.0,
    why="a box's size is e to a power in float32, whose last digit differs between libraries",
)
FP32 = Tolerance(
    name="FP32",
    min_sqnr_db=100.0,
    why="kernels sum float32 in different orders: 113 to 135 dB on the demo and on a real model",
    min_agreement=0.999,
)
FP16 = Tolerance(
    name="FP16",
    min_sqnr_db=45.0,
    why="11-bit significands through 53 layers: 47 to 69 dB on the same two",
    min_agreement=0.95,
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
    agreement: float | None = None  # share of equal labels, or of detections in common
    reason: str = ""  # why it did not run, or where it drifted
    by: str = ""  # what ran, where that is not simply the runtime that the artifact is for
    gates: tuple[Gate, ...] = ()
    outputs: dict[str, Parity] = field(default_factory=dict)  # by name, where there are several


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
    """Results against the float model's, on real images.

    Of several outputs the ratio is that of their mean relative noise. Labels and detections have
    none, and only logits of classes have a divergence.
    """

    images: int
    sqnr_db: float | None
    top1_agreement: float  # share of images, anchors or pixels named alike; of detections in common
    kl: float | None  # mean KL(float || this) of the softmax, nats
    max_abs: float | None

    @property
    def ratio_db(self) -> float:
        """`sqnr_db` of results that have one."""
        assert self.sqnr_db is not None, "labels and detections have no ratio"
        return self.sqnr_db


class Rated(abc.ABC):
    """How right a model is, in a task's own figures."""

    @property
    @abc.abstractmethod
    def deciding(self) -> tuple[str, float]:
        """The name and the value of the figure that models are compared by; more is better."""

    @abc.abstractmethod
    def columns(self) -> dict[str, str]:
        """The figures for a person, by name."""

    def told(self) -> str:
        """The figures in a line."""
        return ", ".join(f"{name} {figure}" for name, figure in self.columns().items())


@dataclass(frozen=True, kw_only=True)
class Accuracy(Rated):
    """Against true labels."""

    images: int
    top1: float
    top5: float

    @property
    def deciding(self) -> tuple[str, float]:
        """One guess for each image."""
        return "top-1", self.top1

    def columns(self) -> dict[str, str]:
        """For a person."""
        return {"top-1": f"{self.top1:.1%}", "top-5": f"{self.top5:.1%}"}


@dataclass(frozen=True, kw_only=True)
class MeanAP(Rated):
    """Of a detector against labeled objects; COCO's definitions, 0 to 1."""

    images: int
    map50: float  # at an IoU of 0.5
    map: float  # mean over IoUs from 0.5 to 0.95

    @property
    def deciding(self) -> tuple[str, float]:
        """COCO's own."""
        return "mAP", self.map

    def columns(self) -> dict[str, str]:
        """For a person."""
        return {"mAP50": f"{self.map50:.1%}", "mAP": f"{self.map:.1%}"}


@dataclass(frozen=True, kw_only=True)
class MeanIoU(Rated):
    """Of a segmenter against labeled pixels, 0 to 1."""

    images: int
    miou: float  # mean over the classes that occur, the background among them
    pixels: float  # share of pixels that are right

    @property
    def deciding(self) -> tuple[str, float]:
        """VOC's own."""
        return "mIoU", self.miou

    def columns(self) -> dict[str, str]:
        """For a person."""
        return {"mIoU": f"{self.miou:.1%}", "pixels": f"{self.pixels:.1%}"}


Score = Accuracy | MeanAP | MeanIoU
SCORES: dict[Task, type[Score]] = {
    Task.CLASSIFICATION: Accuracy,
    Task.DETECTION: MeanAP,
    Task.SEGMENTATION: MeanIoU,
}
AGREEMENTS = {  # whose classes two models may give alike
    Task.CLASSIFICATION: "top-1",
    Task.DETECTION: "anchor",
    Task.SEGMENTATION: "pixel",
}


class Metric(StrEnum):
    """What a stage of quantization has to raise on held-out images to be kept."""

    SQNR = "sqnr_db"
    TOP1 = "top1"
    MAP = "map"
    MIOU = "miou"


BY_LABELS = {  # what training by labels is judged by: the figure that decides a task's score
    Task.CLASSIFICATION: Metric.TOP1,
    Task.DETECTION: Metric.MAP,
    Task.SEGMENTATION: Metric.MIOU,
}


@dataclass(frozen=True, kw_only=True)
class QuantizationStage:
    """One step towards the integers, measured on held-out images."""

    name: str
    quality: Quality
    kept: bool  # better by the metric than what was kept before it
    accuracy: Score | None = None  # where the images have labels

    def rank(self, metric: Metric) -> tuple[float, ...]:
        """What stages are compared by; of those that are equally right SQNR decides."""
        if metric is Metric.SQNR:
            return (self.quality.ratio_db,)
        assert self.accuracy is not None, f"{metric} needs labels"
        return (self.accuracy.deciding[1], self.quality.ratio_db)


@dataclass(frozen=True, kw_only=True)
class Quantization:
    """The steps that were tried, in order, and which of them was built."""

    stages: tuple[QuantizationStage, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    metric: Metric = Metric.SQNR
    built: str = ""  # the stage that was, where it is not the last that was kept

    @property
    def winner(self) -> QuantizationStage:
        """The last stage that was kept."""
        return [stage for stage in self.stages if stage.kept][-1]

    @property
    def chosen(self) -> QuantizationStage:
        """The stage that was built: the winner, but of a checkpoint that is not a run's best."""
        return next((s for s in self.stages if s.name == self.built), self.winner)

    def told(self, task: Task) -> str:
        """Which stage was built, and how much better it is than the best of the others."""
        chosen = self.chosen
        others = [stage for stage in self.stages if stage is not chosen]
        second = max(others, key=lambda stage: stage.rank(self.metric), default=None)
        verb = "won" if chosen is self.winner else "is what this is"
        text = f"{chosen.name} {verb}: {chosen.quality.ratio_db:.1f} dB SQNR to float, "
        if second is not None and self.metric is Metric.SQNR:
            text += _difference(chosen.quality.ratio_db - second.quality.ratio_db, "", second.name)
        text += f"{chosen.quality.top1_agreement:.1%} {AGREEMENTS[task]} agreement"
        if chosen.accuracy is None:
            return text
        figure, value = chosen.accuracy.deciding
        text += f", {figure} {value:.1%}"
        if self.metric is Metric.SQNR or second is None or second.accuracy is None:
            return text
        points = 100 * (value - second.accuracy.deciding[1])
        return f"{text}, {_difference(points, 'points ', second.name).rstrip('; ')}"


def _difference(value: float, unit: str, name: str) -> str:
    return f"{abs(value):.1f} {unit}{'less' if value < 0 else 'more'} than {name}; "
