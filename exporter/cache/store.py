"""Folders kept under a key, on disk, for any number of processes at once.

`<root>/v1/<kind>/<key>/` holds the files, `about.json` and `checksums.json`; the folder's own time
says when it was used last. A folder is filled under another name and renamed, so it is whole or not
there, and nobody waits for anybody: of two writers of one key the first wins, and both wrote the
same. Whoever reads copies, and hashes what he copies: what does not match is thrown away.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

from exporter.cache.copies import ABOUT, SUMS, NoRoomError, copied, copy, digest, is_whole, names
from exporter.errors import ArtifactError, UnsupportedError

LAYOUT = "v1"
UNFINISHED = "unfinished"  # beside the kinds: what is being written, or thrown away
ABANDONED_SECONDS = 24 * 3600.0  # an unfinished folder that is older belongs to nobody
VARIABLE, APPLICATION = "MNV2_EXPORT_CACHE", "mnv2-export"
ATTEMPTS = 5  # to read an entry that other processes keep exchanging


class Outcome(StrEnum):
    """What came of a look into the cache."""

    FOUND = "found"
    ABSENT = "absent"  # or not ours to read
    DAMAGED = "damaged"  # and removed, where that is allowed


@dataclass(frozen=True, kw_only=True)
class Found:
    """What was copied out; `sums` are the hashes of the files by their relative names."""

    outcome: Outcome
    sums: Mapping[str, str] = field(default_factory=dict)
    made: str = ""  # the day, ISO 8601, UTC


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One folder of the cache, as `mnv2-export cache` lists it."""

    kind: str
    key: str
    what: str  # for a person: "model-int8.pte of demo"
    size_bytes: int
    made: str  # ISO 8601, UTC
    used: float  # seconds since the epoch
    path: Path


def default_root() -> Path:
    """$MNV2_EXPORT_CACHE, or this application's folder where the system keeps caches.

    Raises UnsupportedError where there is neither, as in a container without a home directory.
    """
    try:
        if stated := os.environ.get(VARIABLE):
            return Path(stated).expanduser().absolute()
        if sys.platform == "darwin":
            return Path.home() / "Library" / "Caches" / APPLICATION
        shared = Path(os.environ.get("XDG_CACHE_HOME", ""))
        # A relative one is no directory of caches, its specification says.
        return (shared if shared.is_absolute() else Path.home() / ".cache") / APPLICATION
    except RuntimeError:
        raise UnsupportedError(
            "there is no home directory to keep a cache in", f"set {VARIABLE} to a directory"
        ) from None


