"""What Python computes, for the unit tests in JavaScript: `python fixtures.py FOLDER`.

One JSON file per subject; pixels and floats are little-endian bytes in base64.
"""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from exporter.detection.greedy import greedy_nms
from exporter.framing import Framing
from exporter.golden import add_ort_wasm
from exporter.graph import QParams
from exporter.predictions import regions_of
from exporter.preprocess import decode_image, normalize, to_pixels
from exporter.results import shared_detections
from exporter.spec import ChannelOrder, HeadLayer, ModelSpec, Preprocess, ResizeFilter, ResizeRule
from exporter.tasks import DetectionSpec

SIZES = [
    (1, 9), (9, 1), (1, 1), (2, 3), (3, 2), (17, 31), (24, 24), (23, 29), (101, 24), (24, 101),
    (641, 480), (50, 900), (1300, 37), (997, 991),
]  # fmt: skip
ADAM7 = (
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4),
    (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2),
)  # fmt: skip
ADDITIONS = 24  # sets of scales and zero points
CROPS = [(24, 24), (24, 19), (31, 24)]  # resized to, cropped to


def picture(width: int, height: int) -> Image.Image:
    """Coarse squares under noise: edges for the filter to overshoot at."""
    random = np.random.Generator(np.random.PCG64(width * 1000 + height))
    coarse = random.integers(0, 256, (height // 4 + 2, width // 4 + 2, 3), np.uint8)
    smooth = np.kron(coarse, np.ones((4, 4, 1), np.uint8))[:height, :width]
    noisy = smooth + random.integers(-40, 41, smooth.shape)
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def additions() -> list[dict[str, Any]]:
    """QLinearAdd of every pair of codes, by the rule that WebAssembly follows."""
    random = np.random.default_rng(0)
    pairs = np.meshgrid(np.arange(-128, 128), np.arange(-128, 128))
    x, y = (codes.reshape(1, -1).astype(np.int8) for codes in pairs)
    found = []
    for case in range(ADDITIONS):
        step = 2.0 ** -float(random.integers(3, 8))
        # Every other case has simple ratios, where sums often lie on a rounding tie.
        simple = random.choice([0.25, 0.5, 0.75, 1.0], 2)
        ratios = simple if case % 2 else random.uniform(0.3, 1.5, 2)
        a, b, target = (
            QParams(scale=float(np.float32(step * r)), zero_point=int(random.integers(-128, 128)))
            for r in (*ratios, 1.0)
        )
        sums = add_ort_wasm(x, y, a, b, target)
        model = np.frombuffer(addition(a, b, target), np.uint8)
        found.append({"model": coded(model), "sums": coded(_unsigned(sums))})
    return [{"x": coded(_unsigned(x)), "y": coded(_unsigned(y)), "cases": found}]


def addition(a: QParams, b: QParams, target: QParams) -> bytes:
    """An ONNX file of one QLinearAdd of 65536 pairs."""
    constants, inputs = [], []
    for name, q in (("x", a), ("y", b), ("z", target)):
        constants += [
            numpy_helper.from_array(np.array(q.scale, np.float32), f"{name}_scale"),
            numpy_helper.from_array(np.array(q.zero_point + 128, np.uint8), f"{name}_zero"),
        ]
        inputs += [name, f"{name}_scale", f"{name}_zero"]
    inputs.remove("z")
    node = helper.make_node("QLinearAdd", inputs, ["z"], domain="com.microsoft")
    ends = [helper.make_tensor_value_info(n, TensorProto.UINT8, (1, 1 << 16)) for n in "xyz"]
    graph = helper.make_graph([node], "add", ends[:2], ends[2:], constants)
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("com.microsoft", 1)]
    model: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=7).SerializeToString()
    return model


def _unsigned(codes: np.ndarray) -> np.ndarray:
    return (codes.astype(np.int16) + 128).astype(np.uint8)


def coded(values: np.ndarray) -> str:
    """Row-major little-endian bytes."""
    stored = np.ascontiguousarray(values)
    return base64.b64encode(stored.astype(stored.dtype.newbyteorder("<")).tobytes()).decode()


