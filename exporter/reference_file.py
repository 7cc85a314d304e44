"""A reference on disk: for other processes that make artifacts, and for the cache.

The folder holds what a build has beside its artifacts (graphs, `golden/`, a `manifest.json` without
artifacts) and what a build does not leave: all results of the goldens and of the float model, and
the held-out images.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from exporter import embedded
from exporter.graph_file import load_graph, save_graph
from exporter.layout import EXPECTED, FLOAT_HOLDOUT, HOLDOUT, LABELED, NOTES, graph_name
from exporter.manifest import read_manifest
from exporter.rating import Labeled
from exporter.reference import Reference
from exporter.results import Results
from exporter.spec import Precision
from exporter.vectors import FOLDER, read_vectors, vector_images, write_vectors


def write_beside(reference: Reference, folder: Path) -> None:
    """What lies beside the artifacts of a build: the graphs and the golden vectors."""
    for precision, graph in reference.graphs.items():
        save_graph(graph, folder / graph_name(precision))
    write_vectors(folder / FOLDER, reference.vectors, reference.expected)


def write_inside(reference: Reference, notes: Iterable[str], folder: Path) -> None:
    """What a build does not leave, and what was said while the reference was made."""
    for key, results in reference.expected.items():
        write_results(results, folder / EXPECTED / key)
    write_results(reference.float_holdout, folder / FLOAT_HOLDOUT)
    np.save(folder / HOLDOUT, reference.holdout)
    (folder / LABELED).write_text(json.dumps(reference.labeled is not None))
    (folder / NOTES).write_text(json.dumps(list(notes)))


def load_reference(folder: Path, labeled: Labeled | None = None) -> Reference:
    """What `write_beside` and `write_inside` wrote, with the manifest there; all of it is whole.

    The demo's labeled pictures are composed again, where they are not at hand.
    """
    manifest = read_manifest(folder)
    graphs = {g.precision: load_graph(folder / g.path) for g in manifest.graphs}
    vectors, _ = read_vectors(folder / FOLDER)
    if labeled is None and json.loads((folder / LABELED).read_text()):
        labeled = embedded.labeled(manifest.spec)
    return Reference(
        spec=manifest.spec,
        source=manifest.source,
        calibration=manifest.calibration,
        quantization=manifest.quantization,
        graphs=graphs,
        vectors=vectors,
        images=vector_images(vectors, graphs[Precision.FP32]),
        expected={p.name: read_results(p) for p in sorted((folder / EXPECTED).iterdir())},
        holdout=np.load(folder / HOLDOUT),
        float_holdout=read_results(folder / FLOAT_HOLDOUT),
        labeled=labeled,
        float_accuracy=manifest.float_accuracy,
    )


def write_results(results: Results, folder: Path) -> None:
    """One .npy file for every output."""
    folder.mkdir(parents=True)
    for name, value in results.items():
        np.save(folder / f"{name}.npy", value)


def read_results(folder: Path) -> dict[str, np.ndarray]:
    """What `write_results` wrote."""
    return {path.stem: np.load(path) for path in sorted(folder.glob("*.npy"))}
