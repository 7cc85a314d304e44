"""ModelSpec and Preprocess: the two frozen records that travel with a model everywhere.

They hold no tensors and import no framework, so the CLI, the manifest and the apps read the same
facts.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from exporter.errors import UnsupportedError
from exporter.tasks import (
    DEFAULTS,
    DetectionSpec,
    SegmentationSpec,
    Task,
    check_resolution,
)

if TYPE_CHECKING:
    import numpy as np

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Precision(StrEnum):
    """The arithmetic of an artifact."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"

    @property
    def graph(self) -> Precision:
        """That of the graph an artifact is emitted from; fp16 halves the float one."""
        return Precision.INT8 if self is Precision.INT8 else Precision.FP32


class Rules(StrEnum):
    """Whose integer rounding is followed where runtimes differ (the residual add and the pool)."""

    XNNPACK = "xnnpack"
    ORT = "ort"
    ORT_WASM = "ort-wasm"  # ONNX Runtime in a browser, which has no fused multiply-add


class PaddingStyle(StrEnum):
    """How a strided convolution pads: symmetric as torch does, or TensorFlow's SAME."""

    TORCH = "torch"
    SAME = "same"


class ResizeRule(StrEnum):
    """SHORTEST keeps the aspect ratio (then crops the center); STRETCH does not."""

    SHORTEST = "shortest"
    STRETCH = "stretch"


class ResizeFilter(StrEnum):
    """Pillow's antialiased filters."""

    BILINEAR = "bilinear"
    BICUBIC = "bicubic"


class Fit(StrEnum):
    """How a photo gets a model's size, in the words of Vision's `imageCropAndScaleOption`."""

    CENTER_CROP = "center-crop"  # scaled to cover, the middle kept: Vision's own default
    SCALE_FILL = "scale-fill"  # stretched
    SCALE_FIT = "scale-fit"  # scaled to fit inside, black around it
    NONE = "none"  # not at all: a photo must have the size already


class ChannelOrder(StrEnum):
    """Order of the three color planes that the network was trained on."""

    RGB = "rgb"
    BGR = "bgr"


class Activation(StrEnum):
    """What follows a convolution or a fully connected layer."""

    NONE = "none"
    RELU = "relu"
    RELU6 = "relu6"


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """From a photo to the network's input tensor; every consumer follows this one record.

    1. decode, apply the EXIF orientation, convert to 8-bit RGB;
    2. resize with `resize_filter` (antialiased; width first, then height, each rounded to 8 bits)
       by `resize_rule` to `resize_size`;
    3. crop the center to `crop_size` x `crop_size` (nothing to crop after STRETCH);
    4. reorder channels to `channel_order` (pixels stay RGB up to here, golden images too);
    5. per channel, in float32: `x = u * scale + bias` for the 8-bit value u (`affine()`), which
       maps 0..255 to `value_range`, subtracts `mean` and divides by `std`;
    6. lay out as (batch, channel, height, width) for `nchw`.
    """

    resize_rule: ResizeRule = ResizeRule.SHORTEST
    resize_size: int = 256
    resize_filter: ResizeFilter = ResizeFilter.BILINEAR
    crop_size: int = 224
    channel_order: ChannelOrder = ChannelOrder.RGB
    value_range: tuple[float, float] = (0.0, 1.0)
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    layout: str = "nchw"

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, (*self.value_range, *self.mean, *self.std))):
            raise UnsupportedError("preprocessing has a mean, std or range that is not finite")
        if self.crop_size > self.resize_size:
            raise UnsupportedError(
                f"preprocessing resizes to {self.resize_size} px but crops {self.crop_size} px",
                "make the resize size at least the crop size",
            )
        if any(s <= 0 for s in self.std) or self.value_range[0] >= self.value_range[1]:
            raise UnsupportedError(
                f"preprocessing needs std > 0 and a rising value range, got std {self.std} "
                f"and range {self.value_range}"
            )
        if self.layout != "nchw":
            raise UnsupportedError(f"layout {self.layout!r} is not known; the contract's is 'nchw'")

    def affine(self) -> tuple[np.ndarray, np.ndarray]:
        """Float32 `scale` and `bias` of step 5, each (3,), in the network's channel order."""
        import numpy as np  # here, so that `--help` does not load it

        low, high = self.value_range
        mean, std = np.asarray(self.mean, np.float64), np.asarray(self.std, np.float64)
        scale = (high - low) / (255.0 * std)
        bias = (low - mean) / std
        return scale.astype(np.float32), bias.astype(np.float32)

    def to_json(self) -> dict[str, Any]:
        """A JSON object of plain values; `from_json` is its inverse."""
        data: dict[str, Any] = _plain(dataclasses.asdict(self))
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Preprocess:
        """Read what `to_json` wrote."""
        return cls(
            resize_rule=ResizeRule(data["resize_rule"]),
            resize_size=int(data["resize_size"]),
            resize_filter=ResizeFilter(data["resize_filter"]),
            crop_size=int(data["crop_size"]),
            channel_order=ChannelOrder(data["channel_order"]),
            value_range=_floats(data["value_range"], 2),
            mean=_floats(data["mean"], 3),
            std=_floats(data["std"], 3),
            layout=data["layout"],
        )