def resizes() -> list[dict[str, Any]]:
    """Every size by every rule and filter."""
    found = []
    for size in SIZES:
        image = picture(*size)
        cases = []
        for rule in ResizeRule:
            for kind in ResizeFilter:
                for side, crop in CROPS:
                    contract = Preprocess(
                        resize_rule=rule, resize_filter=kind, resize_size=side, crop_size=crop
                    )
                    pixels = coded(to_pixels(image, contract))
                    cases.append({"contract": contract.to_json(), "pixels": pixels})
        found.append({"size": size, "pixels": coded(np.asarray(image)), "cases": cases})
    return found


def normalizations() -> list[dict[str, Any]]:
    """All 256 values of every channel, in both orders and with awkward constants."""
    levels = np.stack([np.arange(256), np.arange(256)[::-1], np.arange(256) ^ 85], 1)
    pixels = levels.astype(np.uint8).reshape(16, 16, 3)
    found = []
    for order in ChannelOrder:
        for mean, std in (((0.0,) * 3, (1.0,) * 3), ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))):
            contract = Preprocess(
                crop_size=16, resize_size=16, channel_order=order, mean=mean, std=std
            )
            scale, bias = contract.affine()
            found.append(
                {
                    "contract": contract.to_json(),
                    "normalize": {"scale": scale.astype(float).tolist(),
                                  "bias": bias.astype(float).tolist()},
                    "pixels": coded(pixels),
                    "planes": coded(normalize(pixels[None], contract)),
                }
            )  # fmt: skip
    return found


def framings() -> list[dict[str, Any]]:
    """What is seen of photos, and boxes on them."""
    boxes = np.array(
        [[0, 0, 1, 1], [0.1, 0.2, 0.30000001, 0.4], [-0.5, 0.25, 1.5, 0.75], [0.9, 0.9, 0.9, 0.95]],
        np.float32,
    )
    found = []
    for width, height in [*SIZES, (4000, 3000), (3001, 4003)]:
        for rule in ResizeRule:
            for side, crop in CROPS:
                contract = Preprocess(resize_rule=rule, resize_size=side, crop_size=crop)
                framing = Framing(width=width, height=height, contract=contract)
                found.append(
                    {
                        "size": [width, height],
                        "contract": contract.to_json(),
                        "edges": framing.edges,
                        "boxes": boxes.astype(float).tolist(),
                        "on_photo": framing.boxes_to_photo(boxes).tolist(),
                    }
                )
    return found


def suppressions() -> list[dict[str, Any]]:
    """Crowded scenes with many ties, each limit in force in some of them."""
    settings = [
        DetectionSpec(),
        DetectionSpec(candidates=40, max_detections=7, iou_threshold=0.5),
        DetectionSpec(candidates=25, max_per_class=2, score_threshold=0.3, iou_threshold=0.3),
        DetectionSpec(candidates=3, score_threshold=0.0),
    ]
    found = []
    for seed in range(24):
        random = np.random.Generator(np.random.PCG64(seed))
        anchors, classes = int(random.integers(1, 90)), int(random.integers(2, 5))
        corners = random.random((anchors, 2), np.float32) * np.float32(0.4)
        sides = random.random((anchors, 2), np.float32) * np.float32(0.6)
        boxes = np.concatenate([corners, corners + sides], 1)
        boxes = boxes[random.integers(0, anchors, anchors)]  # some of them twice
        steps = [4, 16, 256][seed % 3]  # as many scores there are: ties
        scores = random.integers(0, steps, (anchors, classes)).astype(np.float32) / np.float32(256)
        scores = scores if seed % 2 else scores * np.float32(256 / steps)
        spec = settings[seed % len(settings)]
        rows = [
            [*boxes[anchor].astype(float).tolist(), score, category]
            for score, anchor, category in greedy_nms(boxes, scores, spec)
        ]
        found.append(
            {
                "settings": dataclasses.asdict(spec),
                "classes": classes,
                "boxes": coded(boxes),
                "scores": coded(scores),
                "rows": rows,
            }
        )
    return found


