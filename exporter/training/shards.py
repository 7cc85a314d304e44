"""WebDataset shards: tar files in which the parts of a sample share a name up to the first dot.

Read by the standard library: the index of a shard (where each image's bytes begin) is taken once,
so that samples can be drawn in any order, which WebDataset's own streaming reader cannot do.
"""

from __future__ import annotations

import itertools
import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

from exporter.data import SUFFIXES
from exporter.errors import DataError
from exporter.training.entries import Entry, Found

SHARD_SUFFIX = ".tar"
COMPRESSED = (".tar.gz", ".tgz", ".tar.zst", ".tar.xz", ".tar.bz2")
JSON_KEYS = ("cls", "label", "class")
BRACES = re.compile(r"\{([^{}]*)\}")
NUMBERS = re.compile(r"(\d+)\.\.(\d+)")
MAX_SHARDS = 100_000


def expand(pattern: str) -> list[str]:
    """Shell braces: `{a,b}` and `{000..127}`, as many as there are; raises DataError."""
    found = BRACES.search(pattern)
    if found is None:
        return [pattern]
    numbers = NUMBERS.fullmatch(found[1])
    if numbers is None:
        middles = found[1].split(",")
    else:
        first, last = int(numbers[1]), int(numbers[2])
        if not first <= last < first + MAX_SHARDS:
            raise DataError(f"{pattern}: {{{found[1]}}} is no rising range of shards")
        middles = [str(n).zfill(len(numbers[1])) for n in range(first, last + 1)]
    head, tail = pattern[: found.start()], pattern[found.end() :]
    return [text for middle in middles for text in expand(head + middle + tail)]


def find_in_shards(path: Path) -> Found | None:
    """Samples of a shard, of a brace pattern or of a folder of shards; None for anything else.

    A sample is an image with a `.cls` (a number or a name) or a `.json` that has one of JSON_KEYS.
    Raises DataError for a shard that is missing, compressed or damaged, or a sample without label.
    """
    if path.name.endswith(COMPRESSED):
        raise DataError(f"{path}: a compressed shard cannot be read at random", "decompress it")
    if path.is_dir():
        shards = sorted(p for p in path.glob(f"*{SHARD_SUFFIX}") if p.name[0] != ".")
    elif path.suffix == SHARD_SUFFIX:
        shards = [path] if path.exists() else [Path(text) for text in expand(str(path))]
    else:
        shards = []
    if not shards:
        return None
    entries = tuple(itertools.chain.from_iterable(map(_samples, shards)))
    if not entries:
        raise DataError(f"{path}: no images in {len(shards)} shards")
    return Found(origin=path, entries=entries)


def _samples(shard: Path) -> Iterator[Entry]:
    images: dict[str, tarfile.TarInfo] = {}
    labels: dict[str, str] = {}
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                folder, _, base = member.name.rpartition("/")
                key, _, kind = base.partition(".")
                if not member.isfile() or not key:
                    continue
                sample = f"{folder}/{key}" if folder else key
                if f".{kind.lower()}" in SUFFIXES:
                    images.setdefault(sample, member)
                elif kind in ("cls", "json"):
                    label = _label(_content(tar, member), kind, f"{shard}: {member.name}")
                    if kind == "cls" or sample not in labels:
                        labels[sample] = label
            _check_end(shard, tar.offset, len(tar.getmembers()))
    except FileNotFoundError:
        raise DataError(f"{shard}: no such shard") from None
    except (OSError, tarfile.TarError) as error:
        raise DataError(f"{shard}: not a readable tar file ({error})") from None
    for sample, member in images.items():
        if not labels.get(sample):
            where = f"{shard}: {member.name}"
            raise DataError(f"{where}: no label", f"add {sample}.cls or a .json with 'cls'")
        name = f"{shard.name}/{member.name}"
        yield Entry(name, labels[sample], str(shard), member.offset_data, member.size)


def _check_end(shard: Path, offset: int, members: int) -> None:
    """Raise DataError where members end in anything but zeros, which tarfile takes for the end."""
    with shard.open("rb") as file:
        file.seek(offset)
        block = file.read(tarfile.BLOCKSIZE)
    if block != bytes(tarfile.BLOCKSIZE):
        what = "damaged" if block else "cut off"
        raise DataError(f"{shard}: {what} after {members} members", "fetch or write it again")


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    return b"" if file is None else file.read()


def _label(content: bytes, kind: str, where: str) -> str:
    """The label as text, or nothing where a `.json` speaks of other things."""
    try:
        text = content.decode().strip()
        if kind == "cls":
            return text
        data = json.loads(text)
    except ValueError as error:
        raise DataError(f"{where}: not a label ({error})") from None
    if not isinstance(data, dict):
        return ""
    label = next((data[key] for key in JSON_KEYS if data.get(key) is not None), "")
    if isinstance(label, bool) or not isinstance(label, str | int):
        raise DataError(f"{where}: not a label ({label!r})", "a label is a text or a whole number")
    return str(label)
