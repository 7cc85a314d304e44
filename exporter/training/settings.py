"""What a run is asked to do; `run.json` holds it, and a resumed run must ask for the same."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from exporter.errors import DataError, UnsupportedError
from exporter.tasks import SegmentationSpec, Task
from exporter.training.recipe import Balance, Decay, OptimizerName, Recipe, RecipeName
from exporter.training.recipes import ADAMW, Changes, make_recipe

# What a resumed run may ask for anew: how it computes, and where its data has gone.
MAY_CHANGE = ("data", "val", "device", "workers", "save_every", "tensorboard")

HOLDS = {  # what `train` takes, for people
    Task.CLASSIFICATION: "which has a folder per class",
    Task.DETECTION: "which holds COCO or Pascal VOC",
    Task.SEGMENTATION: "which holds images/ and masks/, COCO or Pascal VOC",
}


class Device(StrEnum):
    """AUTO takes the first of cuda, mps and cpu that is there."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"


class Arithmetic(StrEnum):
    """AUTO is bf16, else fp16, on a GPU by CUDA, and fp32 elsewhere; weights stay float32."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One run: the recipe, the data, the start and how the machine is used."""

    data: Path
    val: Path | None = None
    task: Task = Task.CLASSIFICATION
    recipe: Recipe = ADAMW
    init: Path | None = None
    width: float | None = None  # None: of the checkpoint, else 1.0
    resolution: int | None = None  # None: of a checkpoint of this task, else the task's
    seed: int = 0
    accumulate: int = 1  # parts that a batch is computed in
    device: Device = Device.AUTO
    precision: Arithmetic = Arithmetic.AUTO
    workers: int | None = None  # processes that load images; None: by the cores
    save_every: int = 500  # steps between saves within an epoch
    report_every: int = 10  # steps that a line of metrics is the mean of
    tensorboard: bool = False
    val_limit: int | None = None  # images that validation takes evenly from the split; None: all
    output_stride: int | None = None  # of a segmenter; None: of a checkpoint, else the published
    full_aspp: bool | None = None  # of a segmenter; None: as above

    def __post_init__(self) -> None:
        if self.task is Task.SEGMENTATION:
            return
        for name in ("output_stride", "full_aspp"):
            if getattr(self, name) is not None:
                raise UnsupportedError(
                    f"--{name.replace('_', '-')} is a segmenter's, not one of {self.task}",
                    "add --task segmentation",
                )

    def segmentation(self, base: SegmentationSpec) -> SegmentationSpec:
        """A segmenter's settings with what was asked; raises UnsupportedError."""
        stride, full = self.output_stride, self.full_aspp
        return SegmentationSpec(
            output_stride=base.output_stride if stride is None else stride,
            full_aspp=base.full_aspp if full is None else full,
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values; `from_json` is its inverse."""
        data: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self), default=str))
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Settings:
        """Read what `to_json` wrote."""
        paths = {k: Path(data[k]) if data[k] else None for k in ("val", "init")}
        fixed = {
            "data": Path(data["data"]),
            "task": Task(data.get("task", Task.CLASSIFICATION)),
            "recipe": _recipe_from_json(data["recipe"]),
            "device": Device(data["device"]),
            "precision": Arithmetic(data["precision"]),
        }
        return cls(**{**data, **paths, **fixed})


def _recipe_from_json(data: dict[str, Any]) -> Recipe:
    loss = data.get("loss")
    fixed = {
        "name": RecipeName(data["name"]),
        "optimizer": OptimizerName(data["optimizer"]),
        "decay": Decay(data["decay"]),
        "loss": None if loss is None else Balance(loss),
        "crop_area": tuple(data["crop_area"]),
    }
    return Recipe(**{**data, **fixed})


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the command line says; None is what it does not say."""

    data: Path | None = None
    task: Task | None = None
    recipe: RecipeName | None = None
    changes: Changes = dataclasses.field(default_factory=Changes)
    val: Path | None = None
    init: Path | None = None
    width: float | None = None
    resolution: int | None = None
    seed: int | None = None
    accumulate: int | None = None
    device: Device | None = None
    precision: Arithmetic | None = None
    workers: int | None = None
    save_every: int | None = None
    tensorboard: bool | None = None
    val_limit: int | None = None
    output_stride: int | None = None
    full_aspp: bool | None = None

    def plain(self) -> dict[str, Any]:
        """What was said about settings that have the same name in a run."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {
            name: value
            for name, value in fields.items()
            if value is not None and name not in ("recipe", "changes")
        }


def asked_recipe(asked: Asked) -> Recipe:
    """The named recipe, or finetune, with what was said about its values."""
    return make_recipe(
        asked.recipe or RecipeName.FINETUNE, asked.changes, asked.task or Task.CLASSIFICATION
    )


def settle(asked: Asked, stored: Settings | None) -> Settings:
    """The settings of a new run, or of a stored one, which may be asked for only as it was.

    Raises UnsupportedError naming what differs, since the run would no longer be the same.
    """
    if stored is None:
        if asked.data is None:
            task = asked.task or Task.CLASSIFICATION
            raise DataError("no images to train on", f"mnv2-export train FOLDER, {HOLDS[task]}")
        return Settings(**asked.plain(), recipe=asked_recipe(asked))
    changes = {k: v for k, v in dataclasses.asdict(asked.changes).items() if v is not None}
    said = {"recipe": asked.recipe or stored.recipe.name, **changes}
    was = {"recipe": stored.recipe.name} | {name: getattr(stored.recipe, name) for name in changes}
    for name, value in asked.plain().items():
        if name not in MAY_CHANGE:
            said[name], was[name] = value, getattr(stored, name)
    for name, value in said.items():
        if value != was[name]:
            raise UnsupportedError(
                f"--{name.replace('_', '-')} {value}, but the run to resume has {was[name]}",
                "leave the option out, or start a new run without --resume",
            )
    return dataclasses.replace(stored, **asked.plain())
