"""Pictures to decode: whatever a PNG's header may say, which Pillow reads and cannot write."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from PIL import Image

GRAY, RGB, PALETTE, GRAY_ALPHA, RGBA = 0, 2, 3, 4, 6
CHANNELS = {GRAY: 1, RGB: 3, PALETTE: 1, GRAY_ALPHA: 2, RGBA: 4}
DEPTHS = {
    GRAY: (1, 2, 4, 8, 16),
    RGB: (8, 16),
    PALETTE: (1, 2, 4, 8),
    GRAY_ALPHA: (8, 16),
    RGBA: (8, 16),
}


def picture(width: int, height: int) -> Image.Image:
    """Smooth areas, edges and speckle, another for every size."""
    random = np.random.Generator(np.random.PCG64(width * 1000 + height))
    coarse = random.integers(0, 256, (height // 4 + 2, width // 4 + 2, 3), np.uint8)
    smooth = np.kron(coarse, np.ones((4, 4, 1), np.uint8))[:height, :width]
    speckle = random.integers(-40, 41, smooth.shape)
    return Image.fromarray(np.clip(smooth + speckle, 0, 255).astype(np.uint8))


def chunk(kind: bytes, data: bytes) -> bytes:
    """A PNG chunk."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def header(width: int, height: int, depth: int, color: int) -> bytes:
    """The signature and the header's chunk."""
    fields = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", fields)


def noise_png(side: int, depth: int, color: int, *, transparency: bool = False) -> bytes:
    """Random samples of any depth and color type; a palette has no color for its last indices."""
    random = np.random.Generator(np.random.PCG64(depth * 10 + color))
    row_bytes = (side * CHANNELS[color] * depth + 7) // 8
    rows = random.integers(0, 256, (side, row_bytes), np.uint8)
    parts = [header(side, side, depth, color)]
    if color == PALETTE:
        colors = max(2, (1 << depth) * 3 // 4)
        parts.append(chunk(b"PLTE", random.integers(0, 256, colors * 3, np.uint8).tobytes()))
        if transparency:
            parts.append(chunk(b"tRNS", random.integers(0, 256, colors, np.uint8).tobytes()))
    elif transparency:
        parts.append(chunk(b"tRNS", bytes(2 * CHANNELS[color])))
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    return b"".join([*parts, chunk(b"IDAT", zlib.compress(data)), chunk(b"IEND", b"")])
