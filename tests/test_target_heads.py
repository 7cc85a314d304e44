"""The one suite of what detectors and segmenters end in, for every target by its row alone."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import pytest
from graphs import random_network, sample_images

from exporter import golden
from exporter.ends import with_ends
from exporter.files import sha256
from exporter.fold import fold_core
from exporter.graph import QuantizedGraph
from exporter.outputs import Ends, NmsMode, Outputs
from exporter.proof import Evidence, prove
from exporter.published import default_spec
from exporter.quantize import quantize
from exporter.spec import Precision
from exporter.target import ExportOptions
from exporter.tasks import DetectionSpec, Task
from exporter.tolerances import tolerances
from exporter.verdicts import TOLERANCES, Outcome
from targets import TARGETS, TargetName, get

SIDES = {Task.DETECTION: 96, Task.SEGMENTATION: 97}
ENDS = {
    "raw": (Task.DETECTION, Ends(outputs=Outputs.RAW)),
    "decoded": (Task.DETECTION, Ends(outputs=Outputs.DECODED)),
    "detections": (Task.DETECTION, Ends(outputs=Outputs.DECODED, nms=NmsMode.GRAPH)),
    "logits": (Task.SEGMENTATION, Ends(outputs=Outputs.LOGITS)),
    "lowres_logits": (Task.SEGMENTATION, Ends(outputs=Outputs.LOWRES_LOGITS)),
    "labels": (Task.SEGMENTATION, Ends(outputs=Outputs.LABELS)),
}
CASES = [(name, precision) for name in TargetName for precision in TARGETS[name].precisions]
# Nothing lies outside the delegate but what these end in.
OUTSIDE_ALLOWED = {"detections", "labels"}
MAY_NOT_RUN = {(TargetName.ONNX, Precision.INT8)}  # see tests/test_targets.py


@functools.cache
def cores(task: Task) -> dict[Precision, QuantizedGraph]:
    """The float and the int8 graph of a small network, as they end in weights."""
    spec = default_spec(task, width=0.1, resolution=SIDES[task], classes=4)
    if spec.detection is not None:
        crowded = DetectionSpec(candidates=48, max_detections=20, score_threshold=0.3)
        spec = dataclasses.replace(spec, detection=crowded)
    core = fold_core(random_network(spec))
    quantized = quantize(core, sample_images(spec, 8, seed=1))
    return {Precision.FP32: core, Precision.INT8: quantized}


def graph_of(end: str, precision: Precision) -> QuantizedGraph:
    task, ends = ENDS[end]
    return with_ends(cores(task)[precision.graph], ends)


def evidence(end: str, name: TargetName, precision: Precision) -> Evidence:
    graph, exact = graph_of(end, precision), graph_of(end, Precision.FP32)
    images = sample_images(graph.spec, 3, seed=21)
    asked = TOLERANCES if precision is Precision.INT8 else tolerances(exact, images)
    return Evidence(
        graph=graph,
        precision=precision,
        rules=TARGETS[name].rules,
        images=images,
        expected=golden.run_outputs(graph, images, TARGETS[name].rules),
        float_expected=golden.run_outputs(exact, images),
        tolerances=asked,
    )


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize(("name", "precision"), CASES)
def test_artifact_from_disk_equals_the_golden(tmp_path: Path, name, precision, end) -> None:
    """Through the very proof that a build runs; twice the same bytes; every output is told."""
    target, graph = get(name), graph_of(end, precision)
    paths = [tmp_path / f"{n}{target.info.suffix}" for n in ("model", "again")]
    for path in paths:
        target.backend.emit(graph, precision, ExportOptions(), path)
    if paths[0].is_file():
        assert sha256(paths[0]) == sha256(paths[1])
    record = prove(target, paths[0], evidence(end, name, precision)).record
    if record.parity.outcome is Outcome.NOT_RUN:
        assert (name, precision) in MAY_NOT_RUN
    else:
        assert record.parity.outcome is Outcome.SAME, record.parity
    contents = target.backend.describe(paths[0])
    told = {output.name for output in contents.outputs}
    assert {tensor.name for tensor in graph.outputs} <= told
    if name is TargetName.ANDROID and end not in OUTSIDE_ALLOWED:
        assert contents.delegation.endswith("nothing outside")


def test_suppression_really_happens_in_these_scenes() -> None:
    """Else the cases above would prove little: some candidates go, and some stay."""
    for precision in (Precision.FP32, Precision.INT8):
        graph = graph_of("detections", precision)
        images = sample_images(graph.spec, 3, seed=21)
        decoded = golden.run_outputs(graph_of("decoded", precision), images)
        found = golden.run(graph, images)
        kept = (found[..., 4] >= 0).sum()
        assert graph.spec.detection is not None
        above = (decoded["scores"][..., 1:] > graph.spec.detection.score_threshold).sum()
        assert 0 < kept < min(above, 3 * graph.spec.detection.candidates)
