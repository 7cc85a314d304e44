"""The preprocessing contract, stated a second time and compared byte for byte."""

import hashlib
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from exporter.errors import DataError
from exporter.preprocess import load_pixels, normalize, read_image, resize, to_pixels
from exporter.spec import (
    ChannelOrder,
    Preprocess,
    ResizeFilter,
    ResizeRule,
    keras_preprocess,
    torchvision_preprocess,
)

PRECISION_BITS = 32 - 8 - 2  # of Pillow's fixed-point coefficients
SIZES = [(17, 31), (64, 64), (200, 133), (641, 480), (50, 900)]


def triangle(x: float) -> float:
    return max(0.0, 1.0 - abs(x))


def catmull_rom(x: float, a: float = -0.5) -> float:
    x = abs(x)
    if x < 1.0:
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    return (((x - 5.0) * x + 8.0) * x - 4.0) * a if x < 2.0 else 0.0


KERNELS = {ResizeFilter.BILINEAR: (triangle, 1.0), ResizeFilter.BICUBIC: (catmull_rom, 2.0)}


def resample_axis(pixels: np.ndarray, size: int, kind: ResizeFilter) -> np.ndarray:
    """One pass along axis 1, as Pillow's C code does it: 22-bit weights, 8-bit result."""
    kernel, radius = KERNELS[kind]
    length = pixels.shape[1]
    scale = length / size
    stretch = max(scale, 1.0)  # antialiasing: the filter widens when shrinking
    support = radius * stretch
    rows = []
    for index in range(size):
        center = (index + 0.5) * scale
        first = max(0, int(center - support + 0.5))
        last = min(length, int(center + support + 0.5))
        weights = [kernel((i - center + 0.5) / stretch) for i in range(first, last)]
        total = sum(weights)
        fixed = [math.floor(abs(w / total) * (1 << PRECISION_BITS) + 0.5) * (-1 if w < 0 else 1)
                 for w in weights]  # fmt: skip
        taken = pixels[:, first:last].astype(np.int64)
        sums = np.einsum("hwc,w->hc", taken, np.asarray(fixed, np.int64))
        rows.append(np.clip((sums + (1 << (PRECISION_BITS - 1))) >> PRECISION_BITS, 0, 255))
    return np.stack(rows, axis=1).astype(np.uint8)


def resample(pixels: np.ndarray, width: int, height: int, kind: ResizeFilter) -> np.ndarray:
    """Horizontal pass, then vertical; a pass that changes nothing is left out."""
    if width != pixels.shape[1]:
        pixels = resample_axis(pixels, width, kind)
    if height != pixels.shape[0]:
        pixels = resample_axis(pixels.swapaxes(0, 1), height, kind).swapaxes(0, 1)
    return pixels


