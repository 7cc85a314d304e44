"""Ages and sizes as people write them (30d, 12h; 500MB, 1.5GB), and how much is kept unasked."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from exporter.errors import UnsupportedError

SECONDS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
BYTES = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
VARIABLE = "MNV2_EXPORT_CACHE_SIZE"
USUAL = "5GB"  # two hundred classifiers; ten segmenters at 513 px
UNLIMITED = "none"
NUMBER = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)")


def seconds(text: str) -> float:
    """An age; raises UnsupportedError."""
    return _read(text, SECONDS, f"--older-than {text}: no age", "30d, 12h or 2w")


def size_bytes(text: str) -> int:
    """A size; raises UnsupportedError."""
    return int(_read(text, BYTES, f"--max-size {text}: no size", "500MB or 1.5GB"))


def stated() -> int | None:
    """To how much a build or a sweep cuts the cache back; raises UnsupportedError."""
    text = os.environ.get(VARIABLE) or USUAL
    if text.strip().lower() == UNLIMITED:
        return None
    return int(_read(text, BYTES, f"{VARIABLE}={text}: no size", f"500MB, 1.5GB or {UNLIMITED}"))


def _read(text: str, units: Mapping[str, int], wrong: str, like: str) -> float:
    match = NUMBER.fullmatch(text.strip())
    if match is None or match[2].lower() not in units:
        raise UnsupportedError(wrong, f"write it like {like}")
    return float(match[1]) * units[match[2].lower()]
