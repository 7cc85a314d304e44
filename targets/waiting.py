"""Packages whose `__init__` waits until somebody asks for a name of it.

Importing one module of a large package first imports the package, and with it often far more than
the module needs. A package that waits comes up empty: modules in it can be imported, and the first
name that is none of them runs its `__init__` after all, whoever asks.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import threading
import warnings
from collections.abc import Collection, Iterator, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from types import ModuleType
from typing import Any


@contextlib.contextmanager
def waiting(names: Collection[str]) -> Iterator[None]:
    """Let these packages wait that are imported inside for the first time."""
    finder = _Finder(names)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Finder(MetaPathFinder):
    def __init__(self, names: Collection[str]) -> None:
        self.names = names

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """None for every other module: the finders that follow know it."""
        if fullname not in self.names:
            return None
        found = PathFinder.find_spec(fullname, path, target)
        if found is not None and found.loader is not None:
            found.loader = _Waiting(found.loader)
        return found


class _Waiting(Loader):
    """Runs a package's `__init__` when a name is asked for that no module in it has."""

    def __init__(self, own: Loader) -> None:
        self.own = own
        self.running = threading.RLock()

    def exec_module(self, module: ModuleType) -> None:
        """Leave the package empty; modules in it can be imported."""

        def asked(name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            inside = f"{module.__name__}.{name}"
            if inside in sys.modules or find_spec(inside) is not None:
                return importlib.import_module(inside)
            with self.running:
                if vars(module).pop("__getattr__", None) is not None:
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")
                        self.own.exec_module(module)
            return getattr(module, name)

        vars(module)["__getattr__"] = asked