def picture(width: int, height: int) -> Image.Image:
    random = np.random.Generator(np.random.PCG64(width * 1000 + height))
    coarse = random.integers(0, 256, (height // 4 + 2, width // 4 + 2, 3), np.uint8)
    smooth = np.kron(coarse, np.ones((4, 4, 1), np.uint8))[:height, :width]
    speckle = random.integers(-40, 41, smooth.shape)
    return Image.fromarray(np.clip(smooth + speckle, 0, 255).astype(np.uint8))


@pytest.mark.parametrize("kind", list(ResizeFilter))
@pytest.mark.parametrize("rule", list(ResizeRule))
@pytest.mark.parametrize("size", SIZES)
def test_resize_is_the_stated_algorithm(
    size: tuple[int, int], rule: ResizeRule, kind: ResizeFilter
) -> None:
    """Every byte equals an independent statement of antialiased fixed-point resampling."""
    image = picture(*size)
    contract = Preprocess(resize_rule=rule, resize_size=96, resize_filter=kind, crop_size=80)
    if rule is ResizeRule.STRETCH:
        width = height = 96
    elif size[0] <= size[1]:
        width, height = 96, int(96 * size[1] / size[0])
    else:
        width, height = int(96 * size[0] / size[1]), 96
    full = resample(np.asarray(image), width, height, kind)
    top, left = round((height - 80) / 2), round((width - 80) / 2)
    assert np.array_equal(
        np.asarray(resize(image, contract)), full[top : top + 80, left : left + 80]
    )


@pytest.mark.parametrize("kind", list(ResizeFilter))
@pytest.mark.parametrize("size", SIZES[:4])
def test_resize_equals_pillows_own(size: tuple[int, int], kind: ResizeFilter) -> None:
    """One call to Pillow gives the same bytes (of very tall photos it swaps the two passes)."""
    image = picture(*size)
    contract = Preprocess(
        resize_rule=ResizeRule.STRETCH, resize_size=96, resize_filter=kind, crop_size=96
    )
    pillows = image.resize((96, 96), getattr(Image.Resampling, kind.name))
    assert np.array_equal(to_pixels(image, contract), np.asarray(pillows))


@pytest.mark.parametrize(
    ("kind", "digest"),
    [
        (ResizeFilter.BILINEAR, "2c884bbf"),
        (ResizeFilter.BICUBIC, "a75914ec"),
    ],
)
def test_golden_resize(kind: ResizeFilter, digest: str) -> None:
    """Frozen bytes: a Pillow that resizes otherwise would change every calibrated artifact."""
    contract = Preprocess(resize_size=64, crop_size=56, resize_filter=kind)
    pixels = to_pixels(picture(200, 133), contract)
    assert hashlib.sha256(pixels.tobytes()).hexdigest()[:8] == digest


def test_golden_gradient() -> None:
    """Worked out by hand: 4 -> 2 pixels with a triangle twice as wide, cut off at the border."""
    row = np.array([[0, 80, 160, 240]] * 2, np.uint8)
    image = Image.fromarray(np.repeat(row[..., None], 3, axis=2))
    resized = np.asarray(image.resize((2, 2), Image.Resampling.BILINEAR))[0, :, 0]
    # left output: center 1.0, weights at 0.5, 1.5, 2.5 are .75, .75, .25 of 1.75
    assert resized.tolist() == [round((0.75 * 80 + 0.25 * 160) / 1.75), round(
        (0.25 * 80 + 0.75 * 160 + 0.75 * 240) / 1.75
    )]  # fmt: skip


def test_torchvision_normalization() -> None:
    """(u / 255 - mean) / std, as torchvision's ToTensor and Normalize compute it, to float32."""
    pixels = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    x = normalize(pixels, torchvision_preprocess(16 * 14))
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    exact = ((pixels / 255.0 - mean) / std).transpose(0, 3, 1, 2)
    assert x.dtype == np.float32
    assert np.abs(x - exact).max() < 1e-6


def test_channel_order_swaps_the_image_and_not_the_statistics() -> None:
    contract = Preprocess(channel_order=ChannelOrder.BGR, mean=(0.1, 0.2, 0.3))
    red = np.zeros((1, 2, 2, 3), np.uint8)
    red[..., 0] = 255
    x = normalize(red, contract)
    assert np.allclose(x[0, :, 0, 0], [-0.1, -0.2, 1 - 0.3])


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    image = picture(40, 20)
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees clockwise to view
    image.save(tmp_path / "phone.png", exif=exif)
    contract = keras_preprocess(32)
    upright = to_pixels(image.transpose(Image.Transpose.ROTATE_270), contract)
    assert np.array_equal(load_pixels(tmp_path / "phone.png", contract), upright)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1", "I;16"])
def test_every_color_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    image = picture(30, 30).convert("L") if mode == "I;16" else picture(30, 30)
    image.convert(mode).save(tmp_path / "image.tiff")
    assert load_pixels(tmp_path / "image.tiff", keras_preprocess(32)).shape == (32, 32, 3)


@pytest.mark.parametrize("name", ["gray.png", "gray.tiff", "gray.pgm"])
def test_sixteen_bits_keep_their_upper_byte(tmp_path: Path, name: str) -> None:
    """Whole range, so that black stays black and white stays white; Pillow alone clips at 255."""
    values = np.arange(0, 1 << 16, 64, dtype=np.uint16).reshape(32, 32)
    path = tmp_path / name
    if path.suffix == ".pgm":
        path.write_bytes(b"P5 32 32 65535\n" + values.astype(">u2").tobytes())
    else:
        Image.fromarray(values).save(path)
    pixels = np.asarray(read_image(path))
    assert np.array_equal(pixels, np.repeat((values >> 8)[..., None], 3, axis=2))
    assert (pixels.min(), pixels.max()) == (0, 255)


def test_sixteen_bit_orientation_is_applied(tmp_path: Path) -> None:
    values = np.arange(0, 1 << 16, 128, dtype=np.uint16).reshape(16, 32)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(values).save(tmp_path / "scan.png", exif=exif)
    pixels = np.asarray(read_image(tmp_path / "scan.png"))
    assert np.array_equal(pixels[..., 0], np.rot90(values >> 8, -1))


@pytest.mark.parametrize(
    ("dtype", "said"), [(np.float32, "floating-point"), (np.int32, "32-bit integer")]
)
def test_numbers_without_a_range_are_refused(tmp_path: Path, dtype: type, said: str) -> None:
    """White may be 1.0, 255 or anything else: a guess would be a wrong picture."""
    path = tmp_path / "depth.tiff"
    Image.fromarray(np.ones((8, 8), dtype)).save(path)
    with pytest.raises(DataError, match=rf"depth\.tiff: {said} pixels"):
        read_image(path)


def test_a_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a directory, not an image") as caught:
        read_image(tmp_path)
    assert "Errno" not in caught.value.message


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n truncated"])
def test_unreadable_images_are_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.png"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"broken\.png"):
        load_pixels(path, keras_preprocess(32))


def test_truncated_jpeg_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cut.jpg"
    picture(200, 200).save(path)
    path.write_bytes(path.read_bytes()[:800])
    with pytest.raises(DataError, match=r"cut\.jpg"):
        load_pixels(path, keras_preprocess(32))


def test_contract_survives_json() -> None:
    contract = torchvision_preprocess(192)
    assert Preprocess.from_json(contract.to_json()) == contract
