"""Which images are damaged, told before training starts and without decoding all of them."""

from __future__ import annotations

import io
from collections.abc import Callable

from PIL import Image

from exporter.errors import DataError
from exporter.training.entries import Entry

JPEG_START, PNG_START = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
JPEG_END = b"\xff\xd9"
HEAD = 1 << 16  # bytes that hold a JPEG's size, unless its metadata is long
TAIL = 4096  # bytes from the end in which a JPEG must end; cameras write a little behind it
SHOWN = 5  # names in an error


def without_damaged(
    groups: list[tuple[Entry, ...]], limit: int, check: Callable[[Entry], str] | None = None
) -> tuple[list[tuple[Entry, ...]], tuple[str, ...]]:
    """The groups without what cannot be read, and a note that names each; at most `limit` in all.

    `check` says why an image cannot be used, `complaint` if none is given. Raises DataError beyond
    the limit, with the count and the first few.
    """
    kept, complaints, total = [], [], 0
    for group in groups:
        good = []
        for entry in group:
            wrong = (check or complaint)(entry)
            if wrong:
                complaints.append(wrong)
            else:
                good.append(entry)
        kept.append(tuple(good))
        total += len(group)
    if len(complaints) > limit or not any(kept):
        first = "; ".join(complaints[:SHOWN])
        raise DataError(
            f"{len(complaints)} of {total} images cannot be read ({limit} would be skipped): "
            f"{first}{'; ...' if len(complaints) > SHOWN else ''}",
            "repair or remove them",
        )
    return kept, tuple(f"skipped {text}" for text in complaints)


def complaint(entry: Entry) -> str:
    """Why an image cannot be used, or nothing.

    A JPEG must have its header and its end, and PNG checksums are verified: that finds cut and
    altered files at a fraction of decoding's cost. What looks odd, and other formats, are decoded.
    """
    try:
        if not _looks_whole(entry):
            entry.image()
    except DataError as error:
        return error.message
    return ""


def _looks_whole(entry: Entry) -> bool:
    head, tail = entry.ends(HEAD, TAIL)
    if head.startswith(JPEG_START):
        return JPEG_END in tail and _opens(head, "JPEG")
    return head.startswith(PNG_START) and _opens(entry.read(), "PNG")


def _opens(data: bytes, kind: str) -> bool:
    try:
        with Image.open(io.BytesIO(data)) as image:
            if kind == "PNG":
                image.verify()
            return image.format == kind
    except Exception:  # whatever Pillow makes of damaged bytes, the decoder will name it
        return False
