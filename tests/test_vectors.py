"""Golden vectors: which images, and what is kept of large results."""

import json
from pathlib import Path

import numpy as np
import pytest
from graphs import random_network, sample_images

from exporter.ends import with_ends
from exporter.errors import ArtifactError
from exporter.fold import fold_core
from exporter.outputs import Ends, NmsMode, Outputs
from exporter.published import default_spec
from exporter.quantize import quantize
from exporter.spec import Precision
from exporter.tasks import Task
from exporter.vectors import (
    affordable,
    agrees,
    make_vectors,
    read_vectors,
    references,
    vector_images,
    write_vectors,
)
from exporter.verdicts import EXACT, FP32

FP, INT = Precision.FP32, Precision.INT8
KEYS = {"fp32", "int8-xnnpack", "int8-ort", "int8-ort-wasm"}
SIDES = {Task.DETECTION: 64, Task.SEGMENTATION: 65}


def graphs_of(task: Task, ends: Ends) -> dict:
    spec = default_spec(task, width=0.1, resolution=SIDES[task], classes=3)
    core = fold_core(random_network(spec))
    quantized = quantize(core, sample_images(spec, 4, seed=0))
    return {FP: with_ends(core, ends), INT: with_ends(quantized, ends)}


@pytest.mark.parametrize(
    ("task", "ends"),
    [
        (Task.DETECTION, Ends(outputs=Outputs.RAW)),
        (Task.DETECTION, Ends(outputs=Outputs.DECODED)),
        (Task.DETECTION, Ends(outputs=Outputs.DECODED, nms=NmsMode.GRAPH)),
        (Task.SEGMENTATION, Ends(outputs=Outputs.LOGITS)),
        (Task.SEGMENTATION, Ends(outputs=Outputs.LABELS)),
    ],
)
def test_large_results_are_kept_as_digests_and_samples(
    task: Task, ends: Ends, tmp_path: Path
) -> None:
    """Read back they agree with the references, and with nothing that differs in one bit."""
    graphs = graphs_of(task, ends)
    side = SIDES[task]
    pixels = np.random.Generator(np.random.PCG64(1)).integers(0, 256, (3, side, side, 3), np.uint8)
    vectors = make_vectors(pixels)
    expected = references(graphs, vector_images(vectors, graphs[FP]))
    write_vectors(tmp_path, vectors, expected)
    assert (tmp_path / "expected.json").stat().st_size < 300_000
    read, stored = read_vectors(tmp_path)
    np.testing.assert_array_equal(read.pixels, vectors.pixels)
    assert stored.keys() == expected.keys() == KEYS
    for key, results in expected.items():
        assert agrees(stored[key], results, FP32 if key == "fp32" else EXACT)
        for name in results:
            other = {n: v.copy() for n, v in results.items()}
            other[name][-1].flat[0] += 1
            assert not agrees(stored[key], other, EXACT)


def test_few_vectors_are_half_photos() -> None:
    photos = np.zeros((9, 8, 8, 3), np.uint8)
    assert make_vectors(photos, 4).names == ("checkerboard", "noise", "image00", "image01")
    assert make_vectors(photos, 8).names[:4] == ("black", "white", "checkerboard", "noise")
    assert len(make_vectors(photos, 8).pixels) == 8
    assert len(make_vectors(photos).pixels) == 13


def test_results_of_megabytes_allow_fewer_vectors() -> None:
    spec = default_spec(Task.SEGMENTATION, width=0.1, resolution=65, classes=3)
    graph = with_ends(fold_core(random_network(spec)), Ends(outputs=Outputs.LOGITS))
    assert affordable(graph, 10 * 4 * 3 * 65 * 65) == 10
    assert affordable(graph, 1) == 4


def test_damaged_fingerprints_are_an_artifact_error(tmp_path: Path) -> None:
    graphs = graphs_of(Task.SEGMENTATION, Ends(outputs=Outputs.LABELS))
    vectors = make_vectors(np.zeros((1, 65, 65, 3), np.uint8), 4)
    write_vectors(tmp_path, vectors, references(graphs, vector_images(vectors, graphs[FP])))
    path = tmp_path / "expected.json"
    data = json.loads(path.read_text())
    del data["outputs"]["fp32"]["labels"]["sha256"]
    path.write_text(json.dumps(data))
    with pytest.raises(ArtifactError, match=r"damaged golden vectors.*sha256"):
        read_vectors(tmp_path)
