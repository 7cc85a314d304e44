"""Writing files so that nothing half-written is ever seen under its final name."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from exporter.errors import ArtifactError

CHUNK = 1 << 20


@contextlib.contextmanager
def staged(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, moved there when the block succeeds, else removed.

    The block may write a file or a directory; an existing file or directory is replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        temporary = folder / path.name
        yield temporary
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        os.replace(temporary, path)  # noqa: PTH105 (replaces atomically, Path.replace says less)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def replace_directory(path: Path, marker: str) -> Iterator[Path]:
    """A fresh directory that takes the place of `path` when the block succeeds, else vanishes.

    An existing directory is replaced only if it is empty or holds a file named `marker`, that is,
    if an earlier run wrote it; otherwise ArtifactError. It stays untouched until the swap.
    """
    path = path.absolute()
    if path.exists() and not path.is_dir():
        raise ArtifactError(f"{path}: exists and is not a directory", "choose another --out")
    if path.is_dir() and any(path.iterdir()) and not (path / marker).is_file():
        raise ArtifactError(
            f"{path}: not empty, and not an earlier build (no {marker})",
            "choose another --out, or empty it",
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be created ({error.strerror})") from None
    try:
        fresh, old = folder / "new", folder / "old"
        fresh.mkdir()
        yield fresh
        if path.exists():
            path.rename(old)
        fresh.rename(path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_atomic(path: Path, data: bytes) -> None:
    """Write a whole file or nothing."""
    with staged(path) as temporary:
        temporary.write_bytes(data)


def sha256(path: Path) -> str:
    """Hex digest of a file, or of a directory's sorted relative names and contents."""
    digest = hashlib.sha256()
    if not path.is_dir():
        _feed(digest, path)
        return digest.hexdigest()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        digest.update(file.relative_to(path).as_posix().encode() + b"\0")
        digest.update(size(file).to_bytes(8, "little"))
        _feed(digest, file)
    return digest.hexdigest()


def size(path: Path) -> int:
    """Bytes of a file, or of all files below a directory."""
    if path.is_dir():
        return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    return path.stat().st_size


def _feed(digest: hashlib._Hash, path: Path) -> None:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
