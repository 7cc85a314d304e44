"""safetensors files with torchvision's, timm's or our own tensors inside.

The header is checked here before the library reads the file, so that a message can name the
tensor and the byte range. Layout: 8 bytes n (little-endian), n bytes of JSON, then the data.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load

from exporter.checkpoints import own, state_dicts
from exporter.checkpoints.labels import find_labels
from exporter.checkpoints.records import DAMAGED_HINT, Raw
from exporter.errors import CheckpointError

LENGTH_BYTES = 8
METADATA = "__metadata__"
DTYPE_BYTES = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U64": 8,
    "U32": 4,
    "U16": 2,
    "U8": 1,
    "BOOL": 1,
}


def read(path: Path) -> Raw:
    """Our own checkpoint if the metadata says so, else a torchvision or timm state dict."""
    try:
        data = path.read_bytes()  # not mapped: a file that shrinks under a map kills the process
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None
    metadata = _check_header(path, data)
    try:
        tensors: dict[str, torch.Tensor] = load(data)
    except (SafetensorError, ValueError, KeyError, RuntimeError) as error:
        raise CheckpointError(f"{path}: damaged safetensors file ({error})", DAMAGED_HINT) from None
    if own.METADATA_KEY in metadata:
        return own.interpret(path, tensors, metadata[own.METADATA_KEY])
    labels, labels_how = find_labels(metadata)
    return state_dicts.interpret(
        path,
        tensors,
        file_format="safetensors",
        labels=labels,
        labels_how=labels_how,
        notes=(),
        source_prefix="safetensors ",
    )


def _check_header(path: Path, data: bytes) -> dict[str, str]:
    """The file's metadata, once every tensor's bytes are known to be in the file."""
    header, data_start = _read_header(path, data)
    metadata = header.pop(METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise CheckpointError(f"{path}: the metadata is not text by name", DAMAGED_HINT)
    for name, entry in header.items():
        _check_entry(path, name, entry, data_start, len(data))
    return metadata


def _read_header(path: Path, data: bytes) -> tuple[dict[str, Any], int]:
    data_start = LENGTH_BYTES + int.from_bytes(data[:LENGTH_BYTES], "little")
    if data_start > len(data):
        raise CheckpointError(
            f"{path}: file ends at byte {len(data):,} but the safetensors header needs bytes "
            f"{LENGTH_BYTES}..{data_start:,}",
            DAMAGED_HINT,
        )
    try:
        header = json.loads(data[LENGTH_BYTES:data_start])
    except (ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: bytes {LENGTH_BYTES}..{data_start:,} are no safetensors header ({error})",
            DAMAGED_HINT,
        ) from None
    if not isinstance(header, dict):
        raise CheckpointError(f"{path}: the safetensors header is no JSON object", DAMAGED_HINT)
    return header, data_start


def _check_entry(path: Path, name: str, entry: Any, data_start: int, size: int) -> None:
    try:
        dtype, shape = entry["dtype"], [int(n) for n in entry["shape"]]
        begin, end = (data_start + int(offset) for offset in entry["data_offsets"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: the header's entry for tensor {name!r} is malformed ({error!r})", DAMAGED_HINT
        ) from None
    if end > size:
        raise CheckpointError(
            f"{path}: file ends at byte {size:,} but tensor {name!r} needs bytes "
            f"{begin:,}..{end:,}",
            DAMAGED_HINT,
        )
    if dtype not in DTYPE_BYTES:
        raise CheckpointError(
            f"{path}: tensor {name!r} has element type {dtype}",
            "give the float checkpoint from before quantization",
        )
    if end - begin != math.prod(shape) * DTYPE_BYTES[dtype]:
        raise CheckpointError(
            f"{path}: tensor {name!r} of shape {shape} and type {dtype} cannot fill bytes "
            f"{begin:,}..{end:,}",
            DAMAGED_HINT,
        )
