"""Writing files so that nothing half-written is ever seen under its final name."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
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
def replace_directory(path: Path, why_not: Callable[[Path], str]) -> Iterator[Path]:
    """A fresh directory that takes the place of `path` when the block succeeds, else vanishes.

    A directory that holds something is replaced only if `why_not` finds no reason against it; it
    stays untouched until the swap, and comes back if the swap fails. Raises ArtifactError.
    """
    path = path.absolute()
    _check_replaceable(path, why_not)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be created ({error.strerror})") from None
    try:
        fresh, aside = folder / "new", folder / "old"
        fresh.mkdir()
        aside.mkdir()
        yield fresh
        exchange([(fresh, path)], aside)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def added_to(path: Path) -> Iterator[Path]:
    """A fresh directory whose files move into `path` when the block succeeds, else vanish.

    Other files in `path` stay. Raises ArtifactError where nothing can be written.
    """
    path = path.absolute()
    if path.exists() and not path.is_dir():
        raise ArtifactError(f"{path}: exists and is not a directory", "choose another one")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path if path.is_dir() else path.parent
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=beside))
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be written to ({error.strerror})") from None
    try:
        yield folder
        path.mkdir(exist_ok=True)
        for file in sorted(folder.iterdir()):
            os.replace(file, path / file.name)  # noqa: PTH105 (as above)
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be written to ({error.strerror})") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check_replaceable(path: Path, why_not: Callable[[Path], str]) -> None:
    if path.exists() and not path.is_dir():
        raise ArtifactError(f"{path}: exists and is not a directory", "choose another --out")
    here = Path.cwd().resolve()
    if path.resolve() in (here, *here.parents):
        raise ArtifactError(
            f"{path}: is the current directory or holds it", "choose a directory inside it"
        )
    if path.is_dir() and any(path.iterdir()) and (reason := why_not(path)):
        raise ArtifactError(f"{path}: not empty, {reason}", "choose another --out, or empty it")


def exchange(moves: Sequence[tuple[Path, Path]], aside: Path) -> None:
    """Move each (new, place) into place, all of them or none.

    What lay there goes to `aside`, an empty directory of the same file system, and comes back when
    a move fails or is interrupted.
    """
    begun: list[tuple[Path, Path, Path]] = []
    try:
        for index, (new, place) in enumerate(moves):
            old = aside / str(index)
            begun.append((new, place, old))
            if place.exists():
                place.rename(old)
            new.rename(place)
    except BaseException:
        for new, place, old in reversed(begun):
            if not new.exists():
                place.rename(new)
            if old.exists():
                old.rename(place)
        raise


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
