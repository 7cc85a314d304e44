"""Which kind of file this is, by its first bytes; files that cannot be checkpoints are refused."""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from enum import StrEnum
from pathlib import Path

from exporter.checkpoints.records import DAMAGED_HINT, KNOWN_FORMATS
from exporter.errors import CheckpointError

PEEK_BYTES = 512
# What zipfile raises for damaged, encrypted or exotic archives.
ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    OSError,
    EOFError,
    ValueError,
    LookupError,
    NotImplementedError,
    RuntimeError,
)


class Container(StrEnum):
    """How a checkpoint is stored, whatever its name ends in."""

    HDF5 = "hdf5"
    KERAS_ZIP = "keras zip"
    TORCH_ZIP = "torch zip"
    TORCH_PICKLE = "torch pickle"
    SAFETENSORS = "safetensors"


def sniff(path: Path) -> Container:
    """The container of a file; raises CheckpointError for what cannot hold a checkpoint."""
    size, start = _peek(path)
    _refuse_pages(path, size, start)
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        return Container.HDF5
    if start.startswith(b"PK\x03\x04"):
        return _sniff_zip(path, size)
    if start.startswith(b"\x80") and path.suffix != ".safetensors":
        return Container.TORCH_PICKLE
    if path.suffix == ".safetensors" or start[8:9] == b"{":
        return Container.SAFETENSORS
    if start.startswith(b"\x1f\x8b"):
        raise CheckpointError(f"{path}: is gzip-compressed", "unpack it first")
    raise CheckpointError(
        f"{path}: not a checkpoint (its first bytes are {start[:8].hex(' ')})", KNOWN_FORMATS
    )


def _peek(path: Path) -> tuple[int, bytes]:
    """Size and first bytes of a regular file."""
    try:
        if path.is_dir():
            saved_model = (path / "saved_model.pb").exists()
            raise CheckpointError(
                f"{path}: is a {'TensorFlow SavedModel ' if saved_model else ''}directory",
                "save the model as .keras or .h5 instead" if saved_model else KNOWN_FORMATS,
            )
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(PEEK_BYTES)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file", "check the path") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None
    if not start:
        raise CheckpointError(f"{path}: is empty (0 bytes)", DAMAGED_HINT)
    return size, start


def _refuse_pages(path: Path, size: int, start: bytes) -> None:
    """Text that downloads leave in place of a checkpoint."""
    if start.startswith(b"version https://git-lfs"):
        real = re.search(rb"size (\d+)", start)
        promise = f" for a file of {int(real[1]):,} bytes" if real else ""
        raise CheckpointError(
            f"{path}: is a git-lfs pointer of {size} bytes{promise}, not the checkpoint itself",
            "run `git lfs pull`, or download the file from its page",
        )
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<head", b"<?xml")):
        raise CheckpointError(
            f"{path}: is a web page ({size:,} bytes of HTML or XML), not a checkpoint",
            "download the raw file: a link on the page leads to it",
        )


def _sniff_zip(path: Path, size: int) -> Container:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
    except ZIP_ERRORS as error:
        raise CheckpointError(
            f"{path}: zip archive without a readable directory at its end "
            f"(the file ends at byte {size:,}): {error}",
            DAMAGED_HINT,
        ) from None
    if "config.json" in members or "model.weights.h5" in members:
        return Container.KERAS_ZIP
    if any(m.endswith("/constants.pkl") for m in members):
        raise CheckpointError(
            f"{path}: is a TorchScript program, whose weights cannot be read without running it",
            "save model.state_dict() with torch.save instead",
        )
    if any(m.endswith("data.pkl") for m in members):
        return Container.TORCH_ZIP
    shown = ", ".join(members[:3])
    raise CheckpointError(
        f"{path}: is a zip archive of something else ({len(members)} files: {shown} ...)",
        KNOWN_FORMATS,
    )