def torchvision_preprocess(resolution: int) -> Preprocess:
    """Shortest side to resolution / 0.875, center crop, ImageNet mean and std."""
    return Preprocess(
        resize_size=max(resolution, int(resolution / 0.875 + 0.5)),
        crop_size=resolution,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )


def keras_preprocess(resolution: int) -> Preprocess:
    """Stretch to the input size and map to [-1, 1] (keras.applications.mobilenet_v2)."""
    return Preprocess(
        resize_rule=ResizeRule.STRETCH,
        resize_size=resolution,
        crop_size=resolution,
        value_range=(-1.0, 1.0),
    )


@dataclass(frozen=True, kw_only=True)
class HeadLayer:
    """One fully connected layer of the classifier."""

    units: int
    activation: Activation = Activation.NONE


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Everything about a model that is not a tensor.

    `head` lists the fully connected layers after global average pooling; the last one has
    `classes` units and no activation (its outputs are logits). A detector or a segmenter has one
    entry there: its logits per anchor or per pixel, of which the first is the background's.
    """

    task: Task = Task.CLASSIFICATION
    width: float = 1.0
    resolution: int = 224
    labels: tuple[str, ...] = ()
    head: tuple[HeadLayer, ...] = (HeadLayer(units=1000),)
    padding: PaddingStyle = PaddingStyle.TORCH
    bn_eps: float = 1e-5
    dropout: float = 0.2
    preprocess: Preprocess = dataclasses.field(default_factory=lambda: torchvision_preprocess(224))
    detection: DetectionSpec | None = None  # of this task and no other
    segmentation: SegmentationSpec | None = None

    def __post_init__(self) -> None:
        if not 0 < self.width <= 10:
            raise UnsupportedError(f"width {self.width} is not a positive multiplier up to 10")
        check_resolution(self.task, self.resolution)
        if not self.head or self.head[-1].activation is not Activation.NONE:
            raise UnsupportedError("the head must end in a layer without activation (logits)")
        self._check_task()
        if self.labels and len(self.labels) != self.classes:
            raise UnsupportedError(
                f"{len(self.labels)} labels for a model of {self.classes} classes",
                "give one label per line, in the order of the model's outputs",
            )
        if self.preprocess.crop_size != self.resolution:
            raise UnsupportedError(
                f"preprocessing crops to {self.preprocess.crop_size} px "
                f"but the model takes {self.resolution} px"
            )

    def _check_task(self) -> None:
        """A task has its own settings and no other's; all but classes need a background."""
        settings = {Task.DETECTION: self.detection, Task.SEGMENTATION: self.segmentation}
        given = [task for task, value in settings.items() if value is not None]
        if given != [task for task in settings if task is self.task]:
            told = " and ".join(given) or "no"
            raise UnsupportedError(f"a model for {self.task} came with {told} settings")
        if self.task in settings and (len(self.head) != 1 or self.classes < 2):
            raise UnsupportedError(
                f"{self.task} needs one layer of logits for the background and at least one class"
            )

    @property
    def classes(self) -> int:
        """Number of logits, per anchor or pixel where there are many."""
        return self.head[-1].units

    @property
    def network(self) -> str:
        """Its name, for people."""
        return DEFAULTS[self.task].network

    def label(self, index: int) -> str:
        """The label of an output, or "class N" when the model came without labels."""
        return self.labels[index] if self.labels else f"class {index}"

    def to_json(self) -> dict[str, Any]:
        """A JSON object of plain values; `from_json` is its inverse.

        Settings of other tasks are left out, so a classifier's reads as it did before there were
        any.
        """
        present = {k: v for k, v in dataclasses.asdict(self).items() if v is not None}
        return {**_plain(present), "classes": self.classes}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> ModelSpec:
        """Read what `to_json` wrote."""
        return cls(
            task=Task(data["task"]),
            width=float(data["width"]),
            resolution=int(data["resolution"]),
            labels=tuple(data["labels"]),
            head=tuple(
                HeadLayer(units=int(h["units"]), activation=Activation(h["activation"]))
                for h in data["head"]
            ),
            padding=PaddingStyle(data["padding"]),
            bn_eps=float(data["bn_eps"]),
            dropout=float(data["dropout"]),
            preprocess=Preprocess.from_json(data["preprocess"]),
            detection=DetectionSpec.from_json(data["detection"]) if "detection" in data else None,
            segmentation=(
                SegmentationSpec.from_json(data["segmentation"]) if "segmentation" in data else None
            ),
        )


def _plain(value: Any) -> Any:
    """Tuples to lists and enums to their strings, so that JSON and equality agree."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, StrEnum) else value


def _floats(values: list[float], count: int) -> Any:
    if len(values) != count:
        raise ValueError(f"expected {count} numbers, got {values}")
    return tuple(float(v) for v in values)
