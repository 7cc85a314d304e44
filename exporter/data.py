"""Images for calibration and parity: read, split, filled up with crops where they are few."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from exporter.errors import DataError
from exporter.preprocess import read_image, to_pixels
from exporter.spec import Preprocess

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm"})
CALIBRATION_COUNT = 96  # images; ranges and mean errors need no more
TRAINING_COUNT = 192  # for block-wise training, which fits fewer too closely
HOLDOUT_COUNT = 32
MIN_PHOTOS_TO_SPLIT = 10  # below it whole photos are too few to hold out; their parts are split
HOLDOUT_EVERY = 5
MAX_UNREADABLE = 0.1  # of all files; more means a wrong folder rather than a bad file
KEPT_SIDES = 3  # of the network's input, kept of a photo's shorter side to take crops from
SMALLEST_PHOTO = 8  # pixels
SMALLEST_CROP = 0.35  # of the shorter side, and never upscaled if the photo allows it


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageSet:
    """Unlabeled images at the network's resolution, uint8 RGB (n, r, r, 3)."""

    calibration: np.ndarray
    holdout: np.ndarray
    origin: str  # one line for the user
    notes: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        """Digest of the calibration pixels."""
        return hashlib.sha256(np.ascontiguousarray(self.calibration).tobytes()).hexdigest()


def find_images(paths: Iterable[Path]) -> list[Path]:
    """Image files among `paths` and below the directories among them, sorted.

    Raises DataError when a path is missing or nothing is found.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += [p for p in path.rglob("*") if _is_photo(p)]
        elif path.exists():
            found.append(path)
        else:
            raise DataError(f"{path}: no such file or directory", "check --calibration")
    if not found:
        names = ", ".join(str(p) for p in paths)
        raise DataError(f"{names}: no images found", f"looked for {' '.join(sorted(SUFFIXES))}")
    return sorted(set(found))


def chosen_images(paths: Iterable[Path], count: int) -> list[Path]:
    """The files that `load_image_set` reads: of many, twice as many as asked for, evenly chosen."""
    files, limit = find_images(paths), 2 * count
    if len(files) <= limit:
        return files
    return [files[i * len(files) // limit] for i in range(limit)]


def _is_photo(path: Path) -> bool:
    """Not a hidden file, and not one of the golden images that a build has left there."""
    ours = path.parent.name == "golden" and (path.parent / "expected.json").exists()
    return path.suffix.lower() in SUFFIXES and path.is_file() and path.name[0] != "." and not ours


def load_image_set(
    paths: Iterable[Path], contract: Preprocess, count: int = CALIBRATION_COUNT
) -> ImageSet:
    """Calibration and hold-out images that share no photo, or, of few photos, no pixel.

    Ten photos or more: every fifth is held out. Fewer: one half of each photo calibrates, the other
    is held out. Either part is filled up with random crops (fixed seed), so
    that two photos are enough to start with. Raises DataError when too many files are unreadable.
    """
    photos, notes = _read_all(chosen_images(paths, count), contract)
    if len(photos) >= MIN_PHOTOS_TO_SPLIT:
        held = photos[HOLDOUT_EVERY - 1 :: HOLDOUT_EVERY]
        used = [p for i, p in enumerate(photos) if i % HOLDOUT_EVERY != HOLDOUT_EVERY - 1]
        how = f"{len(used)} photos to calibrate, {len(held)} held out"
    else:
        used, held = ([_half(p, i, contract) for p in photos] for i in (0, 1))
        plural = "photo" if len(photos) == 1 else "photos"
        how = f"{len(photos)} {plural}, one half of each to calibrate, the other held out"
    return ImageSet(
        calibration=_fill(used, count, contract, seed=0),
        holdout=_fill(held, HOLDOUT_COUNT, contract, seed=1),
        origin=f"{how}; filled up with crops to {count} and {HOLDOUT_COUNT}",
        notes=notes,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Photo:
    """What is kept of a decoded file: megabytes at most, however many megapixels it had."""

    pixels: np.ndarray  # by the contract, from the original
    reduced: Image.Image  # to take crops from


def _keep(image: Image.Image, contract: Preprocess) -> _Photo:
    factor = KEPT_SIDES * contract.crop_size / min(image.size)
    reduced = image
    if factor < 1.0:
        size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
        reduced = image.resize(size, Image.Resampling.BICUBIC)
    return _Photo(pixels=to_pixels(image, contract), reduced=reduced)


def _read_all(files: list[Path], contract: Preprocess) -> tuple[list[_Photo], tuple[str, ...]]:
    """Decode the files; name the unreadable ones."""
    photos, bad = [], []
    for file in files:
        try:
            image = read_image(file)
            if min(image.size) < SMALLEST_PHOTO:
                raise DataError(f"{file}: {image.width} x {image.height} pixels are no photo")
            photos.append(_keep(image, contract))
        except DataError as error:
            bad.append(error.message)
    if len(bad) > MAX_UNREADABLE * len(files):
        raise DataError(
            f"{len(bad)} of {len(files)} images cannot be read, first: {bad[0]}",
            "check the calibration folder",
        )
    return photos, tuple(f"skipped {message}" for message in bad)


def _half(photo: _Photo, which: int, contract: Preprocess) -> _Photo:
    """The first (0) or second (1) half of a photo along its longer side."""
    image = photo.reduced
    width, height = image.size
    if width >= height:
        cut = width // 2
        box = (0, 0, cut, height) if which == 0 else (cut, 0, width, height)
    else:
        cut = height // 2
        box = (0, 0, width, cut) if which == 0 else (0, cut, width, height)
    half = image.crop(box)
    return _Photo(pixels=to_pixels(half, contract), reduced=half)


def _fill(photos: list[_Photo], count: int, contract: Preprocess, seed: int) -> np.ndarray:
    """`count` images: the photos themselves, then random square crops of them in turn."""
    random = np.random.Generator(np.random.PCG64(seed))
    images = [photo.pixels for photo in photos[:count]]
    while len(images) < count:
        photo = photos[len(images) % len(photos)].reduced
        images.append(to_pixels(_random_crop(photo, contract.crop_size, random), contract))
    return np.stack(images)


def _random_crop(photo: Image.Image, network_side: int, random: np.random.Generator) -> Image.Image:
    side = min(photo.size)
    smallest = min(side, max(network_side, round(side * SMALLEST_CROP)))
    size = int(random.integers(smallest, side + 1))
    left = int(random.integers(0, photo.width - size + 1))
    top = int(random.integers(0, photo.height - size + 1))
    return photo.crop((left, top, left + size, top + size))
