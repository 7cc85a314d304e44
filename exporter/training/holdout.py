"""A share of a data set's pictures to validate on, where the set itself names none."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping

from exporter.errors import DataError


def held_out(groups: Mapping[str, Hashable], seed: int, share: float) -> set[str]:
    """The names to hold out, a share of each group but never a whole one.

    The names alone decide, as in `sources`: moving the data changes nothing, and a picture that is
    added moves at most one other. Raises DataError for a share that leaves nothing on one side.
    """
    if not 0.0 < share < 1.0:
        raise DataError(f"a validation share of {share:g} leaves nothing on one side")
    members: dict[Hashable, list[str]] = {}
    for name, group in groups.items():
        members.setdefault(group, []).append(name)
    chosen: set[str] = set()
    for names in members.values():
        count = min(len(names) - 1, max(1, round(share * len(names))))
        chosen.update(sorted(names, key=lambda name: _lot(name, seed))[:count])
    return chosen


def _lot(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}/{name}".encode("utf-8", "surrogateescape")).digest()
