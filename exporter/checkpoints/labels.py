"""Class labels that training scripts keep beside the weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

LABEL_KEYS = (
    "labels",
    "classes",
    "class_names",
    "categories",
    "class_to_idx",
    "idx_to_class",
    "id2label",
)


def find_labels(entries: Mapping[Any, Any]) -> tuple[tuple[str, ...], str]:
    """The labels under one of the customary keys and where they were; empty when there are none.

    A value may be a list of names, a name -> index or index -> name mapping, or JSON of those.
    """
    for key in LABEL_KEYS:
        labels = _as_labels(entries.get(key))
        if labels:
            return labels, f"from the file's {key!r}"
    return (), ""


def _as_labels(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        try:
            return _as_labels(json.loads(value)) if value[:1] in ("[", "{") else ()
        except (ValueError, RecursionError):
            return ()
    if isinstance(value, list | tuple):
        return tuple(value) if all(isinstance(v, str) for v in value) else ()
    if isinstance(value, Mapping):
        pairs = [_index_and_name(k, v) for k, v in value.items()]
        names = dict(pair for pair in pairs if pair)
        if pairs and sorted(names) == list(range(len(pairs))):
            return tuple(names[i] for i in range(len(pairs)))
    return ()


def _index_and_name(key: Any, value: Any) -> tuple[int, str] | None:
    """(index, name) of one entry, whichever way round it is written."""
    if isinstance(key, str) and isinstance(value, int):
        return value, key
    if isinstance(value, str) and str(key).isdecimal():
        return int(key), value
    return None
