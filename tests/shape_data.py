"""Pictures of colored rectangles on noise, with boxes as COCO has them or with masks in files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

COLORS = {"red": (220, 50, 50), "green": (50, 220, 50), "blue": (50, 50, 220)}
WIDTH, HEIGHT = 80, 64
SMALL = ("--width", "0.35", "--batch", "4", "--workers", "0")


def scene(seed: int) -> tuple[np.ndarray, np.ndarray, list[tuple[int, list[int]]]]:
    """Uint8 pixels (h, w, 3), a mask (h, w) and each rectangle's class from 1 on and x, y, w, h.

    Two rectangles, one in either half, so that none hides another.
    """
    rng = np.random.default_rng(seed)
    pixels = rng.normal(128, 30, (HEIGHT, WIDTH, 3))
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    found = []
    for half in range(2):
        kind = int(rng.integers(len(COLORS)))
        w, h = int(rng.integers(20, 36)), int(rng.integers(20, 50))
        x = half * WIDTH // 2 + int(rng.integers(0, WIDTH // 2 - w + 1))
        y = int(rng.integers(0, HEIGHT - h + 1))
        area = np.s_[y : y + h, x : x + w]
        pixels[area] = rng.normal(0, 15, (h, w, 3)) + np.array(list(COLORS.values())[kind])
        mask[area] = kind + 1
        found.append((kind + 1, [x, y, w, h]))
    return pixels.clip(0, 255).astype(np.uint8), mask, found


def boxes(path: Path, train: int = 12, val: int = 6) -> Path:
    """COCO's layout: `annotations/instances_<part>.json` and `<part>/`."""
    for part, count, first in (("train", train, 0), ("val", val, 1000)):
        (path / part).mkdir(parents=True)
        images, annotations = [], []
        for index in range(count):
            pixels, _, found = scene(first + index)
            name = f"{index:03}.png"
            Image.fromarray(pixels).save(path / part / name)
            images.append({"id": index, "file_name": name, "width": WIDTH, "height": HEIGHT})
            for kind, box in found:
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": index,
                        "category_id": kind,
                        "bbox": box,
                        "area": box[2] * box[3],
                        "iscrowd": 0,
                    }
                )
        categories = [{"id": i + 1, "name": name} for i, name in enumerate(COLORS)]
        document = {"images": images, "annotations": annotations, "categories": categories}
        file = path / "annotations" / f"instances_{part}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(document))
    return path


def masks(path: Path, train: int = 12, val: int = 6) -> Path:
    """`images/` and `masks/` in `train/` and `val/`, and the names of the labels."""
    for part, count, first in (("train", train, 0), ("val", val, 1000)):
        for kind in ("images", "masks"):
            (path / part / kind).mkdir(parents=True)
        for index in range(count):
            pixels, mask, _ = scene(first + index)
            Image.fromarray(pixels).save(path / part / "images" / f"{index:03}.png")
            Image.fromarray(mask).save(path / part / "masks" / f"{index:03}.png")
    (path / "labels.txt").write_text("\n".join(("background", *COLORS)) + "\n")
    return path
