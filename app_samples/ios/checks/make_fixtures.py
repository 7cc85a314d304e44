"""What the exporter's Python says, written down for MNV2Core's tests: make_fixtures.py OUT APP...

Each APP is a folder that `mnv2-export sample ios` made. Numbers are JSON, float32 widened so that
they read back as the same float32; long ones lie in little-endian `.bin` files, pictures in `.ppm`.
"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from recordings import recordings, write_json, write_values

from exporter.detection.greedy import greedy_nms
from exporter.files import sha256
from exporter.framing import Framing
from exporter.predictions import classes_of, regions_of
from exporter.preprocess import normalize, to_pixels
from exporter.results import shared_detections
from exporter.spec import ChannelOrder, HeadLayer, ModelSpec, Preprocess, ResizeFilter, ResizeRule
from exporter.tasks import DetectionSpec, SegmentationSpec, Task

# Of photos: one pixel wide, tiny, prime, tall, wide, equal to the result, enlarged, much reduced.
SIZES = [
    (1, 7), (7, 1), (2, 3), (3, 2), (17, 31), (31, 17), (20, 20), (20, 45), (97, 89), (13, 401),
    (401, 13), (500, 333), (1009, 997),
]  # fmt: skip
RESIZES = [(20, 20), (20, 17), (33, 32)]  # resize size, crop size
BGR = {"channel_order": ChannelOrder.BGR, "mean": (0.1, 0.2, 0.3), "std": (0.5, 0.7, 0.9)}
CONTRACTS = [
    Preprocess(value_range=(-1.0, 1.0)),
    Preprocess(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    Preprocess(**BGR),
]
NAMES = ["a.b/one", "a/two", "a/z/three", "B", "é/four", "empty", "a b", "zz"]


def random(seed: int) -> np.random.Generator:
    """The same numbers everywhere."""
    return np.random.Generator(np.random.PCG64(seed))


def picture(width: int, height: int) -> Image.Image:
    """Noise: every weight of a resize counts."""
    pixels = random(width * 10007 + height).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


def resizes(folder: Path) -> None:
    """Photo, contract and the bytes that the network sees."""
    cases = []
    for index, size in enumerate(SIZES):
        image = picture(*size)
        photo = f"photo{index:02d}.ppm"
        image.save(folder / photo)
        for rule in ResizeRule:
            for kind in ResizeFilter:
                for resize_size, crop in RESIZES:
                    contract = Preprocess(
                        resize_rule=rule,
                        resize_size=resize_size,
                        crop_size=crop,
                        resize_filter=kind,
                    )
                    seen = write_values(
                        folder / f"seen{len(cases):03d}.bin", to_pixels(image, contract)
                    )
                    cases.append({"photo": photo, "preprocess": contract.to_json(), "seen": seen})
    write_json(folder, "resizes", cases)


def orientations(folder: Path) -> None:
    """One picture, as each of EXIF's eight orientations has to be shown."""
    stored = picture(5, 3)
    stored.save(folder / "stored.ppm")
    cases = []
    for value in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = value
        tagged = stored.copy()
        tagged.getexif().update(exif)
        upright = ImageOps.exif_transpose(tagged)
        upright.save(folder / f"upright{value}.ppm")
        cases.append({"orientation": value, "upright": f"upright{value}.ppm"})
    write_json(folder, "orientations", cases)


def normalizations(folder: Path) -> None:
    """All 256 values in every channel, each channel in an order of its own."""
    values = np.arange(256, dtype=np.uint8)
    pixels = np.stack([values, values[::-1], np.roll(values, 100)], -1).reshape(16, 16, 3)
    Image.fromarray(pixels).save(folder / "values.ppm")
    cases = []
    for index, contract in enumerate(CONTRACTS):
        scale, bias = contract.affine()
        cases.append(
            {
                "order": str(contract.channel_order),
                "affine": {"scale": scale.tolist(), "bias": bias.tolist()},
                "tensor": write_values(
                    folder / f"tensor{index}.bin", normalize(pixels[None], contract)
                ),
            }
        )
    write_json(folder, "normalizations", cases)


def suppressions(folder: Path) -> None:
    """Scenes of boxes that overlap, with scores of few values so that many tie."""
    usual = DetectionSpec()
    specs = [
        replace(usual, score_threshold=0.01, iou_threshold=0.5, candidates=400),
        replace(usual, score_threshold=0.3, iou_threshold=0.45, candidates=30),
        replace(usual, score_threshold=0.2, iou_threshold=0.6, candidates=50, max_per_class=3),
        replace(usual, score_threshold=0.1, iou_threshold=0.3, candidates=200, max_detections=7),
    ]
    cases = []
    for seed in range(24):
        spec, numbers = specs[seed % len(specs)], random(seed)
        anchors, classes = int(numbers.integers(1, 90)), int(numbers.integers(2, 6))
        low = numbers.uniform(-0.2, 0.8, (anchors, 2))
        boxes = np.concatenate([low, low + numbers.uniform(-0.05, 0.5, (anchors, 2))], 1)
        boxes = np.round(boxes * 8) / 8 if seed % 3 == 0 else boxes  # many equal ones
        boxes = boxes.astype(np.float32)
        scores = (numbers.integers(0, 25, (anchors, classes)) / 25).astype(np.float32)
        kept = greedy_nms(boxes, scores, spec)
        cases.append(
            {
                "spec": {
                    "candidates": spec.candidates,
                    "iou_threshold": spec.iou_threshold,
                    "max_detections": spec.max_detections,
                    "max_per_class": spec.max_per_class,
                    "score_threshold": spec.score_threshold,
                },
                "anchors": anchors,
                "classes": classes,
                "boxes": boxes.ravel().tolist(),
                "scores": scores.ravel().tolist(),
                "kept": [[score, anchor, category] for score, anchor, category in kept],
            }
        )
    write_json(folder, "suppressions", cases)


