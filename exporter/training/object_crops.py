"""Views of pictures with boxes or masks: the contract's own, and random ones to train on.

Boxes: SSD's zoom-out, crops that objects overlap, mirror and light (Liu et al. 2016, section 2.2,
and its data augmentation for small objects). Masks: DeepLab's scales, crop and mirror.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from exporter.detection.records import Objects
from exporter.preprocess import to_pixels
from exporter.segmentation import IGNORED
from exporter.spec import Preprocess
from exporter.training.augment import Augment, recolored
from exporter.training.windows import (
    Window,
    contract_size,
    contract_window,
    show,
    show_mask,
    whole,
)

WHOLE = None
ANY = 0.0
MIN_IOUS = (WHOLE, 0.1, 0.3, 0.5, 0.7, 0.9, ANY)  # SSD's options, equally likely
TRIES = 50  # of an option, before another is drawn
DRAWS = 10  # of options, before the whole picture
SMALLEST_CROP = 0.3  # of each side
MAX_ASPECT = 2.0
MAX_ZOOM = 4.0
MASK_SCALES = (0.5, 2.0)
HALF = 0.5  # the probability of everything that may or may not happen
BRIGHTNESS, CONTRAST, SATURATION, HUE = 32 / 255, 0.5, 0.5, 18 / 360  # SSD's


def prepare_objects(
    image: Image.Image, objects: Objects, contract: Preprocess, rng: np.random.Generator | None
) -> tuple[np.ndarray, Objects]:
    """Uint8 RGB (r, r, 3) and the objects on it: by the contract, or a random view.

    Raises DataError as `to_pixels` does.
    """
    if rng is None:
        seen = _seen(
            objects, image.size, contract_window(image.size, contract), cut_off_ignored=True
        )
        return to_pixels(image, contract), seen
    pixels = objects.boxes.astype(np.float64) * np.tile(image.size, 2)
    window = whole(image.size)
    if rng.random() < HALF:
        window = zoomed_out(window, rng)
    targets = pixels[~objects.ignored]
    if len(targets) == 0:
        targets = np.array([[0, 0, *image.size]])  # so that the background is seen the same way
    window = cropped(window, targets, rng)
    seen = _seen(objects, image.size, window, cut_off_ignored=False)
    view = show(image, window, contract)
    if rng.random() < HALF:
        view, seen = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT), _mirrored(seen)
    return np.asarray(_in_other_light(view, rng)), seen


def prepare_mask(
    image: Image.Image, mask: np.ndarray, contract: Preprocess, rng: np.random.Generator | None
) -> tuple[np.ndarray, np.ndarray]:
    """Uint8 RGB (r, r, 3) and uint8 labels (r, r): by the contract, or a random view.

    Raises DataError as `to_pixels` does.
    """
    if rng is None:
        window = contract_window(image.size, contract)
        return to_pixels(image, contract), show_mask(mask, window, contract.crop_size, IGNORED)
    window = scaled(image.size, contract, rng)
    view = show(image, window, contract)
    labels = show_mask(mask, window, contract.crop_size, IGNORED)
    if rng.random() < HALF:
        view, labels = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT), labels[:, ::-1].copy()
    return np.asarray(_in_other_light(view, rng)), labels


def zoomed_out(window: Window, rng: np.random.Generator) -> Window:
    """Up to `MAX_ZOOM` times as wide and high, with the old one anywhere in it."""
    factor = rng.uniform(1.0, MAX_ZOOM)
    width, height = window.width * factor, window.height * factor
    return Window(
        left=math.floor(window.left - rng.uniform(0.0, width - window.width)),
        top=math.floor(window.top - rng.uniform(0.0, height - window.height)),
        width=math.ceil(width),
        height=math.ceil(height),
    )


def cropped(window: Window, boxes: np.ndarray, rng: np.random.Generator) -> Window:
    """A part of a window that overlaps one of the objects by an IoU that is drawn, or all of it.

    `boxes` are corners in the picture's pixels, (m, 4).
    """
    for _ in range(DRAWS):
        least = MIN_IOUS[int(rng.integers(len(MIN_IOUS)))]
        if least is WHOLE:
            return window
        for _ in range(TRIES):
            crop = _random_part(window, rng)
            if crop is not None and _is_good(crop, boxes, least):
                return crop
    return window


def _random_part(window: Window, rng: np.random.Generator) -> Window | None:
    """In whole pixels; None where its sides are too different."""
    width = math.ceil(window.width * rng.uniform(SMALLEST_CROP, 1.0))
    height = math.ceil(window.height * rng.uniform(SMALLEST_CROP, 1.0))
    left = window.left + int(rng.integers(int(window.width) - width + 1))
    top = window.top + int(rng.integers(int(window.height) - height + 1))
    if not 1.0 / MAX_ASPECT <= width / height <= MAX_ASPECT:
        return None
    return Window(left=left, top=top, width=width, height=height)


def _is_good(crop: Window, boxes: np.ndarray, least: float) -> bool:
    """Whether an object whose center lies within has an IoU of `least` with the crop."""
    inside = boxes[centers_inside(crop.boxes(boxes))]
    return len(inside) > 0 and bool(overlaps(crop, inside).max() >= least)


def overlaps(crop: Window, boxes: np.ndarray) -> np.ndarray:
    """IoU of a window and of every box (m, 4), both in the picture's pixels -> (m,)."""
    low = np.maximum(boxes[:, :2], [crop.left, crop.top])
    high = np.minimum(boxes[:, 2:], [crop.left + crop.width, crop.top + crop.height])
    inner = (high - low).clip(0.0).prod(1)
    union = (boxes[:, 2:] - boxes[:, :2]).prod(1) + crop.width * crop.height - inner
    overlap: np.ndarray = inner / union
    return overlap