@dataclass(frozen=True, kw_only=True)
class Store:
    """The cache below one directory, which need not exist yet."""

    root: Path = field(default_factory=default_root)

    @property
    def base(self) -> Path:
        """Where this layout of entries lies."""
        return self.root / LAYOUT

    def folder(self, kind: str, key: str) -> Path:
        """Where an entry is, if it is there."""
        return self.base / kind / key

    def fetch(self, kind: str, key: str, into: Path) -> Found:
        """Copy an entry's files into a new folder `into`, checking every byte on the way.

        Raises OSError where `into` cannot be written.
        """
        folder = self.folder(kind, key)
        for _ in range(ATTEMPTS):
            before = _identity(folder)
            found = _copied_out(folder, into)
            if found is not None:
                return found
            after = _identity(folder)
            if before == after:
                break  # nobody exchanged it meanwhile: what was wrong is wrong with it
        else:
            return Found(outcome=Outcome.ABSENT)
        if after is None:  # never was there, or another process pruned it
            return Found(outcome=Outcome.ABSENT)
        self.remove(folder)
        return Found(outcome=Outcome.DAMAGED)

    def keep(self, kind: str, key: str, files: Path, what: str) -> dict[str, str]:
        """Copy a folder's files into a new entry, unless there is one; returns their hashes.

        Raises OSError where nothing can be written.
        """
        with self._unfinished() as private:
            temporary, sums = private / "entry", {}
            temporary.mkdir()  # unlike its parent, readable to whom the user's umask allows
            for name in names(files):
                (temporary / name).parent.mkdir(parents=True, exist_ok=True)
                sums[name] = copy(files / name, temporary / name)
            made = datetime.now(UTC).isoformat(timespec="seconds")
            about = json.dumps({"kind": kind, "key": key, "what": what, "made": made})
            (temporary / ABOUT).write_text(about)
            listed = json.dumps({**sums, ABOUT: digest(about.encode())}, indent=0, sort_keys=True)
            (temporary / SUMS).write_text(listed)
            place = self.folder(kind, key)
            place.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(OSError):  # there is one by now: it holds the same
                temporary.rename(place)
        return sums

    def entries(self) -> tuple[Entry, ...]:
        """Every entry, the one that was used longest ago first."""
        found = []
        for path in sorted(self.base.glob("*/*")):
            if path.parent.name == UNFINISHED or not path.is_dir():
                continue
            with contextlib.suppress(FileNotFoundError):
                found.append(_entry(path))
        return tuple(sorted(found, key=lambda entry: (entry.used, entry.kind, entry.key)))

    def damaged(self) -> tuple[Entry, ...]:
        """Remove every entry that is not what was kept, and say which."""
        return self._removed([entry for entry in self.entries() if not is_whole(entry.path)])

    def prune(
        self, *, older_than_seconds: float | None = None, max_bytes: int | None = None
    ) -> tuple[Entry, ...]:
        """Remove what was not used for so long, then what was used longest ago until it fits."""
        self._sweep_out()
        now, entries = time.time(), self.entries()
        left, removed = sum(entry.size_bytes for entry in entries), []
        for entry in entries:
            old = older_than_seconds is not None and now - entry.used > older_than_seconds
            if old or (max_bytes is not None and left > max_bytes):
                removed.append(entry)
                left -= entry.size_bytes
        return self._removed(removed)

    def clear(self) -> tuple[Entry, ...]:
        """Remove every entry; nothing else in the directory is touched."""
        removed = self._removed(self.entries())
        shutil.rmtree(self.base, ignore_errors=True)
        return removed

    def remove(self, folder: Path) -> bool:
        """Make an entry vanish at once, then delete it; False where that is not allowed."""
        try:
            with self._unfinished() as temporary:
                folder.rename(temporary / "removed")
        except FileNotFoundError:  # it is gone already
            return True
        except OSError:
            return False
        return True

    def _removed(self, entries: Sequence[Entry]) -> tuple[Entry, ...]:
        """Those that are gone then; raises ArtifactError when a cache cannot be written to."""
        if not all(self.remove(entry.path) for entry in entries):
            raise ArtifactError(
                f"{self.root}: entries cannot be removed", "ask whoever may write there"
            )
        return tuple(entries)

    @contextlib.contextmanager
    def _unfinished(self) -> Iterator[Path]:
        place = self.base / UNFINISHED
        place.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=place))
        try:
            yield temporary
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _sweep_out(self) -> None:
        """Delete what processes that were killed have left."""
        for folder in (self.base / UNFINISHED).glob("*"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - folder.stat().st_mtime > ABANDONED_SECONDS:
                    shutil.rmtree(folder, ignore_errors=True)


def _copied_out(folder: Path, into: Path) -> Found | None:
    """Whole, or not to be read by this user; None, and no `into`, for what is not a whole entry."""
    try:
        made, sums = copied(folder, into)
    except PermissionError:
        shutil.rmtree(into, ignore_errors=True)
        return Found(outcome=Outcome.ABSENT)
    except NoRoomError:
        shutil.rmtree(into, ignore_errors=True)
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        shutil.rmtree(into, ignore_errors=True)
        return None
    with contextlib.suppress(OSError):  # a cache that is only read has no order of use
        os.utime(folder)
    return Found(outcome=Outcome.FOUND, sums=sums, made=made)


def _identity(folder: Path) -> tuple[int, ...] | None:
    """Of an entry as it lies there; one that took its place has another. None where there is none.

    A directory's number may be given again, so its list of hashes is looked at too; reading an
    entry changes neither.
    """
    try:
        own = folder.stat().st_ino
    except OSError:
        return None
    try:
        listed = (folder / SUMS).stat()
    except OSError:
        return (own,)
    return own, listed.st_ino, listed.st_ctime_ns


def _entry(path: Path) -> Entry:
    size = sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    entry = Entry(
        kind=path.parent.name,
        key=path.name,
        what="",
        size_bytes=size,
        made="",
        used=path.stat().st_mtime,
        path=path,
    )
    try:
        about = json.loads((path / ABOUT).read_bytes())
        return dataclasses.replace(entry, what=str(about["what"]), made=str(about["made"]))
    except (OSError, ValueError, KeyError, TypeError):
        return dataclasses.replace(entry, what="damaged")
