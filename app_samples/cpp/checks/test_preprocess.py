"""The contract up to the network's input, byte for byte and bit for bit as Python does it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from conftest import SANITIZED, pixels_of, run, write_contract
from made_images import picture
from PIL import Image

from exporter.errors import DataError
from exporter.preprocess import load_pixels, normalize
from exporter.spec import (
    ChannelOrder,
    Preprocess,
    ResizeFilter,
    ResizeRule,
    torchvision_preprocess,
)

# One row, one column, tiny, tall, wide, smaller, equal, prime and much larger.
SIZES = [
    (1, 1), (1, 7), (7, 1), (1, 300), (300, 1), (2, 3), (3, 2), (17, 31), (31, 17), (50, 900),
    (900, 50), (63, 64), (64, 64), (64, 65), (64, 96), (96, 64), (97, 89), (200, 133), (257, 263),
    (641, 480), (480, 641), (1999, 1503),
]  # fmt: skip
SHAPES = [(64, 64), (64, 63), (64, 57), (97, 64), (33, 1)]  # resized to, cropped to


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One PNG of every size."""
    folder = tmp_path_factory.mktemp("pictures")
    paths = [folder / f"{width}x{height}.png" for width, height in SIZES]
    for path, size in zip(paths, SIZES, strict=True):
        picture(*size).save(path)
    return paths


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rule", list(ResizeRule))
@pytest.mark.parametrize("kind", list(ResizeFilter))
def test_resize_and_crop(
    pictures: list[Path],
    tmp_path: Path,
    kind: ResizeFilter,
    rule: ResizeRule,
    shape: tuple[int, int],
) -> None:
    """Every byte, for every size, filter and rule."""
    contract = Preprocess(
        resize_rule=rule, resize_filter=kind, resize_size=shape[0], crop_size=shape[1]
    )
    expected = np.stack([load_pixels(path, contract) for path in pictures])
    assert np.array_equal(pixels_of(SANITIZED, tmp_path, contract, pictures), expected)


@pytest.mark.parametrize("order", list(ChannelOrder))
def test_normalization(tmp_path: Path, order: ChannelOrder) -> None:
    """Bit for bit for all 256 values in every channel."""
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    pixels = np.stack([values, values.T, values[::-1]], axis=-1)
    Image.fromarray(pixels).save(tmp_path / "values.png")
    contract = dataclasses.replace(
        torchvision_preprocess(16), channel_order=order, resize_size=16, crop_size=16
    )
    model = write_contract(tmp_path / "contract", contract)
    dump = tmp_path / "input"
    done = run(SANITIZED, "--model", model, "--dump-input", dump, tmp_path / "values.png")
    assert done.code == 0, done.error
    assert dump.read_bytes() == normalize(pixels[None], contract).tobytes()


def test_photos(photos: list[Path], tmp_path: Path) -> None:
    """Real JPEG files, with the contract of torchvision's weights."""
    contract = torchvision_preprocess(224)
    expected = np.stack([load_pixels(path, contract) for path in photos])
    assert np.array_equal(pixels_of(SANITIZED, tmp_path, contract, photos), expected)


def test_too_thin_a_photo_is_refused_as_python_does(tmp_path: Path) -> None:
    """It would take gigabytes before the crop."""
    Image.new("RGB", (100000, 1)).save(tmp_path / "thin.png")
    contract = torchvision_preprocess(224)
    with pytest.raises(DataError, match="would become"):
        load_pixels(tmp_path / "thin.png", contract)
    model = write_contract(tmp_path / "contract", contract)
    done = run(SANITIZED, "--model", model, "--dump-pixels", "/dev/null", tmp_path / "thin.png")
    assert done.code == 3
    assert "too thin" in done.error
