"""What a run starts from: random weights, or a checkpoint whose head may be for other classes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch

from exporter.checkpoints import Overrides, build_model, load_checkpoint
from exporter.checkpoints.records import Checkpoint
from exporter.errors import UnsupportedError
from exporter.models import MobileNetV2
from exporter.spec import HeadLayer, ModelSpec, torchvision_preprocess
from exporter.training.settings import Settings

DEFAULT_WIDTH = 1.0
DEFAULT_RESOLUTION = 224


@dataclass(frozen=True, kw_only=True, eq=False)
class Start:
    """The network before the first update, and what was done to make it."""

    model: MobileNetV2
    notes: tuple[str, ...]
    fresh_head: bool = False  # of a checkpoint that was for other classes


def starting_point(settings: Settings, labels: tuple[str, ...]) -> Start:
    """The network that `labels` ask for; the same on every worker, as it comes from the seed."""
    torch.manual_seed(settings.seed)
    if settings.init is None:
        return Start(model=MobileNetV2(_fresh_spec(settings, labels)), notes=())
    found = load_checkpoint(settings.init, Overrides(resolution=settings.resolution))
    if settings.width is not None and settings.width != found.spec.width:
        raise UnsupportedError(
            f"--width {settings.width:g}, but {settings.init} has width {found.spec.width:g}",
            "leave --width out, or start without --init",
        )
    return _with_labels(found, labels)


def _fresh_spec(settings: Settings, labels: tuple[str, ...]) -> ModelSpec:
    resolution = DEFAULT_RESOLUTION if settings.resolution is None else settings.resolution
    return ModelSpec(
        width=DEFAULT_WIDTH if settings.width is None else settings.width,
        resolution=resolution,
        labels=labels,
        head=(HeadLayer(units=len(labels)),),
        preprocess=torchvision_preprocess(resolution),
    )


def _with_labels(found: Checkpoint, labels: tuple[str, ...]) -> Start:
    """The checkpoint's network with a last layer for the data's classes, in the data's order."""
    old = build_model(found)
    has, classes = found.spec.labels, found.spec.classes
    if classes == len(labels) and has in ((), labels):
        kept = "" if has else ", in the order of the data's class names, as the file names none"
        note = f"the checkpoint's head of {classes} classes is kept{kept}"
        old.spec = dataclasses.replace(found.spec, labels=labels)
        return Start(model=old, notes=(note, *_left_out(found)))
    head = (*found.spec.head[:-1], HeadLayer(units=len(labels)))
    model = MobileNetV2(dataclasses.replace(found.spec, labels=labels, head=head))
    state = old.state_dict()
    last = [name for name in state if name.startswith("classifier.")][-2:]  # weight, bias
    new_classes = not (classes == len(labels) and sorted(has) == sorted(labels))
    if new_classes:
        fresh = model.state_dict()
        state |= {name: fresh[name] for name in last}
        note = f"the head is new: the checkpoint's was for {_other(found.spec, labels)}"
    else:
        order = torch.tensor([has.index(label) for label in labels])
        state |= {name: state[name][order] for name in last}
        note = "the checkpoint's head is kept, its classes put in the data's order"
    model.load_state_dict(state)
    return Start(model=model, notes=(note, *_left_out(found)), fresh_head=new_classes)


def _left_out(found: Checkpoint) -> tuple[str, ...]:
    if found.integers is None:
        return ()
    return ("its int8 graph is left out: training begins with the float model beside it",)


def _other(spec: ModelSpec, labels: tuple[str, ...]) -> str:
    if spec.classes != len(labels):
        return f"{spec.classes} classes, the data has {len(labels)}"
    return f"{spec.classes} classes of other names"
