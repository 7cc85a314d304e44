"""One real photo in the formats that people have: `python photos.py FOLDER`.

It is the portrait of Grace Hopper that matplotlib ships (US Navy, public domain).
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.cbook
import numpy as np
from PIL import Image

ROTATED = 6  # EXIF: to be turned a quarter clockwise


def write_photos(folder: Path) -> None:
    """The photo as it is, and rewritten."""
    folder.mkdir(parents=True, exist_ok=True)
    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        (folder / "photo.jpg").write_bytes(file.read())
    photo = Image.open(folder / "photo.jpg").convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = ROTATED
    photo.save(folder / "photo.png")
    photo.save(folder / "turned.jpg", exif=exif, quality=90)
    photo.save(folder / "turned.png", exif=exif)
    photo.save(folder / "progressive.jpg", progressive=True, subsampling=0, quality=95)
    photo.convert("L").save(folder / "gray.jpg")
    photo.save(folder / "lossless.webp", lossless=True)
    photo.save(folder / "lossy.webp", quality=80)
    photo.resize((4000, 3000)).save(folder / "large.jpg", quality=85)
    fading = Image.fromarray(np.add.outer(range(photo.height), range(photo.width)).astype(np.uint8))
    photo.putalpha(fading)
    photo.save(folder / "transparent.png")
    photo.save(folder / "transparent.webp", lossless=True, exact=True)
    (folder / "no-photo.jpg").write_text("This is no picture.\n")


if __name__ == "__main__":
    write_photos(Path(sys.argv[1]))
