"""Our own checkpoint: safetensors whose one metadata entry holds the whole ModelSpec."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from exporter.checkpoints.detect import COUNTER, check_shapes, model_shapes
from exporter.checkpoints.records import DAMAGED_HINT, Raw, Stated
from exporter.errors import CheckpointError, ExportError
from exporter.files import write_atomic
from exporter.spec import ModelSpec, Preprocess

METADATA_KEY = "mnv2_export"  # one entry, because safetensors does not order several
FORMAT_VERSION = 1
STATED = "stated in the file"


def save_checkpoint(
    path: Path, spec: ModelSpec, state_dict: Mapping[str, torch.Tensor], *, half: bool = False
) -> None:
    """Write a checkpoint that carries its spec; the same model always gives the same bytes.

    `half` stores floating point tensors as float16. Raises CheckpointError for a state dict that
    does not fit the spec, or for a value that float16 cannot hold.
    """
    expected = model_shapes(spec)
    _check_keys(path, state_dict, expected)
    check_shapes(path, dict(state_dict), expected, {}, f"for width {spec.width:g}")
    tensors = {name: _stored(path, name, state_dict[name], half) for name in sorted(expected)}
    record = {"format_version": FORMAT_VERSION, "spec": spec.to_json()}
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    try:
        write_atomic(path, save(tensors, metadata={METADATA_KEY: text}))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written ({error.strerror or error})") from None


def interpret(path: Path, tensors: dict[str, torch.Tensor], text: str) -> Raw:
    """The spec that the file states, and its tensors, which must fit it exactly."""
    spec = _read_spec(path, text)
    expected = model_shapes(spec)
    _check_keys(path, tensors, expected)
    return Raw(
        source="mnv2-export",
        format="mnv2-export safetensors",
        tensors=tensors,
        names={},
        head=spec.head,
        head_how=STATED,
        preprocess=lambda resolution: _at_resolution(spec, resolution),
        preprocess_how=STATED,
        padding=spec.padding,
        padding_how=STATED,
        bn_eps=spec.bn_eps,
        bn_eps_how=STATED,
        dropout=spec.dropout,
        resolution=Stated(value=spec.resolution, how=STATED),
        labels=spec.labels,
        labels_how=STATED,
        spec=spec,
    )


def _read_spec(path: Path, text: str) -> ModelSpec:
    try:
        record = json.loads(text)
        version = record["format_version"]
        if version != FORMAT_VERSION:
            raise CheckpointError(
                f"{path}: has format version {version}, this tool reads {FORMAT_VERSION}",
                "update mnv2-export",
            )
        return ModelSpec.from_json(record["spec"])
    except CheckpointError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: the spec in its metadata is malformed ({type(error).__name__}: {error})",
            DAMAGED_HINT,
        ) from None
    except ExportError as error:
        raise CheckpointError(f"{path}: the spec in its metadata: {error.message}") from None


def _check_keys(
    path: Path, tensors: Mapping[str, torch.Tensor], expected: Mapping[str, Any]
) -> None:
    for name in tensors:
        if name not in expected:
            raise CheckpointError(f"{path}: tensor {name!r} has no place in the stated model")
    for name in expected:
        if name not in tensors and not name.endswith(COUNTER):
            raise CheckpointError(f"{path}: tensor {name!r} is missing", DAMAGED_HINT)


def _at_resolution(spec: ModelSpec, resolution: int) -> Preprocess:
    """The stated contract; for another resolution its resize size keeps the ratio to the crop."""
    contract = spec.preprocess
    if resolution == contract.crop_size:
        return contract
    ratio = contract.resize_size / contract.crop_size
    size = max(resolution, int(resolution * ratio + 0.5))
    return dataclasses.replace(contract, resize_size=size, crop_size=resolution)


def _stored(path: Path, name: str, tensor: torch.Tensor, half: bool) -> torch.Tensor:
    plain = tensor.detach().cpu().contiguous().clone()
    if not half or not plain.is_floating_point():
        return plain
    small = plain.half()
    if bool((torch.isinf(small) & torch.isfinite(plain)).any()):
        raise CheckpointError(
            f"{path}: tensor {name!r} holds values beyond float16's 65504",
            "save it without half",
        )
    return small
