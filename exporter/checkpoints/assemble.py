"""What a reader found and what the user stated become one checked Checkpoint."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from exporter.checkpoints.detect import (
    backbone_shapes,
    check_names,
    check_shapes,
    clean,
    detect_width,
    model_shapes,
)
from exporter.checkpoints.records import (
    DEFAULT_RESOLUTION,
    Checkpoint,
    Detected,
    Overrides,
    Raw,
    Stated,
    printable,
)
from exporter.errors import CheckpointError
from exporter.files import sha256
from exporter.spec import Activation, ModelSpec, Preprocess, ResizeRule


def assemble(path: Path, raw: Raw, overrides: Overrides) -> Checkpoint:
    """Check the tensors against their network and write down how each fact is known."""
    width = raw.spec.width if raw.spec else _detected_width(path, raw)
    resolution = _resolution(raw, overrides)
    raw.check_resolution(resolution.value)
    preprocess = overrides.contract(resolution.value) or raw.preprocess(resolution.value)
    labels = raw.labels if overrides.labels is None else overrides.labels
    classes = raw.head[-1].units
    if overrides.labels is None and labels and len(labels) != classes:
        raise CheckpointError(
            f"{path}: holds {len(labels)} labels but {classes} classes",
            "state the labels yourself with --labels, one per class",
        )
    spec = dataclasses.replace(
        raw.spec or ModelSpec(width=width),
        resolution=resolution.value,
        labels=labels,
        head=raw.head,
        padding=raw.padding,
        bn_eps=raw.bn_eps,
        dropout=raw.dropout,
        preprocess=preprocess,
    )
    shapes = model_shapes(spec)
    check_shapes(path, raw.tensors, shapes, raw.names, f"for width {width:g} and this head")
    return Checkpoint(
        spec=spec,
        state_dict=clean(path, raw.tensors, list(shapes), raw.names),
        source=raw.source,
        sha256=sha256(path),
        detected=_facts(raw, overrides, spec, resolution),
        integers=raw.integers,
    )


def _detected_width(path: Path, raw: Raw) -> float:
    """Of a classifier; a file that states its spec was compared with that when it was read."""
    check_names(path, raw.tensors, raw.names)
    width = detect_width(path, raw.tensors, raw.names)
    check_shapes(path, raw.tensors, backbone_shapes(width), raw.names, f"for width {width:g}")
    return width


def _resolution(raw: Raw, overrides: Overrides) -> Stated:
    """What the user states, else the file, else the default; a stated preprocessing implies one."""
    found = f"; the file says {raw.resolution.value}" if raw.resolution else ""
    if overrides.resolution is not None:
        return Stated(value=overrides.resolution, how=f"stated{found}")
    if raw.resolution is not None:
        return raw.resolution
    if isinstance(overrides.preprocess, Preprocess):
        crop = overrides.preprocess.crop_size
        return Stated(value=crop, how="from the stated preprocessing; not in the file")
    how = f"not in the file; default for {raw.source}, change with --resolution"
    return Stated(value=DEFAULT_RESOLUTION, how=how)


def _facts(
    raw: Raw, overrides: Overrides, spec: ModelSpec, resolution: Stated
) -> tuple[Detected, ...]:
    width_how = "from the channels of all 19 stages" if raw.spec is None else "stated in the file"
    preprocess_how = "stated" if overrides.preprocess else raw.preprocess_how
    facts = (
        ("format", raw.format, "from the file's bytes and tensor names"),
        ("width", f"{spec.width:g}", width_how),
        ("resolution", f"{spec.resolution} px", resolution.how),
        ("classes", str(spec.classes), raw.head_how),
        ("head", describe_head(spec), raw.head_how),
        ("padding", str(spec.padding), raw.padding_how),
        ("bn_eps", f"{spec.bn_eps:g}", raw.bn_eps_how),
        ("preprocessing", describe_preprocess(spec.preprocess), preprocess_how),
        ("labels", _describe_labels(spec), _labels_how(raw, overrides)),
    )
    notes = ((note.what, note.value, note.how) for note in raw.notes)
    return tuple(
        Detected(what=what, value=printable(value), how=printable(how))
        for what, value, how in (*facts, *notes)
    )


def describe_head(spec: ModelSpec) -> str:
    """Such as "64 relu -> 5 logits"."""
    hidden = [
        f"{layer.units} {'linear' if layer.activation is Activation.NONE else layer.activation}"
        for layer in spec.head[:-1]
    ]
    return " -> ".join([*hidden, f"{spec.classes} logits"])


def describe_preprocess(contract: Preprocess) -> str:
    """One line that tells two contracts apart."""
    low, high = contract.value_range
    if contract.resize_rule is ResizeRule.STRETCH:
        resize = f"stretch to {contract.resize_size} px"
    else:
        resize = f"shortest side to {contract.resize_size} px"
    crop = f", crop {contract.crop_size}" if contract.crop_size != contract.resize_size else ""
    plain = dataclasses.replace(
        contract, mean=Preprocess.mean, std=Preprocess.std
    )  # the defaults subtract and divide by nothing
    mean = "" if plain == contract else f", mean {_list(contract.mean)}, std {_list(contract.std)}"
    return (
        f"{resize} ({contract.resize_filter}){crop}, {contract.channel_order}, "
        f"0..255 to {low:g}..{high:g}{mean}"
    )


def _list(values: tuple[float, ...]) -> str:
    return "/".join(f"{v:g}" for v in values)


def _describe_labels(spec: ModelSpec) -> str:
    if not spec.labels:
        return "none"
    more = ", ..." if len(spec.labels) > 3 else ""
    return f"{len(spec.labels)}: {', '.join(spec.labels[:3])}{more}"


def _labels_how(raw: Raw, overrides: Overrides) -> str:
    if overrides.labels is not None:
        return "stated"
    return raw.labels_how if raw.labels else "not in the file; state them with --labels"
