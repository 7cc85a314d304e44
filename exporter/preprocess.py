"""From an image file to the network's input tensor, by the `Preprocess` contract.

Resizing is Pillow's (antialiased, separable, 8-bit fixed point); tests/test_preprocess.py states
that algorithm independently, so that apps in other languages can follow it byte for byte.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from exporter.errors import DataError
from exporter.spec import ChannelOrder, Preprocess, ResizeFilter, ResizeRule

FILTERS = {
    ResizeFilter.BILINEAR: Image.Resampling.BILINEAR,
    ResizeFilter.BICUBIC: Image.Resampling.BICUBIC,
}
LARGEST_RESULT = 1 << 28  # pixels of a photo that was resized and is not yet cropped
SIXTEEN_BITS_AS_I = ("PNG", "PPM")  # formats of 16 bits at most, which Pillow may widen to 32
NUMBERS = {"I": "32-bit integer", "F": "floating-point"}


def read_image(path: Path) -> Image.Image:
    """Decode a file to 8-bit RGB with its EXIF orientation applied; 16 bits keep the upper 8.

    Raises DataError for a file that is missing or not an image, or whose numbers have no range.
    """
    if path.is_dir():
        raise DataError(f"{path}: a directory, not an image", "pass a JPEG, PNG or WebP file")
    return decode_image(path, str(path))


def decode_image(file: Path | BinaryIO, name: str) -> Image.Image:
    """`read_image` of a file or of bytes in memory; errors call it `name`."""
    try:
        with Image.open(file) as image:
            image.load()
            mode, kind = image.mode, image.format
            upright = ImageOps.exif_transpose(image)
    except FileNotFoundError:
        raise DataError(f"{name}: no such image") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        if isinstance(error, UnidentifiedImageError) and not isinstance(file, Path):
            reason = "no known format"
        raise DataError(
            f"{name}: cannot be decoded as an image ({reason})", "pass a JPEG, PNG or WebP file"
        ) from None
    except Image.DecompressionBombError:
        raise DataError(f"{name}: the image has too many pixels", "scale it down first") from None
    if mode.startswith("I;16") or (mode == "I" and kind in SIXTEEN_BITS_AS_I):
        # Pillow would clip at 255; of 16-bit colors it keeps the upper byte, and so do we of gray.
        upper = np.right_shift(np.asarray(upright), 8).astype(np.uint8)
        return Image.fromarray(upper).convert("RGB")
    if mode in ("I", "F"):
        raise DataError(
            f"{name}: {NUMBERS[mode]} pixels, and the file does not say which of them is white",
            "convert it to 8 or 16 bits per channel first",
        )
    if mode == "P" and "transparency" in upright.info:
        upright = upright.convert("RGBA")  # Pillow warns of the direct way; the colors are the same
    return upright.convert("RGB")


def resize(image: Image.Image, contract: Preprocess) -> Image.Image:
    """Steps 2 and 3 of the contract: an RGB image of crop_size x crop_size.

    Raises DataError where that would first take gigabytes, as a photo of one row does.
    """
    size = contract.resize_size
    if contract.resize_rule is ResizeRule.STRETCH:
        target = (size, size)
    else:
        width, height = image.size
        short, long = min(width, height), max(width, height)
        other = max(size, int(size * long / short))
        target = (size, other) if width <= height else (other, size)
    if target[0] * max(target[1], image.height) > LARGEST_RESULT:
        raise DataError(
            f"a photo of {image.width} x {image.height} would become {target[0]} x {target[1]}",
            "crop it first",
        )
    kind = FILTERS[contract.resize_filter]
    # Width first, then height, each rounded to 8 bits. Asked for both at once, Pillow chooses the
    # order by its version and the photo's shape, and the bytes of tall photos depend on it.
    image = image.resize((target[0], image.height), kind)
    image = image.resize(target, kind)
    return center_crop(image, contract.crop_size)


def center_crop(image: Image.Image, size: int) -> Image.Image:
    """The middle size x size pixels; half pixels round to even (torchvision's CenterCrop)."""
    left, top = round((image.width - size) / 2), round((image.height - size) / 2)
    return image.crop((left, top, left + size, top + size))


def to_pixels(image: Image.Image, contract: Preprocess) -> np.ndarray:
    """Steps 2 and 3: uint8 RGB (crop_size, crop_size, 3)."""
    return np.asarray(resize(image, contract))


def normalize(pixels: np.ndarray, contract: Preprocess) -> np.ndarray:
    """Steps 4 to 6: uint8 RGB (n, h, w, 3) -> float32 (n, 3, h, w)."""
    scale, bias = contract.affine()
    if contract.channel_order is ChannelOrder.BGR:
        pixels = pixels[..., ::-1]
    x = pixels.astype(np.float32) * scale + bias
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2))


def load_pixels(path: Path, contract: Preprocess) -> np.ndarray:
    """Steps 1 to 3 for one file: uint8 RGB (crop_size, crop_size, 3)."""
    return to_pixels(read_image(path), contract)
