"""What a run starts from: random weights, or a checkpoint whose head may be for other classes.

Detectors and segmenters also start from a classifier, whose backbone they take.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch
from torch import nn

from exporter.checkpoints import Overrides, build_network, load_checkpoint
from exporter.checkpoints.records import Checkpoint
from exporter.errors import UnsupportedError
from exporter.models import MobileDeepLabV3, Network, SSDLite, load_backbone, make_network
from exporter.published import default_spec
from exporter.spec import HeadLayer, ModelSpec, Preprocess, ResizeRule
from exporter.tasks import SegmentationSpec, Task
from exporter.training.recipe import Balance
from exporter.training.settings import Settings

DEFAULT_WIDTH = 1.0
PRIOR = 0.01  # of an object at any anchor, for the focal loss (Lin et al. 2017, section 3.3)


@dataclass(frozen=True, kw_only=True, eq=False)
class Start:
    """The network before the first update, and what was done to make it."""

    model: Network
    notes: tuple[str, ...]
    fresh_head: bool = False  # that no checkpoint had for these classes


def starting_point(settings: Settings, labels: tuple[str, ...]) -> Start:
    """The network that `labels` ask for; the same on every worker, as it comes from the seed."""
    torch.manual_seed(settings.seed)
    make = _fresh if settings.init is None else _from_checkpoint
    start = make(settings, labels)
    if settings.recipe.loss is Balance.FOCAL and start.fresh_head:
        expect_little(start.model)
    return start


def _fresh(settings: Settings, labels: tuple[str, ...]) -> Start:
    spec = default_spec(
        settings.task,
        width=DEFAULT_WIDTH if settings.width is None else settings.width,
        resolution=settings.resolution,
        classes=len(labels),
        segmentation=_segmentation(settings),
    )
    model = make_network(dataclasses.replace(spec, labels=labels))
    return Start(model=model, notes=(), fresh_head=True)


def _segmentation(settings: Settings) -> SegmentationSpec | None:
    """Of a new segmenter."""
    if settings.task is not Task.SEGMENTATION:
        return None
    return settings.segmentation(SegmentationSpec())


def _from_checkpoint(settings: Settings, labels: tuple[str, ...]) -> Start:
    assert settings.init is not None
    found = load_checkpoint(settings.init)
    task = found.spec.task
    if settings.width is not None and settings.width != found.spec.width:
        raise UnsupportedError(
            f"--width {settings.width:g}, but {settings.init} has width {found.spec.width:g}",
            "leave --width out, or start without --init",
        )
    if task is settings.task:
        if settings.resolution is not None:
            found = load_checkpoint(settings.init, Overrides(resolution=settings.resolution))
        return _with_labels(_restrided(found, settings), labels)
    if task is not Task.CLASSIFICATION:
        raise UnsupportedError(
            f"{settings.init}: a model for {task}, where one for {settings.task} is trained",
            f"pass --task {task} to go on with it, or --init a classifier",
        )
    return _on_backbone(found, settings, labels)


def _restrided(found: Checkpoint, settings: Settings) -> Checkpoint:
    """A segmenter with the output stride that is asked for: the weights are the same for all."""
    own = found.spec.segmentation
    if own is None:
        return found
    wanted = settings.segmentation(own)
    if wanted.full_aspp != own.full_aspp:
        raise UnsupportedError(
            f"--full-aspp, but {settings.init} has the pyramid without dilated branches",
            "leave --full-aspp out, or --init a classifier",
        )
    return dataclasses.replace(found, spec=dataclasses.replace(found.spec, segmentation=wanted))


def _on_backbone(found: Checkpoint, settings: Settings, labels: tuple[str, ...]) -> Start:
    """A classifier's backbone under new heads.

    Its batch norm epsilon, padding style and the values of its pixels stay as they were: they are
    part of the function that its weights compute.
    """
    spec = default_spec(
        settings.task,
        width=found.spec.width,
        resolution=settings.resolution,
        classes=len(labels),
        padding=found.spec.padding,
        segmentation=_segmentation(settings),
    )
    spec = dataclasses.replace(
        spec,
        labels=labels,
        bn_eps=found.spec.bn_eps,
        preprocess=_stretched(found.spec.preprocess, spec.resolution),
    )
    model = make_network(spec)
    load_backbone(model, found.state_dict)
    kept = f"the checkpoint's backbone of width {spec.width:g} is kept, the heads are new"
    return Start(model=model, notes=(kept, *_left_out(found)), fresh_head=True)


def _stretched(contract: Preprocess, side: int) -> Preprocess:
    """The whole picture at another size, with the contract's filter, channels and values."""
    return dataclasses.replace(
        contract, resize_rule=ResizeRule.STRETCH, resize_size=side, crop_size=side
    )


