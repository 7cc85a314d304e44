"""The app's preprocessing against the exporter's, byte for byte and bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from driver import Driver, contract_json
from PIL import Image, ImageOps

from exporter.preprocess import normalize, to_pixels
from exporter.spec import ChannelOrder, Preprocess, ResizeFilter, ResizeRule

SIZES = [
    (1, 1),
    (1, 7),
    (7, 1),
    (1, 40),
    (2, 3),
    (3, 2),
    (31, 97),  # primes
    (97, 31),
    (50, 900),
    (900, 50),
    (24, 24),  # nothing to resize
    (32, 32),
    (24, 61),  # one side fits
    (13, 11),  # upscale
    (641, 480),
    (3001, 2003),  # a photo
]
STORED = (6, 5)  # an image that every orientation shows differently


def filled(jpeg: bytes) -> bytes:
    """Filling before the EXIF segment, which the format allows."""
    return jpeg.replace(b"\xff\xe1", b"\xff\xff\xff\xe1", 1)


def odd(webp: bytes) -> bytes:
    """A chunk of odd size, which is padded, before the EXIF chunk."""
    chunks = webp[8:].replace(b"EXIF", b"odd \x03\0\0\0abc\0EXIF", 1)
    return b"RIFF" + len(chunks).to_bytes(4, "little") + chunks


UNUSUAL = {"jpeg": filled, "png": bytes, "webp": odd}


def picture(width: int, height: int) -> np.ndarray:
    """Noise with edges, so that filters ring and clip."""
    random = np.random.Generator(np.random.PCG64(width * 10007 + height))
    blocks = random.integers(0, 2, (height // 5 + 1, width // 5 + 1, 3), np.uint8) * 255
    sharp = np.kron(blocks, np.ones((5, 5, 1), np.uint8))[:height, :width].astype(np.int64)
    return np.clip(sharp + random.integers(-60, 61, sharp.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("size", SIZES, ids="{0[0]}x{0[1]}".format)
@pytest.mark.parametrize("kind", list(ResizeFilter))
@pytest.mark.parametrize("rule", list(ResizeRule))
def test_resizes_and_crops_as_pillow(
    driver: Driver, tmp_path: Path, size: tuple[int, int], kind: ResizeFilter, rule: ResizeRule
) -> None:
    """Both filters and rules, with a crop that is smaller and one that is not."""
    photo = picture(*size)
    (tmp_path / "rgb").write_bytes(photo.tobytes())
    for resized, crop in ((24, 24), (32, 23)):
        contract = Preprocess(
            resize_rule=rule,
            resize_filter=kind,
            resize_size=resized,
            crop_size=crop if rule is ResizeRule.SHORTEST else resized,
        )
        answer = driver.ask(
            "prepare",
            width=size[0],
            height=size[1],
            rgb=tmp_path / "rgb",
            contract=contract_json(contract),
            pixels=tmp_path / "pixels",
            input=tmp_path / "input",
        )
        assert answer == {}
        expected = to_pixels(Image.fromarray(photo), contract)
        assert (tmp_path / "pixels").read_bytes() == expected.tobytes()
        assert (tmp_path / "input").read_bytes() == normalize(expected[None], contract).tobytes()


@pytest.mark.parametrize("order", list(ChannelOrder))
def test_normalizes_every_value_of_a_byte(
    driver: Driver, tmp_path: Path, order: ChannelOrder
) -> None:
    """Two float32 roundings, in three channels that differ."""
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    image = np.stack([values, np.rot90(values), values.T], axis=-1)
    (tmp_path / "rgb").write_bytes(image.tobytes())
    contract = Preprocess(
        resize_size=16,
        crop_size=16,
        channel_order=order,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    )
    driver.ask(
        "prepare",
        width=16,
        height=16,
        rgb=tmp_path / "rgb",
        contract=contract_json(contract),
        pixels=tmp_path / "pixels",
        input=tmp_path / "input",
    )
    assert (tmp_path / "input").read_bytes() == normalize(image[None], contract).tobytes()


def test_a_photo_that_would_take_gigabytes_is_refused(driver: Driver, tmp_path: Path) -> None:
    """As the exporter refuses it."""
    (tmp_path / "rgb").write_bytes(bytes(3 * 30000))
    contract = Preprocess(resize_size=224, crop_size=224)
    answer = driver.ask(
        "prepare",
        width=30000,
        height=1,
        rgb=tmp_path / "rgb",
        contract=contract_json(contract),
        pixels=tmp_path / "pixels",
        input=tmp_path / "input",
    )
    assert answer == {"error": "TOO_LARGE"}


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("form", ["jpeg", "png", "webp"])
@pytest.mark.parametrize("gap", [0, 8])
def test_turns_photos_as_pillow(
    driver: Driver, tmp_path: Path, orientation: int, form: str, gap: int
) -> None:
    """All eight, and two codes that mean nothing; rows may have gaps."""
    width, height = STORED
    exif = Image.Exif()
    exif[0x010F] = "maker"  # an entry before it
    exif[0x0112] = orientation
    file = tmp_path / f"photo.{form}"
    Image.fromarray(picture(width, height)).save(file, exif=exif)
    if gap:
        file.write_bytes(UNUSUAL[form](file.read_bytes()))
    answer = ask_upright(driver, tmp_path, file, gap)
    with Image.open(file) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert (answer["height"], answer["width"]) == expected.shape[:2]
    assert (tmp_path / "out").read_bytes() == expected.tobytes()


@pytest.mark.parametrize("keep", [3, 10, 20, 30, 40])
@pytest.mark.parametrize("form", ["jpeg", "png", "webp"])
def test_damaged_files_have_no_orientation(
    driver: Driver, tmp_path: Path, form: str, keep: int
) -> None:
    """The decoder says what is wrong with the pixels; EXIF that ends early is none."""
    exif = Image.Exif()
    exif[0x0112] = 6
    file = tmp_path / f"photo.{form}"
    Image.fromarray(picture(*STORED)).save(file, exif=exif)
    whole = file.read_bytes()
    cut = tmp_path / "cut"
    cut.write_bytes(whole[:keep])
    answer = ask_upright(driver, tmp_path, file, 0, exif_of=cut)
    assert (answer["width"], answer["height"]) == STORED


def ask_upright(
    driver: Driver, folder: Path, file: Path, gap: int, exif_of: Path | None = None
) -> dict[str, int]:
    """The file's pixels as they are stored, with a gap after every row, and its EXIF."""
    with Image.open(file) as image:
        stored = np.asarray(image.convert("RGBA"))
    height, width = stored.shape[:2]
    rows = np.zeros((height, width * 4 + gap), np.uint8)
    rows[:, : width * 4] = stored.reshape(height, -1)
    (folder / "rgba").write_bytes(rows.tobytes())
    return driver.ask(
        "upright",
        width=width,
        height=height,
        stride=rows.shape[1],
        rgba=folder / "rgba",
        file=exif_of or file,
        out=folder / "out",
    )
