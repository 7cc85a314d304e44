"""A list file: a path and a label per line."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from pathlib import Path

from exporter.errors import DataError
from exporter.training.entries import Entry, Found

LIST_SUFFIXES = (".txt", ".csv", ".tsv")
HEADERS = frozenset({"path", "file", "filename", "file_name", "image", "name"})
Row = tuple[int, str, str]  # line, path, label


def find_in_list(path: Path) -> Found:
    """The images that a list names, by paths relative to it; raises DataError with the line.

    `.csv` and `.tsv` have two columns, with or without a header. In a `.txt` a tab separates path
    and label where there is one, else the last blank. Empty lines and `#` comments are passed over.
    """
    entries: list[Entry] = []
    seen: dict[str, Row] = {}
    repeated = 0
    for line, written, label in _rows(path):
        name = os.path.normpath(written)
        if name in seen:
            first, _, other = seen[name]
            if other != label:
                raise _bad(path, line, f"{name} is {label!r} here and {other!r} in line {first}")
            repeated += 1
            continue
        seen[name] = (line, name, label)
        file = path.parent / name
        if not _is_file(file):
            raise _bad(path, line, f"no such file: {file}")
        entries.append(Entry(name=name, label=label, path=str(file)))
    if not entries:
        raise DataError(f"{path}: no images in it", "write a relative path and a label per line")
    notes = (f"{path}: {repeated} repeated lines left out",) if repeated else ()
    return Found(origin=path, entries=tuple(entries), notes=notes)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that no file can have
        return False


def _rows(path: Path) -> Iterator[Row]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a text file ({error})", "save it as UTF-8") from None
    kind = path.suffix.lower()
    for line, cells in _plain(text) if kind == ".txt" else _separated(path, text, kind):
        if len(cells) != 2 or not all(cells):
            shown = ", ".join(map(repr, cells))
            raise _bad(path, line, f"expected a path and a label, got {shown}")
        yield line, cells[0], cells[1]


def _plain(text: str) -> Iterator[tuple[int, list[str]]]:
    # Other separators that Python's splitlines knows may be part of a name.
    for line, content in enumerate(io.StringIO(text, newline=None), start=1):
        content = content.strip()
        if content and content[0] != "#":
            cells = content.split("\t") if "\t" in content else content.rsplit(None, 1)
            yield line, [cell.strip() for cell in cells]


def _separated(path: Path, text: str, kind: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter="\t" if kind == ".tsv" else ",")
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise _bad(path, reader.line_num, str(error)) from None
        if row is None:
            return
        cells = [cell.strip() for cell in row]
        is_header = reader.line_num == 1 and cells and cells[0].lower() in HEADERS
        if any(cells) and cells[0][:1] != "#" and not is_header:
            yield reader.line_num, cells


def _bad(path: Path, line: int, what: str) -> DataError:
    return DataError(f"{path}: line {line}: {what}", "write a relative path and a label per line")