def _with_labels(found: Checkpoint, labels: tuple[str, ...]) -> Start:
    """The checkpoint's network with last layers for the data's classes, in the data's order."""
    old = build_network(found)
    has, classes = found.spec.labels, found.spec.classes
    if classes == len(labels) and has in ((), labels):
        kept = "" if has else ", in the order of the data's class names, as the file names none"
        note = f"the checkpoint's head of {classes} classes is kept{kept}"
        old.spec = dataclasses.replace(found.spec, labels=labels)
        return Start(model=old, notes=(note, *_left_out(found)))
    head = (*found.spec.head[:-1], HeadLayer(units=len(labels)))
    model = make_network(dataclasses.replace(found.spec, labels=labels, head=head))
    state, last = old.state_dict(), _class_tensors(old)
    new_classes = not (classes == len(labels) and sorted(has) == sorted(labels))
    if new_classes:
        fresh = model.state_dict()
        state |= {name: fresh[name] for name in last}
        note = f"the head is new: the checkpoint's was for {_other(found.spec, labels)}"
    else:
        order = torch.tensor([has.index(label) for label in labels])
        state |= {name: _reordered(state[name], order) for name in last}
        note = "the checkpoint's head is kept, its classes put in the data's order"
    model.load_state_dict(state)
    return Start(model=model, notes=(note, *_left_out(found)), fresh_head=new_classes)


def class_layers(model: Network) -> dict[str, nn.Module]:
    """The layers whose outputs are logits of classes, one set of them or one per anchor."""
    if isinstance(model, SSDLite):
        return {f"classifiers.{i}.1": head[-1] for i, head in enumerate(_heads(model))}
    if isinstance(model, MobileDeepLabV3):
        return {"classifier": model.classifier}
    last = max(i for i, layer in enumerate(model.classifier) if isinstance(layer, nn.Linear))
    return {f"classifier.{last}": model.classifier[last]}


def _heads(model: SSDLite) -> list[nn.Sequential]:
    return [head for head in model.classifiers if isinstance(head, nn.Sequential)]


def _class_tensors(model: Network) -> list[str]:
    return [f"{name}.{kind}" for name in class_layers(model) for kind in ("weight", "bias")]


def _reordered(tensor: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """Rows (anchors * classes, ...) with the classes of every anchor in another order."""
    by_anchor = tensor.reshape(-1, len(order), *tensor.shape[1:])
    return by_anchor[:, order].reshape(tensor.shape)


def expect_little(model: Network) -> None:
    """Let a new detector say `PRIOR` everywhere: the focal loss counts every empty anchor."""
    for layer in class_layers(model).values():
        assert isinstance(layer, nn.Conv2d)
        assert layer.bias is not None
        nn.init.constant_(layer.bias, math.log(PRIOR / (1 - PRIOR)))


def _left_out(found: Checkpoint) -> tuple[str, ...]:
    if found.integers is None:
        return ()
    return ("its int8 graph is left out: training begins with the float model beside it",)


def _other(spec: ModelSpec, labels: tuple[str, ...]) -> str:
    if spec.classes != len(labels):
        return f"{spec.classes} classes, the data has {len(labels)}"
    return f"{spec.classes} classes of other names"
