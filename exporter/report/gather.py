"""A build directory -> a `Report`: the manifest, and what the files beside it say today."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from exporter.devices.request import Tell
from exporter.errors import ArtifactError, ExportError
from exporter.files import sha256, size
from exporter.graph import QuantizedGraph
from exporter.graph_file import load_graph
from exporter.manifest import ArtifactRecord, Manifest, read_manifest
from exporter.report import sizes
from exporter.report.contract import contract
from exporter.report.figures import figures
from exporter.report.records import ArtifactReport, Inside, Layer, Report, Signal
from exporter.report.signal import choose, layer_sqnr
from exporter.report.snippets import snippets
from exporter.report.timings import device_reports
from exporter.report.words import verdict
from exporter.spec import Precision
from exporter.target import LayerInfo, Target
from exporter.vectors import FOLDER, read_vectors
from exporter.verdicts import Outcome, Pair, Parity

CHANGED = "not the bytes that were built (SHA-256 differs)"
LARGEST = 12  # layers named of each artifact


def gather(build: Path, targets: Mapping[str, Target], images: int, tell: Tell) -> Report:
    """Read all that is known of a build; per-layer ratios are measured on `images` golden images.

    Raises ArtifactError for a build directory that is damaged. A file that merely changed since it
    was built is told as drift, and profiles of other bytes are left out.
    """
    built = read_manifest(build)
    _check_references(build, built)
    manifest = _as_it_is_now(build, built)
    graphs = {g.precision: load_graph(build / g.path) for g in manifest.graphs}
    layers, signal = _layers(build, graphs, images, tell)
    float_figures = figures(manifest.float_accuracy, None)
    hashes = {a.path: a.sha256 for a in manifest.artifacts}
    others = {g.path: g.sha256 for g in manifest.graphs} | {"source": manifest.source.sha256}
    return Report(
        manifest=manifest,
        verdict=verdict(manifest.artifacts, manifest.pairs, manifest.failures),
        float_figures=float_figures,
        artifacts=tuple(
            _artifact(build, now, then, manifest, targets, tell)
            for now, then in zip(manifest.artifacts, built.artifacts, strict=True)
        ),
        layers=layers,
        signal=signal,
        contract=contract(manifest),
        devices=device_reports(build, hashes | others),
    )


def _check_references(build: Path, manifest: Manifest) -> None:
    """Without the references nothing can be told of any artifact."""
    for name in (a.path for a in manifest.artifacts):
        if not (build / name).exists():
            raise ArtifactError(f"{build / name}: missing", "build again")
    for name, expected in [
        *((g.path, g.sha256) for g in manifest.graphs),
        (FOLDER, manifest.golden_sha256),
    ]:
        if not (build / name).exists():
            raise ArtifactError(f"{build / name}: missing", "build again")
        if sha256(build / name) != expected:
            raise ArtifactError(f"{build / name}: {CHANGED}", "build again, or restore the file")


def _as_it_is_now(build: Path, manifest: Manifest) -> Manifest:
    """With drift where bytes changed, and no verdict on pairs of what was never compared."""
    artifacts = tuple(_record_now(build, a) for a in manifest.artifacts)
    changed = {
        a.path for a, b in zip(artifacts, manifest.artifacts, strict=True) if a.sha256 != b.sha256
    }
    pairs = tuple(_pair_now(p, changed) for p in manifest.pairs)
    return dataclasses.replace(manifest, artifacts=artifacts, pairs=pairs)


def _record_now(build: Path, record: ArtifactRecord) -> ArtifactRecord:
    path = build / record.path
    found = sha256(path)
    if found == record.sha256:
        return record
    # No figure of the bytes that were built is one of these.
    parity = Parity(outcome=Outcome.DRIFTED, tolerance=record.parity.tolerance, reason=CHANGED)
    return dataclasses.replace(
        record,
        parity=parity,
        sha256=found,
        size_bytes=size(path),
        quality=None,
        accuracy=None,
    )


def _pair_now(pair: Pair, changed: set[str]) -> Pair:
    if not changed & {pair.a, pair.b}:
        return pair
    return Pair(a=pair.a, b=pair.b, outcome=Outcome.NOT_RUN, reason="a file changed since")


def _layers(
    build: Path, graphs: Mapping[Precision, QuantizedGraph], images: int, tell: Tell
) -> tuple[tuple[Layer, ...], Signal]:
    """Layers of the int8 graph with their ratios, of the float graph without."""
    integers = graphs.get(Precision.INT8)
    vectors, _ = read_vectors(build / FOLDER)
    available = len(vectors.names)
    if integers is None:
        reason = "this build has no int8 graph"
        signal = Signal(images=0, available=available, not_measured=reason)
        return sizes.layers(graphs[Precision.FP32]), signal
    found = sizes.layers(integers)
    indices = choose(vectors, min(images, available))
    if not indices:
        return found, Signal(images=0, available=available, not_measured="--images 0 was asked for")
    tell(f"layers: int8 beside float on {len(indices)} of {available} golden images")
    ratios = layer_sqnr(integers, graphs[Precision.FP32], vectors, indices)
    measured = tuple(dataclasses.replace(n, sqnr_db=ratios.get(n.name)) for n in found)
    return measured, Signal(images=len(indices), available=available)


def _artifact(
    build: Path,
    now: ArtifactRecord,
    then: ArtifactRecord,
    manifest: Manifest,
    targets: Mapping[str, Target],
    tell: Tell,
) -> ArtifactReport:
    path = build / now.path
    tell(f"{now.path}: reading what is inside")
    inside = _inside(path, now, targets)
    return ArtifactReport(
        record=now,
        changed=now.sha256 != then.sha256,
        deflated_bytes=sizes.deflated(path),
        figures=figures(now.accuracy, manifest.float_accuracy),
        inside=inside,
        snippets=snippets(manifest, now, inside),
    )


def _inside(path: Path, record: ArtifactRecord, targets: Mapping[str, Target]) -> Inside:
    """What `inspect` shows; an SDK that is missing or a file that is damaged is told, no more."""
    if record.target not in targets:
        return Inside(not_read=f"target {record.target} is not known to this version")
    try:
        contents = targets[record.target].backend.describe(path)
    except ExportError as error:
        return Inside(not_read=error.message.replace(str(path), path.name))
    weights: dict[str, LayerInfo] = {}
    for layer in contents.layers:
        held = weights.get(layer.name)
        bytes_held = layer.size_bytes + (0 if held is None else held.size_bytes)
        op = layer.op if held is None else held.op
        weights[layer.name] = LayerInfo(name=layer.name, op=op, size_bytes=bytes_held)
    ranked = sorted(weights.values(), key=lambda layer: (-layer.size_bytes, layer.name))
    return Inside(
        format=contents.format,
        delegation=contents.delegation,
        inputs=contents.inputs,
        outputs=contents.outputs,
        operations=sum(contents.ops.values()),
        largest=tuple(ranked[:LARGEST]),
        notes=contents.notes,
    )
