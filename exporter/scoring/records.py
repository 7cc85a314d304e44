"""What an evaluation comes to."""

from __future__ import annotations

from dataclasses import dataclass, field

from exporter.intervals import Difference, Interval, Paired
from exporter.tasks import Task
from exporter.worst import WorstClass

FLOAT = "float model"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One model."""

    path: str
    seconds: float | None = None  # in the model, all else not counted; None when it did not run
    reason: str = ""  # why it did not run
    failed: bool = False  # it should have


@dataclass(frozen=True, kw_only=True)
class Score(Row):
    """A classifier's; figures are None when it did not run."""

    top1: Interval | None = None
    top5: Interval | None = None
    against_float: Paired | None = None  # of top-1


@dataclass(frozen=True, kw_only=True)
class Rating(Row):
    """A detector's or a segmenter's, by the names of figures; empty when it did not run."""

    figures: dict[str, Interval] = field(default_factory=dict)
    against_float: dict[str, Difference] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Confused:
    """The class that another one's pixels were most often taken for."""

    index: int
    label: str
    share: float  # of the other one's pixels


@dataclass(frozen=True, kw_only=True)
class ClassRating:
    """One model's figure of one class."""

    path: str
    value: float | None  # None: the class is neither there nor found
    taken_for: Confused | None = None  # segmentation, where any pixel was wrong


@dataclass(frozen=True, kw_only=True)
class WeakClass:
    """A class that the first model knows little, and what every model made of it."""

    index: int
    label: str
    images: int  # that show it
    labeled: int  # objects or pixels
    scores: tuple[ClassRating, ...]  # the model first that the classes are ordered by


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Every model on the same images."""

    data: str
    images: int
    of: int  # images of the data set; more than `images` under a limit
    classes: int  # that occur among the images
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ClassEvaluation(Evaluation):
    """Of classifiers."""

    scores: tuple[Score, ...]  # the float model first where there is one
    worst: tuple[WorstClass, ...] = ()  # by the first model that ran; empty unless asked for


@dataclass(frozen=True, kw_only=True)
class PictureEvaluation(Evaluation):
    """Of detectors, "map50" and "map", or of segmenters, "miou" and "pixels"."""

    task: Task
    labeled: int  # objects or pixels, ignored ones not counted
    resamples: int  # that the intervals come from
    scores: tuple[Rating, ...]  # the float model first where there is one
    worst: tuple[WeakClass, ...] = ()  # by AP50 or IoU of the first model that ran


Found = ClassEvaluation | PictureEvaluation


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Progress: so many images have been through every model."""

    images: int
    of: int
