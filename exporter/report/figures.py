"""Accuracy as figures with intervals, and how far each is from the float model's."""

from __future__ import annotations

from exporter.intervals import wilson
from exporter.report.records import Figure
from exporter.verdicts import Accuracy, MeanAP, MeanIoU, Score


def figures(score: Score | None, reference: Score | None) -> tuple[Figure, ...]:
    """A score's figures; `reference` is the float model's, None for that model itself.

    Only shares of right answers have an interval that follows from the manifest's numbers;
    `mnv2-export evaluate` resamples the images for the others.
    """
    if score is None:
        return ()
    shares = _shares(score)
    others = {} if reference is None else _shares(reference)
    counted = isinstance(score, Accuracy)
    return tuple(
        _figure(name, value, score.images, counted, others) for name, value in shares.items()
    )


def _shares(score: Score) -> dict[str, float]:
    if isinstance(score, Accuracy):
        return {"top-1": score.top1, "top-5": score.top5}
    if isinstance(score, MeanAP):
        return {"mAP": score.map, "mAP50": score.map50}
    assert isinstance(score, MeanIoU)
    return {"mIoU": score.miou, "pixels": score.pixels}


def _figure(
    name: str, value: float, images: int, counted: bool, others: dict[str, float]
) -> Figure:
    interval = wilson(round(value * images), images) if counted and images else None
    return Figure(
        name=name,
        value=value,
        low=None if interval is None else interval.low,
        high=None if interval is None else interval.high,
        points=100.0 * (value - others[name]) if name in others else None,
    )
