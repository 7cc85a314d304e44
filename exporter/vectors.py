"""Golden vectors: a few 8-bit images and what the references give for them.

They lie in `golden/` beside the artifacts. `verify` and the apps' self-tests read the same files:
PNG images at the network's resolution (nothing left to resize) and `expected.json`, which holds a
classifier's logits themselves and, of larger results, digests and samples (`fingerprints`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from exporter import golden
from exporter.errors import ArtifactError, DataError
from exporter.files import write_atomic
from exporter.fingerprints import Fingerprint, fingerprint, is_small
from exporter.graph import QuantizedGraph
from exporter.layout import reference_key as reference_key
from exporter.parity import compare_results
from exporter.preprocess import normalize, read_image
from exporter.results import DETECTIONS, INEXACT, Results
from exporter.spec import Precision, Rules
from exporter.threads import side_by_side
from exporter.verdicts import EXACT, Outcome, Tolerance

FOLDER = "golden"
EXPECTED = "expected.json"
FORMAT_VERSION = 1
REAL_IMAGES = 16
MEMORY_BYTES = 1 << 26  # of one reference's results; a build holds one for every artifact
FEWEST_IMAGES = 4

Expected = Mapping[str, Results]  # by `reference_key`
Stored = Mapping[str, Mapping[str, np.ndarray | Fingerprint]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Vectors:
    """Parity inputs: named uint8 RGB images (n, r, r, 3)."""

    names: tuple[str, ...]
    pixels: np.ndarray


def make_vectors(holdout: np.ndarray, count: int | None = None) -> Vectors:
    """Four edge images and up to 16 of the (m, r, r, 3) hold-out images; `count` in all, if given.

    Of few, half are hold-out images: black and white are the first to be left out.
    """
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
    if count is not None and count < 2 * len(edges):
        edges = dict(list(edges.items())[-(count // 2) :])
    real = holdout[: REAL_IMAGES if count is None else min(REAL_IMAGES, count - len(edges))]
    names = [*edges, *(f"image{i:02d}" for i in range(len(real)))]
    return Vectors(names=tuple(names), pixels=np.concatenate([np.stack([*edges.values()]), real]))


def affordable(graph: QuantizedGraph, bytes_allowed: int = MEMORY_BYTES) -> int:
    """For how many images a graph's results fit; never fewer than `FEWEST_IMAGES`."""
    per_image = sum(4 * math.prod(tensor.shape) for tensor in graph.outputs)
    return max(FEWEST_IMAGES, bytes_allowed // per_image)


def references(
    graphs: dict[Precision, QuantizedGraph], images: np.ndarray
) -> dict[str, dict[str, np.ndarray]]:
    """Every golden's results, by `reference_key`."""
    kinds = [
        (precision, rules)
        for precision in graphs
        for rules in (Rules if precision is Precision.INT8 else [Rules.XNNPACK])
    ]
    found = side_by_side(lambda kind: golden.run_outputs(graphs[kind[0]], images, kind[1]), kinds)
    return {reference_key(*kind): results for kind, results in zip(kinds, found, strict=True)}


def write_vectors(folder: Path, vectors: Vectors, expected: Expected) -> None:
    """Write the PNGs and `expected.json`, byte-reproducibly."""
    folder.mkdir(parents=True, exist_ok=True)
    inputs = []
    for index, (name, pixels) in enumerate(zip(vectors.names, vectors.pixels, strict=True)):
        file = f"{index:02d}-{name}.png"
        Image.fromarray(pixels).save(folder / file, optimize=False)
        inputs.append({"name": name, "file": file})
    data: dict[str, Any] = {"format_version": FORMAT_VERSION, "inputs": inputs}
    if all(is_small(results) for results in expected.values()):
        # Python prints a float32 widened to double so that it reads back as the same float32.
        data["logits"] = {
            key: results["logits"].astype(float).tolist()
            for key, results in sorted(expected.items())
        }
    else:
        data["outputs"] = {
            key: {name: _kept(name, value).to_json() for name, value in sorted(results.items())}
            for key, results in sorted(expected.items())
        }
    write_atomic(folder / EXPECTED, (json.dumps(data, sort_keys=True) + "\n").encode())


def _kept(name: str, value: np.ndarray) -> Fingerprint:
    """Detections whole: a part of the rows could not be matched with others."""
    return fingerprint(value, whole=name == DETECTIONS)


def read_vectors(folder: Path) -> tuple[Vectors, Stored]:
    """Read what `write_vectors` wrote; raises ArtifactError."""
    path = folder / EXPECTED
    try:
        data = json.loads(path.read_text())
        names = tuple(entry["name"] for entry in data["inputs"])
        images = [np.asarray(read_image(folder / entry["file"])) for entry in data["inputs"]]
        return Vectors(names=names, pixels=np.stack(images)), _stored(data)
    except (OSError, KeyError, TypeError, ValueError, DataError) as error:
        raise ArtifactError(f"{path}: damaged golden vectors ({error})", "build again") from None


def _stored(data: dict[str, Any]) -> Stored:
    if "logits" in data:
        return {
            key: {"logits": np.asarray(rows, np.float32)} for key, rows in data["logits"].items()
        }
    return {
        key: {name: Fingerprint.from_json(value) for name, value in results.items()}
        for key, results in data["outputs"].items()
    }


def agrees(
    stored: Mapping[str, np.ndarray | Fingerprint], results: Results, tolerance: Tolerance
) -> bool:
    """Whether results are those that were stored, as near as `tolerance` asks for."""
    if stored.keys() != results.keys():
        return False
    for name, kept in stored.items():
        value = results[name]
        if isinstance(kept, Fingerprint):
            exact = tolerance == EXACT and name not in INEXACT
            if not (kept.is_of(value) if exact else kept.is_near(value, tolerance)):
                return False
        else:
            parity = compare_results({name: kept}, {name: value}, tolerance, {})
            if parity.outcome is not Outcome.SAME:
                return False
    return True


def vector_images(vectors: Vectors, graph: QuantizedGraph) -> np.ndarray:
    """The network's inputs, float32 (n, 3, r, r)."""
    return normalize(vectors.pixels, graph.spec.preprocess)
