"""Small data sets with boxes and masks, in the formats that are read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 40, 30
TURNED = 6  # EXIF: shown a quarter turn clockwise


def save_picture(file: Path, seed: int = 0, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Path:
    """Noise; all seeds give other pictures."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(file)
    return file


def save_turned(file: Path, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Path:
    """A picture whose stored top left quarter is red, and which a camera says to turn."""
    file.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = TURNED
    image = Image.new("RGB", size, (0, 0, 255))
    image.paste((255, 0, 0), (0, 0, size[0] // 2, size[1] // 2))
    image.save(file, exif=exif)
    return file


def annotation(
    number: int, image: int, box: Sequence[float], category: int = 18, **more: Any
) -> Any:
    return {
        "id": number, "image_id": image, "category_id": category, "bbox": list(box), "iscrowd": 0
    } | more  # fmt: skip


def coco(file: Path, names: Sequence[str], shapes: Sequence[Any] = (), /, **changes: Any) -> Path:
    """A JSON of pictures that all have the usual size; category ids are sparse, as COCO's."""
    images = [
        {"id": i, "file_name": name, "width": WIDTH, "height": HEIGHT}
        for i, name in enumerate(names)
    ]
    categories = [{"id": 90, "name": "toothbrush"}, {"id": 18, "name": "dog"}]
    data = {"images": images, "annotations": list(shapes), "categories": categories}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(data | changes))
    return file


def coco_folder(root: Path, part: str, pictures: int, seed: int = 0) -> Path:
    """COCO's own layout: `annotations/instances_<part>.json` and `<part>/`; an object in each."""
    names = [f"{part[0]}{i}.png" for i in range(pictures)]
    for number, name in enumerate(names):
        save_picture(root / part / name, seed + number)
    boxes = [annotation(i, i, (4, 3, 20, 15), 18 if i % 2 else 90) for i in range(pictures)]
    return coco(root / "annotations" / f"instances_{part}.json", names, boxes)


def voc_xml(objects: str, size: str = "<size><width>40</width><height>30</height></size>") -> str:
    return f"<annotation><filename>x.jpg</filename>{size}{objects}</annotation>"


def voc_object(name: str, box: Sequence[float], difficult: str = "") -> str:
    corners = "".join(
        f"<{side}>{value}</{side}>"
        for side, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    )
    return f"<object><name>{name}</name>{difficult}<bndbox>{corners}</bndbox></object>"


def voc_list(root: Path, kind: str, part: str, names: Sequence[str]) -> Path:
    file = root / "ImageSets" / kind / f"{part}.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{name}\n" for name in names))
    return file


def save_mask(file: Path, values: np.ndarray, palette: bool = True) -> Path:
    """With a palette, as VOC's, or gray."""
    file.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values.astype(np.uint8))
    if palette:
        image = image.convert("L")
        image.putpalette(np.random.default_rng(1).integers(0, 256, 768, np.uint8).tobytes())
    image.save(file)
    return file
