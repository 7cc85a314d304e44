"""Width, classes and health of a set of tensors; shared by every file format.

A width is found by its whole list of channels: the stem alone cannot tell 0.35 from 0.5.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch

from exporter.errors import CheckpointError
from exporter.models.mobilenetv2 import (
    HEAD_START,
    INVERTED_RESIDUALS,
    STEM_CHANNELS,
    last_channels,
    round_channels,
)
from exporter.models.network import make_network
from exporter.spec import Activation, HeadLayer, ModelSpec

PUBLISHED_WIDTHS = (1.0, 0.75, 0.5, 0.35, 1.3, 1.4)
MAX_SEARCHED_WIDTH = 4.0
COUNTER = "num_batches_tracked"  # a training counter: inference never reads it


@cache
def backbone_shapes(width: float) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor before the classifier, in the model's order."""
    shapes = model_shapes(ModelSpec(width=width))
    return {name: shape for name, shape in shapes.items() if name.startswith("features.")}


def model_shapes(spec: ModelSpec) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor of a spec's network; allocates nothing."""
    with torch.device("meta"):
        model = make_network(spec)
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def linear_names(head: tuple[HeadLayer, ...]) -> list[str]:
    """The modules of a head's fully connected layers, such as `classifier.1`, in order."""
    names, position = [], HEAD_START
    for layer in head:
        names.append(f"classifier.{position}")
        position += 1 if layer.activation is Activation.NONE else 2
    return names


def channels(width: float) -> tuple[int, ...]:
    """Output channels of the stem, the 17 blocks and the last convolution."""
    blocks = [round_channels(c * width) for _, c, n, _ in INVERTED_RESIDUALS for _ in range(n)]
    return (round_channels(STEM_CHANNELS * width), *blocks, last_channels(width))


@cache
def channel_tensors() -> tuple[str, ...]:
    """The tensors whose first dimension is each entry of `channels`."""
    last = sum(n for _, _, n, _ in INVERTED_RESIDUALS) + 1
    blocks = ["features.1.conv.1.weight"]
    blocks += [f"features.{i}.conv.2.weight" for i in range(2, last)]
    return ("features.0.0.weight", *blocks, f"features.{last}.0.weight")


@cache
def candidate_widths() -> tuple[float, ...]:
    """Published widths first, then the rounder ones, so that the plainest match is reported."""
    steps = range(1, int(MAX_SEARCHED_WIDTH * 100) + 1)
    by_roundness = sorted(steps, key=lambda s: (s % 25 != 0, s % 5 != 0, s))
    return tuple(dict.fromkeys([*PUBLISHED_WIDTHS, *(s / 100 for s in by_roundness)]))


def detect_width(path: Path, tensors: dict[str, torch.Tensor], names: dict[str, str]) -> float:
    """The width whose whole channel list the tensors have; raises CheckpointError naming one."""
    found = tuple(_first_dimension(tensors[name]) for name in channel_tensors())
    for width in candidate_widths():
        if channels(width) == found:
            return width
    nearest = max(
        candidate_widths(),
        key=lambda w: sum(a == b for a, b in zip(channels(w), found, strict=True)),
    )
    check_shapes(path, tensors, backbone_shapes(nearest), names, f"for width {nearest:g}")
    raise CheckpointError(f"{path}: not a MobileNetV2: channels {list(found)} fit no width")


def check_names(path: Path, tensors: dict[str, torch.Tensor], names: dict[str, str]) -> None:
    """Every backbone tensor is there and no other; the first wrong one is named."""
    expected = backbone_shapes(1.0)
    for name in tensors:
        if name not in expected and not name.startswith("classifier."):
            raise CheckpointError(
                f"{path}: not a MobileNetV2: tensor {_shown(name, names)!r} "
                f"{_shape(tensors[name])} has no place in one",
                "give a MobileNetV2 checkpoint; other networks have other tensors",
            )
    missing = [n for n in expected if n not in tensors and not n.endswith(COUNTER)]
    if missing:
        more = f"; {len(missing) - 1} more are missing too" if len(missing) > 1 else ""
        raise CheckpointError(
            f"{path}: tensor {_shown(missing[0], names)!r} is missing{more}",
            "save the whole model's state_dict(), not a part of it",
        )


def check_shapes(
    path: Path,
    tensors: dict[str, torch.Tensor],
    expected: dict[str, tuple[int, ...]],
    names: dict[str, str],
    what_for: str,
) -> None:
    """Every expected tensor that is there has its shape; the first wrong one is named."""
    for name, shape in expected.items():
        if name in tensors and not name.endswith(COUNTER) and tuple(tensors[name].shape) != shape:
            raise CheckpointError(
                f"{path}: not a MobileNetV2: tensor {_shown(name, names)!r} has shape "
                f"{_shape(tensors[name])}, expected {shape} {what_for}",
                "the file holds another network, or a modified MobileNetV2",
            )


def clean(
    path: Path, tensors: dict[str, torch.Tensor], order: list[str], names: dict[str, str]
) -> dict[str, torch.Tensor]:
    """Float32 copies in the model's order, all finite; absent training counters become 0."""
    state = {}
    for name in order:
        if name.endswith(COUNTER):
            state[name] = _counter(tensors.get(name))
        else:
            state[name] = _float32(path, tensors[name], _shown(name, names))
            if name.endswith("running_var"):
                _check_variance(path, state[name], _shown(name, names))
    return state


def _counter(stored: torch.Tensor | None) -> torch.Tensor:
    """The training counter, or 0 where a file has none."""
    if stored is None or stored.numel() != 1 or stored.dtype.is_floating_point:
        return torch.zeros((), dtype=torch.long)
    return stored.detach().reshape(()).to("cpu", torch.long, copy=True)


def _float32(path: Path, tensor: torch.Tensor, name: str) -> torch.Tensor:
    if not tensor.is_floating_point():
        raise CheckpointError(
            f"{path}: tensor {name!r} is {str(tensor.dtype).removeprefix('torch.')}, not floating "
            "point",
            "give the float checkpoint from before quantization",
        )
    plain = tensor.detach().to("cpu", torch.float32, copy=True).contiguous()
    bad = int((~torch.isfinite(plain)).sum())
    if bad:
        raise CheckpointError(
            f"{path}: tensor {name!r} holds {bad:,} NaN or infinite values of {plain.numel():,}",
            "the training run diverged or the file is damaged: use an earlier checkpoint",
        )
    return plain


def _check_variance(path: Path, variance: torch.Tensor, name: str) -> None:
    negative = int((variance < 0).sum())
    if negative:
        raise CheckpointError(
            f"{path}: tensor {name!r} holds {negative:,} negative variances of "
            f"{variance.numel():,}",
            "a variance cannot be negative: the file is damaged",
        )


def _first_dimension(tensor: torch.Tensor) -> int:
    return tensor.shape[0] if tensor.ndim else -1


def _shape(tensor: torch.Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)


def _shown(name: str, names: dict[str, str]) -> str:
    return names.get(name, name)
