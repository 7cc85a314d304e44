"""Files on their way into an entry of the cache and out of it: every byte is hashed as it goes."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path

from exporter.files import CHUNK

SUMS, ABOUT = "checksums.json", "about.json"


class NoRoomError(OSError):
    """What files were to be copied to cannot be written; those files have nothing to do with it."""


def copied(folder: Path, into: Path) -> tuple[str, dict[str, str]]:
    """The day an entry was made and its files' hashes; raises ValueError for other bytes."""
    sums = _listed(folder)
    with _room():
        into.mkdir(parents=True)
    for name, expected in sums.items():
        with _room():
            (into / name).parent.mkdir(parents=True, exist_ok=True)
        if copy(folder / name, into / name) != expected:
            raise ValueError(name)
    made = json.loads((into / ABOUT).read_text())["made"]
    (into / ABOUT).unlink()
    return str(made), {name: value for name, value in sums.items() if name != ABOUT}


def _listed(folder: Path) -> dict[str, str]:
    """Hashes by name; raises ValueError for a list that is none, or names what lies elsewhere."""
    sums = json.loads((folder / SUMS).read_bytes())
    if not isinstance(sums, dict) or ABOUT not in sums:
        raise ValueError(SUMS)
    if any(Path(name).is_absolute() or ".." in Path(name).parts for name in sums):
        raise ValueError(SUMS)
    return sums


def is_whole(folder: Path) -> bool:
    """Whether an entry is what was kept, to the last byte."""
    try:
        sums = _listed(folder)
        return all(_hash_of(folder / name) == expected for name, expected in sums.items())
    except (OSError, ValueError, TypeError):
        return False


def names(folder: Path) -> list[str]:
    """Relative names of all files below a folder, in a fixed order."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def copy(source: Path, target: Path) -> str:
    """Copy a file and return the hash of what was copied."""
    hashed = hashlib.sha256()
    with source.open("rb") as reading, _opened(target) as writing:
        while chunk := reading.read(CHUNK):
            hashed.update(chunk)
            left = memoryview(chunk)
            while left:
                with _room():
                    left = left[writing.write(left) :]
    return hashed.hexdigest()


def _opened(target: Path) -> io.FileIO:
    with _room():
        return io.FileIO(target, "w")  # unbuffered: closing writes nothing, so it cannot fail


@contextlib.contextmanager
def _room() -> Iterator[None]:
    """Tell a failure to write from one to read."""
    try:
        yield
    except OSError as error:
        raise NoRoomError(error.errno, error.strerror, error.filename) from None


def _hash_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(data: bytes) -> str:
    """Hash of bytes, as a file with them has it."""
    return hashlib.sha256(data).hexdigest()
