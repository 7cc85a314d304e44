"""Images as cameras and design programs leave them, of one color each, so what is read is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

RED, BLUE = (200, 60, 60), (60, 60, 200)
GRAY = (100, 100, 100)
TURNED = 6  # the EXIF orientation of a camera held upright: shown a quarter turn clockwise
COLORS = {
    "cmyk.tif": RED,
    "dot.png": RED,  # 1 x 1
    "gray16.png": GRAY,
    "palette.png": RED,
    "rgb16.png": GRAY,
    "see_through.png": RED,
}


def write_odd_images(folder: Path) -> dict[str, tuple[int, int, int]]:
    """The color that each file must be read as, by its name."""
    folder.mkdir(parents=True, exist_ok=True)
    red = Image.new("RGB", (40, 24), RED)
    red.convert("CMYK").save(folder / "cmyk.tif")
    red.resize((1, 1)).save(folder / "dot.png")
    gray = np.full((24, 40), 100 * 256 + 77, np.uint16)
    Image.fromarray(gray).save(folder / "gray16.png")
    (folder / "rgb16.png").write_bytes(_png_of_16_bit_colors(gray))
    palette = red.quantize(16)
    palette.save(folder / "palette.png")
    palette.save(folder / "see_through.png", transparency=bytes(range(16)))
    return dict(COLORS)


def write_turned(folder: Path) -> tuple[str, str]:
    """Names of a picture and of the same one as a camera held upright would write it."""
    folder.mkdir(parents=True, exist_ok=True)
    upright = Image.new("RGB", (40, 40), RED)
    upright.paste(BLUE, (0, 0, 40, 12))  # blue above, red below
    upright.save(folder / "upright.png")
    exif = Image.Exif()
    exif[0x0112] = TURNED
    upright.transpose(Image.Transpose.ROTATE_90).save(folder / "turned.png", exif=exif)
    return "upright.png", "turned.png"


def _png_of_16_bit_colors(gray: np.ndarray) -> bytes:
    """Pillow reads such files and cannot write them."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    height, width = gray.shape
    colors = np.repeat(gray.astype(">u2")[..., None], 3, axis=2)
    rows = b"".join(b"\0" + row.tobytes() for row in colors)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
