"""Golden vectors: a few 8-bit images and the logits that the references give for them.

They lie in `golden/` beside the artifacts. `verify` and the apps' self-tests read the same files:
PNG images at the network's resolution (nothing left to resize) and `expected.json`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from exporter import golden
from exporter.errors import ArtifactError, DataError
from exporter.files import write_atomic
from exporter.graph import QuantizedGraph
from exporter.preprocess import normalize, read_image
from exporter.spec import Precision, Rules

FOLDER = "golden"
EXPECTED = "expected.json"
FORMAT_VERSION = 1
REAL_IMAGES = 16


@dataclass(frozen=True, kw_only=True, eq=False)
class Vectors:
    """Parity inputs: named uint8 RGB images (n, r, r, 3)."""

    names: tuple[str, ...]
    pixels: np.ndarray


def make_vectors(holdout: np.ndarray) -> Vectors:
    """Four edge images and up to 16 of the (m, r, r, 3) hold-out images."""
    side = holdout.shape[1]
    rows, columns = np.indices((side, side))
    checkerboard = np.where((rows + columns) % 2 == 0, 0, 255).astype(np.uint8)
    noise = np.random.Generator(np.random.PCG64(0)).integers(0, 256, (side, side, 3), np.uint8)
    edges = {
        "black": np.zeros((side, side, 3), np.uint8),
        "white": np.full((side, side, 3), 255, np.uint8),
        "checkerboard": np.repeat(checkerboard[..., None], 3, axis=2),
        "noise": noise,
    }
    real = holdout[:REAL_IMAGES]
    names = [*edges, *(f"image{i:02d}" for i in range(len(real)))]
    return Vectors(names=tuple(names), pixels=np.concatenate([np.stack([*edges.values()]), real]))


def reference_key(precision: Precision, rules: Rules) -> str:
    """Under which `expected.json` keeps the logits that an artifact must give."""
    return f"int8-{rules}" if precision is Precision.INT8 else str(Precision.FP32)


def references(
    graphs: dict[Precision, QuantizedGraph], images: np.ndarray
) -> dict[str, np.ndarray]:
    """Every golden's logits, float32 (n, classes), by `reference_key`."""
    logits: dict[str, np.ndarray] = {}
    for precision, graph in graphs.items():
        for rules in Rules if precision is Precision.INT8 else [Rules.XNNPACK]:
            logits[reference_key(precision, rules)] = golden.run(graph, images, rules)
    return logits


def write_vectors(folder: Path, vectors: Vectors, logits: dict[str, np.ndarray]) -> None:
    """Write the PNGs and `expected.json`, byte-reproducibly."""
    folder.mkdir(parents=True, exist_ok=True)
    inputs = []
    for index, (name, pixels) in enumerate(zip(vectors.names, vectors.pixels, strict=True)):
        file = f"{index:02d}-{name}.png"
        Image.fromarray(pixels).save(folder / file, optimize=False)
        inputs.append({"name": name, "file": file})
    data = {
        "format_version": FORMAT_VERSION,
        "inputs": inputs,
        # Python prints a float32 widened to double so that it reads back as the same float32.
        "logits": {key: value.astype(float).tolist() for key, value in sorted(logits.items())},
    }
    write_atomic(folder / EXPECTED, (json.dumps(data, sort_keys=True) + "\n").encode())


def read_vectors(folder: Path) -> tuple[Vectors, dict[str, np.ndarray]]:
    """Read what `write_vectors` wrote; raises ArtifactError."""
    path = folder / EXPECTED
    try:
        data = json.loads(path.read_text())
        names = tuple(entry["name"] for entry in data["inputs"])
        images = [np.asarray(read_image(folder / entry["file"])) for entry in data["inputs"]]
        logits = {k: np.asarray(v, np.float32) for k, v in data["logits"].items()}
        return Vectors(names=names, pixels=np.stack(images)), logits
    except (OSError, KeyError, TypeError, ValueError, DataError) as error:
        raise ArtifactError(f"{path}: damaged golden vectors ({error})", "build again") from None


def vector_images(vectors: Vectors, graph: QuantizedGraph) -> np.ndarray:
    """The network's inputs, float32 (n, 3, r, r)."""
    return normalize(vectors.pixels, graph.spec.preprocess)
