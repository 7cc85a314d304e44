"""Our own checkpoint: safetensors whose one metadata entry holds the whole ModelSpec.

One that quantization-aware training wrote also holds the int8 graph: its arrays under `int8/`, its
structure and how it came about in the same metadata entry.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from exporter.checkpoints.detect import COUNTER, check_shapes, model_shapes
from exporter.checkpoints.records import DAMAGED_HINT, Raw, Stated, TrainedIntegers, printable
from exporter.errors import CheckpointError, ExportError
from exporter.files import write_atomic
from exporter.graph_file import pack, unpack
from exporter.manifest import Calibration, quantization_from_json
from exporter.spec import ModelSpec, Preprocess

METADATA_KEY = "mnv2_export"  # one entry, because safetensors does not order several
FORMAT_VERSION = 1
INTEGERS_VERSION = 2  # of files with an int8 graph, which version 1 would not know
PREFIX = "int8/"
STATED = "stated in the file"


def save_checkpoint(
    path: Path,
    spec: ModelSpec,
    state_dict: Mapping[str, torch.Tensor],
    *,
    half: bool = False,
    integers: TrainedIntegers | None = None,
) -> None:
    """Write a checkpoint that carries its spec; the same model always gives the same bytes.

    `half` stores floating point tensors as float16. Raises CheckpointError for a state dict that
    does not fit the spec, or for a value that float16 cannot hold.
    """
    expected = model_shapes(spec)
    _check_keys(path, state_dict, expected)
    check_shapes(path, dict(state_dict), expected, {}, f"for width {spec.width:g}")
    tensors = {name: _stored(path, name, state_dict[name], half) for name in sorted(state_dict)}
    record: dict[str, Any] = {"format_version": FORMAT_VERSION, "spec": spec.to_json()}
    if integers is not None:
        header, arrays = pack(integers.graph)
        tensors |= {PREFIX + name: torch.from_numpy(arrays[name]) for name in sorted(arrays)}
        record |= {
            "format_version": INTEGERS_VERSION,
            "int8": {
                "graph": header,
                "quantization": dataclasses.asdict(integers.record),
                "calibration": dataclasses.asdict(integers.calibration),
            },
        }
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    try:
        write_atomic(path, save(tensors, metadata={METADATA_KEY: text}))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be written ({error.strerror or error})") from None


def interpret(path: Path, tensors: dict[str, torch.Tensor], text: str) -> Raw:
    """The spec that the file states, and its tensors, which must fit it exactly."""
    spec, record = _read_record(path, text)
    arrays = {n.removeprefix(PREFIX): t for n, t in tensors.items() if n.startswith(PREFIX)}
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(PREFIX)}
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
        integers=_integers(path, record, arrays),
    )


def _integers(
    path: Path, record: dict[str, Any], arrays: dict[str, torch.Tensor]
) -> TrainedIntegers | None:
    if record["format_version"] == FORMAT_VERSION and not arrays:
        return None
    try:
        data = record["int8"]
        graph = unpack(data["graph"], {n: np.asarray(t) for n, t in arrays.items()}, path)
        integers = TrainedIntegers(
            graph=graph,
            record=quantization_from_json(data["quantization"]),
            calibration=_calibration(data["calibration"]),
        )
        # Raises for figures that are none, and where no stage was kept.
        integers.record.told(graph.spec.task)
        if not graph.quantized or graph.spec != ModelSpec.from_json(record["spec"]):
            raise CheckpointError(f"{path}: its int8 graph is of another model", DAMAGED_HINT)
        int(integers.activation_bits)
    except CheckpointError:
        raise
    except ExportError as error:
        raise CheckpointError(f"{path}: its int8 graph: {error.message}", DAMAGED_HINT) from None
    except (
        KeyError,
        TypeError,
        ValueError,
        IndexError,
        OverflowError,
        AttributeError,
        AssertionError,
        RecursionError,
    ) as error:
        raise CheckpointError(
            f"{path}: the record of its int8 graph is malformed ({type(error).__name__}: {error})",
            DAMAGED_HINT,
        ) from None
    return integers


def _calibration(data: dict[str, Any]) -> Calibration:
    """It goes into the manifest, so its types are checked here."""
    images, digest, origin = data["images"], data["sha256"], data["origin"]
    if not isinstance(images, int) or not isinstance(digest, str) or not isinstance(origin, str):
        raise TypeError("the calibration's fields have other types")
    return Calibration(images=images, sha256=printable(digest), origin=printable(origin))


def _read_record(path: Path, text: str) -> tuple[ModelSpec, dict[str, Any]]:
    try:
        record = json.loads(text)
        version = record["format_version"]
        if version not in (FORMAT_VERSION, INTEGERS_VERSION):
            raise CheckpointError(
                f"{path}: has format version {version}, this tool reads {FORMAT_VERSION} and "
                f"{INTEGERS_VERSION}",
                "update mnv2-export",
            )
        return ModelSpec.from_json(record["spec"]), record
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
