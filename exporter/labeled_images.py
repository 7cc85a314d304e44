"""Labeled images to judge a model by: each class must be one output of the model, and only one."""

from __future__ import annotations

from pathlib import Path

from exporter.errors import DataError
from exporter.spec import ModelSpec
from exporter.training.sources import ImageSource, open_source


def labeled_images(data: Path, spec: ModelSpec) -> ImageSource:
    """The images of `data`, their targets by the model's outputs; raises DataError."""
    source = open_source(data, spec.labels or None)
    if len(source.labels) != spec.classes:
        raise DataError(
            f"{data}: {len(source.labels)} classes for a model of {spec.classes}, "
            "which came without labels to match them by",
            "build with --labels, or pass data of every class",
        )
    _check_names(data, source, spec)
    return source


def evenly_chosen(count: int, limit: int | None) -> list[int]:
    """At most `limit` of `count` indices, from every part of them."""
    if limit is None or limit >= count:
        return list(range(count))
    return [i * count // limit for i in range(limit)]


def _check_names(data: Path, source: ImageSource, spec: ModelSpec) -> None:
    """Raise DataError where a name may be either of two outputs, or two names are one output."""
    names = {(target, e.label) for target, e in zip(source.targets, source.entries, strict=True)}
    named: dict[int, str] = {}
    for target, name in sorted(names):
        if spec.labels.count(name) > 1:
            outputs = [str(i) for i, label in enumerate(spec.labels) if label == name]
            raise DataError(
                f"{data}: class {name!r} may be any of the model's outputs {', '.join(outputs)}, "
                "which share that label",
                "name these classes by the number of the output",
            )
        if target in named:
            raise DataError(
                f"{data}: classes {named[target]!r} and {name!r} are the same output of the "
                f"model, {spec.label(target)!r}",
                "name every class by its label, or every class by the number of its output",
            )
        named[target] = name
