"""The classes that a model knows least, and what it takes their images for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from exporter.intervals import Interval, wilson
from exporter.spec import ModelSpec

NO_GUESS = -1  # where a logit is no number


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """The wrong answer that was given most often."""

    index: int | None  # None: no answer, as the logits were no numbers
    label: str
    images: int


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """One model's accuracy on the images of one class."""

    path: str
    top1: Interval
    taken_for: Mistake | None  # None: every image was right


@dataclass(frozen=True, kw_only=True)
class WorstClass:
    """A class, and what every model made of it."""

    index: int
    label: str
    images: int
    scores: tuple[ClassScore, ...]  # the model first that the classes are ordered by


def worst_classes(
    guesses: Mapping[str, np.ndarray], labels: np.ndarray, spec: ModelSpec, count: int
) -> tuple[WorstClass, ...]:
    """At most `count` classes, the lowest top-1 of the first model first.

    `guesses` has each model's first answers, int (n,), to the images of `labels`, int (n,). Of
    classes with an equal share the one of more images is first, since it is the surer finding.
    """
    first = next(iter(guesses.values()))
    images = np.bincount(labels, minlength=spec.classes)
    right = np.bincount(labels[first == labels], minlength=spec.classes)
    occurring = (int(index) for index in np.flatnonzero(images))
    order = sorted(occurring, key=lambda i: (right[i] / images[i], -images[i], i))
    return tuple(
        WorstClass(
            index=index,
            label=spec.label(index),
            images=int(images[index]),
            scores=tuple(
                _score(path, answers[labels == index], index, spec)
                for path, answers in guesses.items()
            ),
        )
        for index in order[:count]
    )


def _score(path: str, answers: np.ndarray, index: int, spec: ModelSpec) -> ClassScore:
    wrong = answers[answers != index]
    return ClassScore(
        path=path,
        top1=wilson(len(answers) - len(wrong), len(answers)),
        taken_for=_most_common(wrong, spec) if len(wrong) else None,
    )


def _most_common(wrong: np.ndarray, spec: ModelSpec) -> Mistake:
    """Of equally common answers the first class."""
    values, counts = np.unique(wrong, return_counts=True)
    index, images = int(values[counts.argmax()]), int(counts.max())
    if index == NO_GUESS:
        return Mistake(index=None, label="no number", images=images)
    return Mistake(index=index, label=spec.label(index), images=images)
