"""What a Core ML package gives for some files: run, summed up, saved.

The package is run by a target; here is what a person or a script wants to know of its outputs.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from exporter.errors import ArtifactError, DataError
from exporter.files import added_to
from exporter.photos import Photos
from exporter.spec import Fit, ModelSpec, Preprocess
from exporter.target import Evaluator
from exporter.threads import one_thread

PROVES = "program and weights, not Apple's kernels"
OUTSIDE_NAMES = re.compile(r"[^\w.-]")  # of a package that may come from anyone
Top = tuple[tuple[str | int, float | None], ...]  # best first; None is a number that is not finite


class Model(Protocol):
    """A package that is ready to run; `targets.mil.standalone` has the real one."""

    @property
    def path(self) -> Path:
        """Where it is."""
        ...

    @property
    def spec(self) -> ModelSpec | None:
        """Of a package that this tool wrote."""
        ...

    @property
    def evaluator(self) -> Evaluator:
        """How it is run."""
        ...

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what it gives."""
        ...

    def runs(self, arguments: Sequence[str]) -> list[dict[str, Path]]:
        """Input name -> file, of each run."""
        ...

    def fed(self, files: Mapping[str, Path], photos: Photos) -> dict[str, Any]:
        """What those files hold."""
        ...

    def __call__(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Output name -> array, picture, label or probabilities by label."""
        ...


@dataclass(frozen=True, kw_only=True)
class Figures:
    """An array or a picture; the figures are of its finite elements, None if there are none."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    min: float | None
    mean: float | None
    max: float | None
    not_finite: int
    top: Top  # of one number per class; empty where classes have probabilities


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run and its outputs."""

    inputs: Mapping[str, str]  # name -> file
    label: str | int | None
    classes: Top  # with their probabilities
    arrays: tuple[Figures, ...]
    saved: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """All runs of a package, and how they were made."""

    model: str
    evaluator: Evaluator
    fit: Fit | None  # None where `preprocess` was followed, and where no photo was read
    preprocess: Preprocess | None
    runs: tuple[Run, ...]
    seconds: float
    proves: str = PROVES


def evaluate(
    model: Model, arguments: Sequence[str], fit: Fit | None, top: int, save: Path | None
) -> Evaluation:
    """Run files through a package; `save` gets every array, or nothing if a run fails."""
    photos = Photos(contract=model.spec.preprocess if model.spec else None, fit=fit)
    plans = model.runs(arguments)
    names = [_saved_names(model, plan) for plan in plans] if save else [{} for _ in plans]
    _check_different([name for planned in names for name in planned.values()])
    runs = []
    with added_to(save) if save else contextlib.nullcontext() as folder:
        for plan, planned in zip(plans, names, strict=True):
            values = model.fed(plan, photos)
            started = time.perf_counter()
            with one_thread():
                outputs = model(values)
            seconds = time.perf_counter() - started
            saved = [] if folder is None else _save(outputs, planned, folder)
            paths = tuple(str(save / name) for name in saved) if save else ()
            runs.append(_summed_up(model, plan, outputs, top, paths, seconds))
    read = any(not file.name.endswith(".npy") for plan in plans for file in plan.values())
    return Evaluation(
        model=str(model.path),
        evaluator=model.evaluator,
        fit=photos.how if read else None,
        preprocess=photos.contract if read and photos.how is None else None,
        runs=tuple(runs),
        seconds=sum(run.seconds for run in runs),
    )


def figures(name: str, array: np.ndarray, labels: ModelSpec | None, top: int) -> Figures:
    """An array in a line, and its largest elements where it is one row of them (`top` > 0)."""
    numbers = array.astype(np.float64).ravel()
    finite = numbers[np.isfinite(numbers)]
    one_row = array.size > 1 and array.size == max(array.shape)
    largest = np.argsort(-numbers, kind="stable")[: top if one_row else 0]
    known = labels if labels is not None and labels.classes == array.size else None
    return Figures(
        name=name,
        shape=array.shape,
        dtype=str(array.dtype),
        min=float(finite.min()) if len(finite) else None,
        mean=float(finite.mean()) if len(finite) else None,
        max=float(finite.max()) if len(finite) else None,
        not_finite=len(numbers) - len(finite),
        top=tuple((known.label(i) if known else f"[{i}]", _finite(numbers[i])) for i in largest),
    )


def _summed_up(
    model: Model,
    plan: Mapping[str, Path],
    outputs: Mapping[str, Any],
    top: int,
    saved: tuple[str, ...],
    seconds: float,
) -> Run:
    label: str | int | None = None
    classes: Top = ()
    arrays = {}
    for name, value in outputs.items():
        if isinstance(value, dict):
            best = sorted(value.items(), key=lambda item: -np.nan_to_num(item[1], nan=-1))
            classes = tuple((key, _finite(p)) for key, p in best[:top])
        elif isinstance(value, str | int):
            label = value
        else:
            arrays[name] = np.asarray(value)
    shown = 0 if classes else top
    return Run(
        inputs={name: str(file) for name, file in plan.items()},
        label=label,
        classes=classes,
        arrays=tuple(figures(name, a, model.spec, shown) for name, a in arrays.items()),
        saved=saved,
        seconds=seconds,
    )


def _saved_names(model: Model, plan: Mapping[str, Path]) -> dict[str, str]:
    """Output name -> file name; of several inputs none gives its name, so the model does."""
    (stem,) = {p.stem for p in plan.values()} if len(plan) == 1 else {model.path.stem}
    return {name: f"{stem}.{OUTSIDE_NAMES.sub('_', name)}.npy" for name in model.outputs}


def _check_different(names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(
            f"{len(names)} outputs would be saved under {len(set(names))} names: {twice[0]}",
            "give the files different names, or run them one by one",
        )


def _save(outputs: Mapping[str, Any], names: Mapping[str, str], folder: Path) -> list[str]:
    """Arrays and pictures as they are, probabilities in the order of the classes; no labels."""
    saved = []
    for name, value in outputs.items():
        if isinstance(value, dict):
            value = np.array(list(value.values()), np.float64)
        if isinstance(value, np.ndarray | Image.Image):
            try:
                np.save(folder / names[name], np.asarray(value), allow_pickle=False)
            except OSError as error:
                raise ArtifactError(f"{names[name]}: cannot be written ({error})") from None
            saved.append(names[name])
    return saved


def _finite(number: float) -> float | None:
    return float(number) if np.isfinite(number) else None
