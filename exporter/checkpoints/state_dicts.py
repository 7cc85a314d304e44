"""State dicts in torchvision's or timm's naming, whatever file they came in."""

from __future__ import annotations

from pathlib import Path

import torch

from exporter.checkpoints import timm
from exporter.checkpoints.detect import check_names
from exporter.checkpoints.records import Detected, Raw
from exporter.errors import CheckpointError
from exporter.spec import HeadLayer, torchvision_preprocess

TORCHVISION_STEM = "features.0.0.weight"
LINEAR = "classifier.1"


def interpret(
    path: Path,
    tensors: dict[str, torch.Tensor],
    *,
    file_format: str,
    labels: tuple[str, ...],
    labels_how: str,
    notes: tuple[Detected, ...],
    source_prefix: str = "",
) -> Raw:
    """Recognize the naming, rename to ours and check that all tensors of the network are there."""
    if not tensors:
        raise CheckpointError(f"{path}: holds no tensors", "save model.state_dict()")
    _refuse_mobilenetv3(path, tensors)
    tensors, prefix = _strip_prefix(path, tensors)
    if prefix:
        how = f"from {prefix}{next(iter(tensors))}"
        notes = (*notes, Detected(what="prefix", value=f"{prefix!r} removed", how=how))
    is_timm = timm.STEM in tensors
    tensors, names = _from_timm(path, tensors, prefix) if is_timm else (tensors, {})
    check_names(path, tensors, names)
    tensors, linear, head = _head(path, tensors)
    source = "timm" if is_timm else "torchvision"
    return Raw(
        source=f"{source_prefix}({source})" if source_prefix else source,
        format=f"{file_format}, {source} tensor names",
        tensors=tensors,
        names=names,
        head=head,
        head_how=f"from {linear}.weight",
        preprocess=timm.preprocess if is_timm else torchvision_preprocess,
        preprocess_how=f"not in the file; default for {source}, change with --preprocess",
        labels=labels,
        labels_how=labels_how,
        notes=notes,
    )


def _refuse_mobilenetv3(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """torchvision's mobile detectors and segmenters, whose backbones call their layers `block`."""
    found = next((n for n in tensors if n.startswith("backbone.") and ".block." in n), None)
    if found is not None:
        network = "SSDLite" if any(n.startswith("head.") for n in tensors) else "segmenter"
        raise CheckpointError(
            f"{path}: not a MobileNetV2: torchvision's {network} is built on MobileNetV3 "
            f"(tensor {found!r})",
            "give a network whose backbone is MobileNetV2; torchvision has only classifiers",
        )


def _strip_prefix(
    path: Path, tensors: dict[str, torch.Tensor]
) -> tuple[dict[str, torch.Tensor], str]:
    """Without what wrappers put before every name: `module.`, `_orig_mod.`, `model.` and so on."""
    for name in tensors:
        for stem in (TORCHVISION_STEM, timm.STEM):
            if name == stem or name.endswith("." + stem):
                prefix = name.removesuffix(stem)
                stripped = {key.removeprefix(prefix): value for key, value in tensors.items()}
                if len(stripped) == len(tensors):
                    return stripped, prefix
    first = next(iter(tensors))
    raise CheckpointError(
        f"{path}: not a MobileNetV2: it has neither {TORCHVISION_STEM!r} (torchvision) nor "
        f"{timm.STEM!r} (timm); its first tensor is {first!r} {tuple(tensors[first].shape)}",
        "give a MobileNetV2 checkpoint with torchvision's or timm's tensor names",
    )


def _from_timm(
    path: Path, tensors: dict[str, torch.Tensor], prefix: str
) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Under our names, and our names -> the file's."""
    if TORCHVISION_STEM in tensors:
        raise CheckpointError(
            f"{path}: holds two networks: {timm.STEM!r} is timm's and {TORCHVISION_STEM!r} "
            "torchvision's",
            "save one model's state_dict()",
        )
    timm.refuse_deeper(path, tensors)
    renamed, names = timm.rename(tensors)
    return renamed, {ours: prefix + theirs for ours, theirs in names.items()}


def _head(
    path: Path, tensors: dict[str, torch.Tensor]
) -> tuple[dict[str, torch.Tensor], str, tuple[HeadLayer, ...]]:
    """The one fully connected layer of the head, renamed to ours; (tensors, its name, head)."""
    found = [name for name in tensors if name.startswith("classifier.")]
    linears = [n.removesuffix(".weight") for n in found if n.endswith(".weight")]
    if not linears:
        raise CheckpointError(
            f"{path}: tensor '{LINEAR}.weight' is missing: the network has no classifier",
            "give a checkpoint that was trained to classify, with its head",
        )
    if len(linears) > 1:
        raise CheckpointError(
            f"{path}: the head has {len(linears)} layers ({', '.join(linears)}), and a state dict "
            "does not say which activations are between them",
            "save it with exporter.checkpoints.save_checkpoint, which records the head",
        )
    linear = linears[0]
    _check_linear(path, tensors, linear, found)
    renamed = {n: t for n, t in tensors.items() if n not in found}
    renamed[f"{LINEAR}.weight"] = tensors[f"{linear}.weight"]
    renamed[f"{LINEAR}.bias"] = tensors[f"{linear}.bias"]
    return renamed, linear, (HeadLayer(units=tensors[f"{linear}.weight"].shape[0]),)


def _check_linear(
    path: Path, tensors: dict[str, torch.Tensor], linear: str, found: list[str]
) -> None:
    extra = [name for name in found if name not in (f"{linear}.weight", f"{linear}.bias")]
    if extra:
        raise CheckpointError(
            f"{path}: tensor {extra[0]!r} has no place in a MobileNetV2",
            "the head must be one fully connected layer",
        )
    weight, bias = tensors[f"{linear}.weight"], tensors.get(f"{linear}.bias")
    if bias is None:
        raise CheckpointError(
            f"{path}: tensor '{linear}.bias' is missing", "save the whole model's state_dict()"
        )
    if weight.ndim != 2 or tuple(bias.shape) != (weight.shape[0],) or weight.shape[0] == 0:
        raise CheckpointError(
            f"{path}: tensors '{linear}.weight' {tuple(weight.shape)} and '{linear}.bias' "
            f"{tuple(bias.shape)} are no fully connected layer",
            "the head must be one nn.Linear",
        )