def framings(folder: Path) -> None:
    """What is seen of photos, boxes and label maps brought back to them."""
    boxes = np.array([[0.1, 0.2, 0.7, 0.9], [-0.3, 0.5, 0.4, 1.2], [0, 0, 1, 1]], np.float32)
    labels = random(1).integers(0, 9, (17, 17), np.uint8)
    cases = []
    for size in SIZES:
        for rule in ResizeRule:
            contract = Preprocess(resize_rule=rule, resize_size=20, crop_size=17)
            framing = Framing(width=size[0], height=size[1], contract=contract)
            shown = framing.labels_to_photo(labels)
            cases.append(
                {
                    "width": size[0],
                    "height": size[1],
                    "preprocess": contract.to_json(),
                    "edges": list(framing.edges),
                    "share": framing.share,
                    "boxes": framing.boxes_to_photo(boxes).tolist(),
                    "labels_sha256": _digest(shown),
                }
            )
    values = {"boxes": boxes.tolist(), "labels": labels.ravel().tolist(), "cases": cases}
    write_json(folder, "framings", values)


def label_maps(folder: Path) -> None:
    """Logits of few values, so that the first of equals is asked for; shares of the classes."""
    spec = _segmenter(classes=7)
    logits = random(2).integers(-3, 4, (1, 7, 19, 23)).astype(np.float32)
    logits[:, 5] = -9  # a class that is nowhere
    labels = logits.argmax(1)[0].astype(np.uint8)
    regions = [[region.index, region.share] for region in regions_of(labels, spec)]
    write_json(
        folder,
        "label_maps",
        {
            "shape": list(logits.shape[1:]),
            "logits": logits.ravel().tolist(),
            "labels": labels.ravel().tolist(),
            "regions": regions,
        },
    )


def rankings(folder: Path) -> None:
    """Logits, their likeliest classes and probabilities; many of one value in the last."""
    cases = []
    for seed, count in enumerate((2, 24, 1000, 12)):
        logits = (random(seed).normal(0, 4, count)).astype(np.float32)
        if count == 12:
            logits = np.round(logits / 4).astype(np.float32)
        spec = ModelSpec(labels=tuple(f"{i}" for i in range(count)), head=_head(count))
        found = classes_of(logits, spec, count)
        cases.append(
            {
                "logits": logits.tolist(),
                "order": [int(label) for label, _ in found],
                "probabilities": [probability for _, probability in found],
            }
        )
    write_json(folder, "rankings", cases)


def shares(folder: Path) -> None:
    """Detections of two models, and how many they have in common."""
    cases = []
    for seed in range(12):
        numbers = random(100 + seed)
        a = _rows(numbers, 9)
        b = a[numbers.permutation(len(a))].copy()
        b[:, :4] += numbers.normal(0, 0.01, (len(b), 4)).astype(np.float32)
        b[:, 4] += numbers.normal(0, 0.01, len(b)).astype(np.float32)
        b[-2:, 4] = -1
        a[numbers.integers(0, len(a))] = a[0]
        if seed == 0:
            a[:, 4] = b[:, 4] = -1
        cases.append(
            {
                "expected": a.ravel().tolist(),
                "actual": b.ravel().tolist(),
                "share": shared_detections(a[None], b[None]),
            }
        )
    write_json(folder, "shares", cases)


def digests(folder: Path) -> None:
    """Directories whose files sort otherwise by locale, by case or as whole paths."""
    root = folder / "tree"
    for index, name in enumerate(NAMES):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(range(256)) * (index * 5) if name != "empty" else b"")
    cases = {"tree": sha256(root), "tree/a": sha256(root / "a")}
    write_json(folder, "digests", cases)


def _digest(values: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


def _head(count: int) -> tuple[HeadLayer, ...]:
    return (HeadLayer(units=count),)


def _segmenter(classes: int) -> ModelSpec:
    labels = tuple(f"{i}" for i in range(classes))
    return ModelSpec(
        task=Task.SEGMENTATION,
        resolution=161,
        labels=labels,
        head=_head(classes),
        segmentation=SegmentationSpec(),
        preprocess=Preprocess(
            resize_rule=ResizeRule.STRETCH, resize_size=161, crop_size=161, value_range=(-1, 1)
        ),
    )


def _rows(numbers: np.random.Generator, count: int) -> np.ndarray:
    low = numbers.uniform(0, 0.5, (count, 2))
    boxes = np.concatenate([low, low + numbers.uniform(0.2, 0.5, (count, 2))], 1)
    scores = numbers.uniform(0.3, 0.9, (count, 1))
    return np.concatenate([boxes, scores, numbers.integers(1, 3, (count, 1))], 1).astype(np.float32)


def make(folder: Path, apps: list[Path]) -> None:
    """Write every fixture into a folder that is not there yet."""
    folder.mkdir(parents=True)
    for write in (
        resizes, orientations, normalizations, suppressions, framings, label_maps, rankings, shares,
        digests,
    ):  # fmt: skip
        write(folder)
    for app in apps:
        recordings(folder, app)


if __name__ == "__main__":
    make(Path(sys.argv[1]), [Path(app) for app in sys.argv[2:]])