def centers_inside(fractions: np.ndarray) -> np.ndarray:
    """Bool (m,): whose center lies in the window that the corners are fractions of."""
    centers = (fractions[:, :2] + fractions[:, 2:]) / 2
    inside: np.ndarray = ((centers > 0.0) & (centers < 1.0)).all(1)
    return inside


def scaled(size: tuple[int, int], contract: Preprocess, rng: np.random.Generator) -> Window:
    """What the network sees when the contract's resize is followed by a random one and a crop."""
    scale = rng.uniform(*MASK_SCALES)
    lengths = [
        contract.crop_size * length / (resized * scale)
        for length, resized in zip(size, contract_size(size, contract), strict=True)
    ]
    # A window that is larger than the picture has it anywhere inside.
    left, top = (
        rng.uniform(min(0.0, full - part), max(0.0, full - part))
        for full, part in zip(size, lengths, strict=True)
    )
    return Window(left=left, top=top, width=lengths[0], height=lengths[1])


def _seen(
    objects: Objects, size: tuple[int, int], window: Window, *, cut_off_ignored: bool
) -> Objects:
    """The objects as the window shows them, clipped.

    One whose center lies outside is too little of an object to be one: it is ignored, or it goes.
    Ignored ones stay ignored as far as they are seen.
    """
    fractions = window.boxes(objects.boxes.astype(np.float64) * np.tile(size, 2))
    inside = centers_inside(fractions)
    boxes = fractions.clip(0.0, 1.0).astype(np.float32)
    ignored = objects.ignored | ~inside if cut_off_ignored else objects.ignored
    kept = (boxes[:, 2:] > boxes[:, :2]).all(1) & (inside | ignored)
    return Objects(boxes=boxes[kept], classes=objects.classes[kept], ignored=ignored[kept])


def _mirrored(objects: Objects) -> Objects:
    x1, y1, x2, y2 = objects.boxes.T
    boxes = np.stack([1 - x2, y1, 1 - x1, y2], 1)
    return Objects(boxes=boxes, classes=objects.classes, ignored=objects.ignored)


def _in_other_light(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Brightness, contrast, saturation and hue, each of them or not."""
    brightness, contrast, saturation, hue = (rng.random(4) < HALF).tolist()
    light = Augment(
        brightness=BRIGHTNESS * brightness,
        contrast=CONTRAST * contrast,
        saturation=SATURATION * saturation,
    )
    image = recolored(image, light, rng)
    return _hue_turned(image, rng.uniform(-HUE, HUE)) if hue else image


def _hue_turned(image: Image.Image, turn: float) -> Image.Image:
    """Hues moved by a share of the circle."""
    h, s, v = image.convert("HSV").split()
    moved = h.point([(level + round(turn * 256)) % 256 for level in range(256)])
    return Image.merge("HSV", (moved, s, v)).convert("RGB")
