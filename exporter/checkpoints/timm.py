"""timm's `mobilenetv2_*`: the same network as torchvision's under other tensor names."""

from __future__ import annotations

import dataclasses
import re
from functools import cache
from pathlib import Path

import torch

from exporter.checkpoints.detect import backbone_shapes
from exporter.errors import CheckpointError
from exporter.models.mobilenetv2 import INVERTED_RESIDUALS
from exporter.spec import Preprocess, ResizeFilter, torchvision_preprocess

STEM = "conv_stem.weight"
FIRST_BLOCK = {"conv_dw": "0.0", "bn1": "0.1", "conv_pw": "1", "bn2": "2"}
OTHER_BLOCKS = {
    "conv_pw": "0.0",
    "bn1": "0.1",
    "conv_dw": "1.0",
    "bn2": "1.1",
    "conv_pwl": "2",
    "bn3": "3",
}


def preprocess(resolution: int) -> Preprocess:
    """timm's default for these models: torchvision's, but bicubic (timm/models/efficientnet.py)."""
    contract = torchvision_preprocess(resolution)
    return dataclasses.replace(contract, resize_filter=ResizeFilter.BICUBIC)


@cache
def _modules() -> dict[str, str]:
    """timm's module names -> ours."""
    table = {"conv_stem": "features.0.0", "bn1": "features.0.1", "classifier": "classifier.1"}
    index = 1
    for stage, (_, _, repeats, _) in enumerate(INVERTED_RESIDUALS):
        for repeat in range(repeats):
            parts = FIRST_BLOCK if index == 1 else OTHER_BLOCKS
            for theirs, ours in parts.items():
                table[f"blocks.{stage}.{repeat}.{theirs}"] = f"features.{index}.conv.{ours}"
            index += 1
    return {**table, "conv_head": f"features.{index}.0", "bn2": f"features.{index}.1"}


def rename(
    tensors: dict[str, torch.Tensor],
) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors under our names, and our names -> timm's; unknown names stay as they are."""
    modules = _modules()
    back = {ours: theirs for theirs, ours in modules.items()}
    names = {}
    for ours in [*backbone_shapes(1.0), "classifier.1.weight", "classifier.1.bias"]:
        module, _, leaf = ours.rpartition(".")
        names[ours] = f"{back[module]}.{leaf}"
    renamed = {}
    for theirs, tensor in tensors.items():
        module, _, leaf = theirs.rpartition(".")
        renamed[f"{modules[module]}.{leaf}" if module in modules else theirs] = tensor
    return renamed, names


def refuse_deeper(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """mobilenetv2_110d and _120d repeat blocks more often than the paper's table."""
    repeats = [n for _, _, n, _ in INVERTED_RESIDUALS]
    blocks = {(int(m[1]), int(m[2])) for m in map(_BLOCK.match, tensors) if m}
    counts = [sum(stage == s for stage, _ in blocks) for s in range(len(repeats))]
    too_short = any(have < want for have, want in zip(counts, repeats, strict=True))
    if counts != repeats and not too_short and len(blocks) == sum(counts):
        stage = next(s for s, want in enumerate(repeats) if counts[s] > want)
        raise CheckpointError(
            f"{path}: is depth-multiplied, as timm's mobilenetv2_110d and 120d are: "
            f"blocks.{stage} has {counts[stage]} blocks where MobileNetV2 has {repeats[stage]}",
            "give one of timm's mobilenetv2_035, 050, 075, 100 or 140",
        )


_BLOCK = re.compile(r"blocks\.(\d+)\.(\d+)\.")
