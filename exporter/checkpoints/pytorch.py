"""Pickled PyTorch checkpoints (.pt, .pth, .pth.tar), read with `weights_only=True` alone."""

from __future__ import annotations

import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from exporter.checkpoints import state_dicts
from exporter.checkpoints.labels import find_labels
from exporter.checkpoints.records import DAMAGED_HINT, Detected, Raw
from exporter.checkpoints.sniff import ZIP_ERRORS, Container
from exporter.errors import CheckpointError

# Where training scripts keep the weights, the plain ones before their moving averages.
WRAPPERS = (
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "model_ema",
    "state_dict_ema",
    "ema_state_dict",
)
AVERAGED_COUNTER = "n_averaged"  # torch.optim.swa_utils.AveragedModel's own entry
SAVE_HINT = "save model.state_dict() instead: torch.save(model.state_dict(), 'model.pth')"

# What torch.load and its unpickler raise for damaged input; none of them is a bug of ours.
UNPICKLING_ERRORS = (
    pickle.UnpicklingError,
    EOFError,
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    OSError,
    AssertionError,
    OverflowError,
    MemoryError,
    struct.error,
)


def read(path: Path, container: Container) -> Raw:
    """A pickled torchvision or timm state dict; nothing in the file is executed."""
    if container is Container.TORCH_ZIP:
        _check_records(path)
    loaded = _load(path)
    tensors, notes = _unwrap(path, loaded)
    labels, labels_how = find_labels(loaded if isinstance(loaded, Mapping) else {})
    return state_dicts.interpret(
        path,
        tensors,
        file_format="PyTorch pickle",
        labels=labels,
        labels_how=labels_how,
        notes=notes,
    )


def _check_records(path: Path) -> None:
    """Every record of the zip passes its checksum; torch.load itself does not look."""
    try:
        with zipfile.ZipFile(path) as archive:
            for record in archive.infolist():
                _check_record(path, archive, record)
    except ZIP_ERRORS as error:
        raise CheckpointError(f"{path}: damaged zip archive ({error})", DAMAGED_HINT) from None


def _check_record(path: Path, archive: zipfile.ZipFile, record: zipfile.ZipInfo) -> None:
    begin, end = record.header_offset, record.header_offset + record.compress_size
    try:
        with archive.open(record) as stream:
            while stream.read(1 << 20):
                pass
    except ZIP_ERRORS as error:
        raise CheckpointError(
            f"{path}: record {record.filename!r} is damaged near bytes {begin:,}..{end:,} "
            f"({error})",
            DAMAGED_HINT,
        ) from None


def _load(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's deprecations are no news to our user
            return torch.load(path, map_location="cpu", weights_only=True)
    except UNPICKLING_ERRORS as error:
        raise _explain(path, error) from None


def _explain(path: Path, error: BaseException) -> CheckpointError:
    """One line for what torch.load says in a paragraph."""
    text = str(error)
    foreign = re.search(r"GLOBAL ([\w.]+)|(?:class|global|function) ([\w.]+\.\w+)", text)
    if "eights" in text and foreign and isinstance(error, pickle.UnpicklingError):
        name = foreign[1] or foreign[2]
        return CheckpointError(f"{path}: contains Python objects (class {name})", SAVE_HINT)
    if "TorchScript" in text:
        return CheckpointError(f"{path}: is a TorchScript program", SAVE_HINT)
    size = path.stat().st_size
    # torch's first lines advise to switch weights_only off; the cause comes after them.
    cause = re.search(r"WeightsUnpickler error: ?(.*)", text)
    reason = (cause[1] if cause else text).partition("\n")[0][:160] or type(error).__name__
    return CheckpointError(
        f"{path}: damaged or cut short: its pickle cannot be read "
        f"(the file ends at byte {size:,}): {reason}",
        DAMAGED_HINT,
    )


def _unwrap(path: Path, loaded: Any) -> tuple[dict[str, torch.Tensor], tuple[Detected, ...]]:
    """The tensors of a state dict, out of what training scripts wrap around it."""
    notes: tuple[Detected, ...] = ()
    if not isinstance(loaded, Mapping):
        raise CheckpointError(f"{path}: holds a {type(loaded).__name__}, no state dict", SAVE_HINT)
    entries: Mapping[Any, Any] = loaded
    if not any(isinstance(value, torch.Tensor) for value in entries.values()):
        wrappers = [key for key in WRAPPERS if isinstance(entries.get(key), Mapping)]
        if not wrappers:
            shown = ", ".join(repr(key) for key in list(entries)[:5]) or "nothing"
            raise CheckpointError(f"{path}: holds no state dict (only {shown})", SAVE_HINT)
        others = ", ".join(repr(key) for key in wrappers[1:])
        how = f"the file also has {others}, left aside" if others else "the only state dict there"
        notes = (Detected(what="entry", value=wrappers[0], how=how),)
        entries = entries[wrappers[0]]
    return _tensors(path, entries), notes


def _tensors(path: Path, entries: Mapping[Any, Any]) -> dict[str, torch.Tensor]:
    tensors = {}
    for key, value in entries.items():
        name = str(key)
        if name == AVERAGED_COUNTER:
            continue
        _refuse_quantized(path, name, value)
        if not isinstance(value, torch.Tensor):
            raise CheckpointError(
                f"{path}: entry {name!r} is a {type(value).__name__}, not a tensor", SAVE_HINT
            )
        if value.layout is not torch.strided or value.is_meta:
            raise CheckpointError(f"{path}: tensor {name!r} holds no plain values", SAVE_HINT)
        tensors[name] = value
    return tensors


def _refuse_quantized(path: Path, name: str, value: Any) -> None:
    last = name.rpartition(".")[2]
    quantized = isinstance(value, torch.Tensor) and value.is_quantized
    if quantized or last in ("scale", "zero_point", "_packed_params"):
        raise CheckpointError(
            f"{path}: is already quantized (tensor {name!r}); this tool quantizes float weights",
            "give the float state dict from before quantization",
        )
