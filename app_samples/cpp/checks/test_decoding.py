"""Image files of every kind become the RGB bytes that Python reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SANITIZED, pixels_of
from made_images import DEPTHS, PALETTE, chunk, noise_png, picture
from PIL import Image

from exporter.preprocess import load_pixels
from exporter.spec import Preprocess, ResizeRule

SIDE = 45  # px; odd, so that half-size chroma and packed bits do not end evenly
AS_IT_IS = Preprocess(resize_rule=ResizeRule.STRETCH, resize_size=SIDE, crop_size=SIDE)
XMP = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><tiff:Orientation>6</tiff:Orientation></x:xmpmeta>'
KINDS = [  # color type, depth, whether a tRNS chunk says what is transparent
    (color, depth, transparency)
    for color, depths in DEPTHS.items()
    for depth in depths
    for transparency in ((False, True) if color <= PALETTE else (False,))
]


def check(folder: Path, *images: Path) -> None:
    """The runner's bytes are Python's; nothing is resized."""
    expected = np.stack([load_pixels(path, AS_IT_IS) for path in images])
    assert np.array_equal(pixels_of(SANITIZED, folder, AS_IT_IS, images), expected)


@pytest.mark.parametrize(("color", "depth", "transparency"), KINDS)
def test_png(tmp_path: Path, color: int, depth: int, transparency: bool) -> None:
    """Of every color type and depth; alpha is dropped, 16 bits keep their upper byte."""
    path = tmp_path / "noise.png"
    path.write_bytes(noise_png(SIDE, depth, color, transparency=transparency))
    check(tmp_path, path)


def test_interlaced_png(tmp_path: Path) -> None:
    """Seven passes, as a fixed file: Pillow does not write them."""
    import struct
    import zlib

    pixels = np.asarray(picture(SIDE, SIDE))
    starts = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2)]
    rows = [
        b"\0" + row.tobytes()
        for x, y, dx, dy in [*starts, (0, 1, 1, 2)]
        for row in pixels[y::dy, x::dx]
    ]
    fields = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 1)
    parts = [chunk(b"IHDR", fields), chunk(b"IDAT", zlib.compress(b"".join(rows)))]
    path = tmp_path / "interlaced.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join([*parts, chunk(b"IEND", b"")]))
    assert np.array_equal(load_pixels(path, AS_IT_IS), pixels)
    check(tmp_path, path)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize(
    "options",
    [
        {"quality": 95, "subsampling": 0},
        {"quality": 60, "subsampling": 1},
        {"quality": 30, "subsampling": 2},
        {"quality": 80, "progressive": True},
        {"quality": 80, "restart_marker_rows": 1},
    ],
)
def test_jpeg(tmp_path: Path, mode: str, options: dict[str, Any]) -> None:
    """Gray, color and inks; full and halved chroma; progressive; with restart markers."""
    path = tmp_path / "image.jpg"
    picture(SIDE, SIDE).convert(mode).save(path, **options)
    check(tmp_path, path)


def test_jpeg_without_color_transform(tmp_path: Path) -> None:
    """Adobe's marker says that the three components are RGB itself."""
    path = tmp_path / "rgb.jpg"
    picture(SIDE, SIDE).save(path, keep_rgb=True, quality=90)
    check(tmp_path, path)


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("name", ["image.jpg", "image.png"])
def test_exif_orientation(tmp_path: Path, orientation: int, name: str) -> None:
    """All eight, and two that mean nothing."""
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    exif[0x0112] = orientation
    path = tmp_path / name
    picture(40, 23).save(path, exif=exif)
    check(tmp_path, path)


@pytest.mark.parametrize("start", [b"II*\0", b"MM\0*"])
def test_exif_in_both_byte_orders(tmp_path: Path, start: bytes) -> None:
    """Intel's and Motorola's, written by hand."""
    order = "little" if start[0] == ord("I") else "big"
    tag = (0x0112).to_bytes(2, order) + (3).to_bytes(2, order) + (1).to_bytes(4, order)
    entry = tag + (8).to_bytes(2, order) + bytes(2)
    block = start + (8).to_bytes(4, order) + (1).to_bytes(2, order) + entry + bytes(4)
    picture(40, 23).save(tmp_path / "image.jpg", exif=b"Exif\0\0" + block)
    check(tmp_path, tmp_path / "image.jpg")


def test_xmp_orientation(tmp_path: Path) -> None:
    """Where there is no EXIF; where there is, EXIF counts."""
    exif = Image.Exif()
    exif[0x0112] = 3
    picture(40, 23).save(tmp_path / "xmp.jpg", xmp=XMP.encode())
    picture(40, 23).save(tmp_path / "both.jpg", xmp=XMP.encode(), exif=exif)
    check(tmp_path, tmp_path / "xmp.jpg", tmp_path / "both.jpg")


@pytest.mark.parametrize("head", [b"P6\n45 45\n255\n", b"P6 #a comment\n45\t45 #another\n255\n"])
def test_ppm(tmp_path: Path, head: bytes) -> None:
    """Headers with and without comments."""
    path = tmp_path / "image.ppm"
    path.write_bytes(head + picture(SIDE, SIDE).tobytes())
    check(tmp_path, path)


def test_pgm(tmp_path: Path) -> None:
    """Gray becomes three equal channels."""
    path = tmp_path / "image.pgm"
    path.write_bytes(b"P5 45 45 255\n" + picture(SIDE, SIDE).convert("L").tobytes())
    check(tmp_path, path)
