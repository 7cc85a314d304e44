"""Which of our own modules a result depends on, and their hash: an edit makes older results stale.

What a module imports is read from its text, wherever in the file the import stands, and followed
as far as our packages go. What lies beside the modules (the demo's pictures and weights) counts as
well. Reading the statements with a pattern takes a hundredth of the time of parsing; a test
compares both on every file there is.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

PACKAGES = ("exporter", "targets")
IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+import[ \t]+(\([^)]*\)|[^\n]*)|import[ \t]+([\w.]+))", re.M
)
NAME = re.compile(r"\w+")
COMMENT = re.compile(r"#[^\n]*")
NOT_DATA = frozenset({".py", ".pyc"})
_digests: dict[tuple[str, ...], str] = {}
_read: dict[Path, tuple[int, int]] = {}  # what was hashed: its time and size just before


def digest(*modules: str) -> str:
    """Hash of all that our modules of these names, and what they import, consist of.

    It is that of the first call: a process keeps the code that it has loaded.
    """
    if modules not in _digests:
        found = files(*modules)
        for path in found.values():
            _read.setdefault(path, _state(path))
        _digests[modules] = digest_of(found)
    return _digests[modules]


def unchanged() -> bool:
    """Whether what `digest` has read is still on disk: a module that was imported later may not."""
    try:
        return all(_state(path) == before for path, before in _read.items())
    except OSError:
        return False


def digest_of(found: Mapping[str, Path]) -> str:
    """Hash of files and of their names."""
    hashed = hashlib.sha256()
    for name, path in sorted(found.items()):
        hashed.update(f"{name}\0".encode() + _hash(path))
    return hashed.hexdigest()


def files(*modules: str) -> dict[str, Path]:
    """The files that `digest` reads, by name."""
    known: dict[str, Path] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        path = None if name in known else located(name)
        if path is None:
            continue
        known[name] = path
        waiting += imported(path)
        waiting += [name.rpartition(".")[0]]  # importing a module runs the packages around it
    packages = [(name, path) for name, path in known.items() if path.name == "__init__.py"]
    for name, path in packages:
        known |= {f"{name}/{beside.name}": beside for beside in _data(path.parent)}
    return known


def imported(path: Path) -> list[str]:
    """Dotted names of what a file may import: `from a import b` may mean the module a.b."""
    found: list[str] = []
    for module, names, plain in IMPORT.findall(COMMENT.sub("", path.read_text())):
        found.append(module or plain)
        found += [f"{module}.{name}" for name in NAME.findall(names)]
    return found


def located(name: str) -> Path | None:
    """The file of one of our modules; None for what is not ours, or no module."""
    package, *inner = name.split(".")
    if package not in PACKAGES:
        return None
    path = _folder(package).joinpath(*inner)
    for candidate in (path / "__init__.py", path.with_name(f"{path.name}.py")):
        if candidate.is_file():
            return candidate
    return None


@functools.cache
def _folder(package: str) -> Path:
    found = importlib.util.find_spec(package)
    assert found is not None, package
    assert found.origin is not None, package
    return Path(found.origin).parent


def _data(folder: Path) -> Iterable[Path]:
    return (p for p in sorted(folder.iterdir()) if p.is_file() and p.suffix not in NOT_DATA)


def _state(path: Path) -> tuple[int, int]:
    stated = path.stat()
    return stated.st_mtime_ns, stated.st_size


def _hash(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
