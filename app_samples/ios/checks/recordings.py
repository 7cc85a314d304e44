"""What the packages of made apps give, by the reference evaluator, for MNV2Core's tests."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from exporter.detection.records import found_in
from exporter.files import sha256
from exporter.framing import Framing
from exporter.known_targets import all_targets
from exporter.manifest import read_manifest
from exporter.metrics import sqnr_db
from exporter.predictions import classes_of, objects_of, regions_of
from exporter.preprocess import normalize, to_pixels
from exporter.results import DETECTIONS, LABELS, shared_detections
from exporter.segmentation.results import label_map
from exporter.spec import ModelSpec
from exporter.vectors import read_vectors

MODEL = Path("App/Resources/model")
THRESHOLD, TOP = 0.4, 5


def write_json(folder: Path, name: str, value: Any) -> None:
    """With NaN refused, which JSON has none of."""
    text = json.dumps(value, allow_nan=False)
    (folder / f"{name}.json").write_text(text + "\n")


def write_values(path: Path, values: np.ndarray) -> str:
    """Little-endian float32 or bytes; the path's name."""
    path.write_bytes(np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<")).tobytes())
    return path.name


def recordings(folder: Path, app: Path) -> None:
    """An app's model, its results by the reference evaluator, and what Python makes of them."""
    home = folder / "models" / app.name
    shutil.copytree(app / MODEL, home / "model")
    manifest = read_manifest(home / "model")
    (record,) = manifest.artifacts
    spec = manifest.spec
    runner = all_targets()[record.target].backend.load(home / "model" / record.path)
    vectors, stored = read_vectors(home / "model" / "golden")
    results = dict(runner.results(normalize(vectors.pixels, spec.preprocess)))
    side = spec.preprocess.crop_size
    photo = Image.fromarray(vectors.pixels[4]).resize((side * 3 + 7, side * 2 + 5))
    photo.save(home / "photo.ppm")
    seen = to_pixels(photo, spec.preprocess)
    of_photo = dict(runner.results(normalize(seen[None], spec.preprocess)))
    names = [output.name for output in record.self_test.outputs]
    write_json(
        home,
        "recording",
        {
            "manifest_sha256": sha256(home / "model" / "manifest.json"),
            "artifact": record.path,
            "artifact_sha256": record.sha256,
            "outputs": {name: _saved(home, f"golden-{name}", results[name]) for name in names},
            "figures": {
                name: _figure(name, stored[record.self_test.reference][name], results[name])
                for name in names
            },
            "photo": {
                "seen": write_values(home / "seen.bin", seen),
                "outputs": {name: _saved(home, f"photo-{name}", of_photo[name]) for name in names},
                "prediction": _prediction(of_photo, spec, photo),
            },
        },
    )


def _saved(folder: Path, name: str, values: np.ndarray) -> dict[str, Any]:
    """Float32 in a file, as a runner hands results on."""
    file = write_values(folder / f"{name}.bin", values.astype(np.float32))
    return {"file": file, "shape": list(values.shape[1:]), "images": len(values)}


def _figure(name: str, expected: Any, actual: np.ndarray) -> float:
    """What the self-test measures of one output over all images: dB, or a share."""
    if isinstance(expected, np.ndarray):
        return sqnr_db(expected, actual)
    values = actual.reshape(len(actual), -1)[:, :: expected.stride]
    values = values[:, : expected.samples.shape[1]]
    if name == LABELS:
        return float((values == expected.samples).mean())
    if name == DETECTIONS:
        return shared_detections(expected.samples.reshape(actual.shape), actual)
    return sqnr_db(expected.samples, values)


def _prediction(results: dict[str, np.ndarray], spec: ModelSpec, photo: Image.Image) -> Any:
    framing = Framing(width=photo.width, height=photo.height, contract=spec.preprocess)
    if spec.detection is not None:
        found = objects_of(found_in(results, spec)[0], spec, framing, THRESHOLD)
        return [[o.label, o.score, *o.box] for o in found]
    if spec.segmentation is not None:
        regions = regions_of(label_map(results, spec)[0], spec)
        return [[region.label, region.share] for region in regions]
    return [[label, p] for label, p in classes_of(results["logits"][0], spec, TOP)]
