"""`cache` on the command line: what is in it, whether it is whole, and how to make it smaller."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from exporter.arguments import Json, Verbose
from exporter.session import session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exporter.cache.store import Entry, Store


def cache(
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove by --older-than, --max-size or both.")
    ] = False,
    older_than: Annotated[
        str | None,
        typer.Option(help="With --prune: what was not used for so long (30d, 12h)."),
    ] = None,
    max_size: Annotated[
        str | None,
        typer.Option(help="With --prune: what was used longest ago, until so much is left (1GB)."),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check every byte; remove what is damaged.")
    ] = False,
    clear: Annotated[bool, typer.Option("--clear", help="Remove everything.")] = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Show what `build --cache` and `sweep` have kept, and remove what is not wanted."""
    with session(as_json=as_json, verbose=verbose) as current:
        from exporter.cache.store import Store
        from exporter.ui import results
        from exporter.ui.cache import print_cache

        store = Store()
        _check(prune=prune, limits=(older_than, max_size), verify=verify, clear=clear)
        removed = _removed(store, older_than, max_size, verify=verify, clear=clear, prune=prune)
        left = store.entries()
        if as_json:
            current.print_json(
                {
                    "location": str(store.root),
                    "size_bytes": sum(entry.size_bytes for entry in left),
                    "entries": [_plain(entry) for entry in left],
                    "removed": [_plain(entry) for entry in removed],
                }
            )
        else:
            why = "damaged" if verify else "pruned"
            print_cache(results(), store, left, removed, why)


def _check(
    *, prune: bool, limits: tuple[str | None, str | None], verify: bool, clear: bool
) -> None:
    from exporter.errors import UnsupportedError

    if sum((prune, verify, clear)) > 1:
        raise UnsupportedError(
            "--prune, --verify and --clear are three different things", "give one of them"
        )
    if prune and limits == (None, None):
        raise UnsupportedError(
            "--prune removes nothing by itself", "add --older-than 30d, --max-size 1GB or both"
        )
    if not prune and limits != (None, None):
        raise UnsupportedError("--older-than and --max-size say what --prune removes", "add it")


def _removed(
    store: Store,
    older_than: str | None,
    max_size: str | None,
    *,
    verify: bool,
    clear: bool,
    prune: bool,
) -> Sequence[Entry]:
    from exporter.cache.limits import seconds, size_bytes

    if clear:
        return store.clear()
    if verify:
        return store.damaged()
    if prune:
        return store.prune(
            older_than_seconds=None if older_than is None else seconds(older_than),
            max_bytes=None if max_size is None else size_bytes(max_size),
        )
    return ()


def _plain(entry: Entry) -> dict[str, object]:
    return {**dataclasses.asdict(entry), "path": str(entry.path)}