def agreements() -> list[dict[str, Any]]:
    """Detections and others near them: moved a little, of another class or score, fewer."""
    found = []
    for seed in range(24):
        random = np.random.Generator(np.random.PCG64(seed))
        rows = np.zeros((30, 6), np.float32)
        rows[:, :2] = random.random((30, 2)) * 0.5
        rows[:, 2:4] = rows[:, :2] + random.random((30, 2)) * 0.5
        rows[:, 4] = random.integers(0, 40, 30) / 40
        rows[:, 5] = random.integers(1, 4, 30)
        order = random.permutation(30) if seed % 2 else random.integers(0, 30, 30)
        others = rows[order]  # all of them, or some twice and some not at all
        others[:, :4] += random.normal(0, 0.004 * (seed % 4), (30, 4))
        others[:, 4] += random.choice([0.0, 0.0, 0.0, 0.0, 0.015, 0.025], 30)
        others[random.integers(0, 30, 3), 5] = 3
        for held, from_place in ((rows, 30 - seed // 4), (others, 30 - seed % 5)):
            held[from_place:] = (0, 0, 0, 0, -1, 0)
        found.append(
            {
                "expected": rows.astype(float).ravel().tolist(),
                "actual": coded(others),
                "share": shared_detections(rows[None], others[None]),
            }
        )
    return found


def segmentations() -> list[dict[str, Any]]:
    """Logits with ties, their label maps and regions."""
    found = []
    for seed, (classes, height, width) in enumerate([(2, 3, 4), (5, 7, 3), (21, 16, 16)]):
        random = np.random.Generator(np.random.PCG64(seed))
        logits = random.integers(-3, 4, (classes, height, width)).astype(np.float32)
        labels = logits.argmax(0).astype(np.uint8)
        head = (HeadLayer(units=classes),)
        spec = ModelSpec(head=head)
        regions = [[region.index, region.share] for region in regions_of(labels, spec)]
        found.append(
            {
                "dims": [1, classes, height, width],
                "logits": coded(logits),
                "labels": coded(labels),
                "regions": regions,
            }
        )
    return found


def png_files() -> list[dict[str, Any]]:
    """PNG of every color type that Pillow writes, and what it reads from them."""
    color = picture(37, 23)
    random = np.random.Generator(np.random.PCG64(9))
    alpha = Image.fromarray(random.integers(0, 256, (23, 37), np.uint8))
    transparent = color.copy()
    transparent.putalpha(alpha)
    gray_alpha = Image.merge("LA", [color.convert("L"), alpha])
    deep = Image.fromarray(random.integers(0, 65536, (23, 37), np.uint16))
    images = {
        "rgb": color, "rgba": transparent, "gray": color.convert("L"), "gray alpha": gray_alpha,
        "16 bits": deep, "1 bit": color.convert("1"), "palette": color.quantize(200),
        "palette of 4": color.quantize(4), "palette of 2": color.quantize(2),
        "palette of 16": color.quantize(16),
    }  # fmt: skip
    files = {name: png(image) for name, image in images.items()}
    files |= {f"orientation {i}": png(color, exif=orientation(i)) for i in range(1, 9)}
    files["transparent palette"] = png(color.quantize(50), transparency=7)
    files["interlaced"] = written_png(np.asarray(color), interlaced=True)
    files["interlaced, 2 × 1"] = written_png(np.asarray(color)[:1, :2], interlaced=True)
    deep_color = random.integers(0, 65536, (23, 37, 3), np.uint16)
    files["16 bits of color"] = written_png(deep_color.astype(">u2"), interlaced=False)
    return [
        {
            "name": name,
            "file": base64.b64encode(data).decode(),
            "size": decode_image(io.BytesIO(data), name).size,
            "pixels": coded(np.asarray(decode_image(io.BytesIO(data), name))),
        }
        for name, data in files.items()
    ]


def png(image: Image.Image, **options: Any) -> bytes:
    """A file's bytes."""
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


def written_png(pixels: np.ndarray, *, interlaced: bool) -> bytes:
    """RGB as Pillow does not write it: in Adam7's seven passes, or 16-bit (big-endian)."""
    height, width, _ = pixels.shape
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    lines = b"".join(
        b"\0" + row.tobytes()
        for left, top, across, down in passes
        for row in pixels[top::down, left::across]
        if row.size
    )
    depth = pixels.dtype.itemsize * 8
    header = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, int(interlaced))
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


def orientation(value: int) -> Image.Exif:
    """EXIF that says nothing else."""
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


SUBJECTS = {
    "add": additions,
    "agreement": agreements,
    "resize": resizes,
    "normalize": normalizations,
    "framing": framings,
    "nms": suppressions,
    "segmentation": segmentations,
    "png": png_files,
}


def main(folder: Path) -> None:
    """Write every subject's file."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, subject in SUBJECTS.items():
        (folder / f"{name}.json").write_text(json.dumps(subject()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
