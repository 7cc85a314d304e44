"""Traces of runtimes, brought back to the layers of the graph that was run."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from graphs import make_graphs
from head_graphs import cores, int8_graph, suppressing

from exporter.ends import with_ends
from exporter.errors import ArtifactError
from exporter.graph import Add, Conv, Linear, QuantizedGraph, multiply_adds
from exporter.latency.blocks import CONVERT, OTHER, block_of
from exporter.latency.etdump import read_etdump
from exporter.latency.layers import layers_of, slowest, xnnpack_layers
from exporter.latency.operation_times import OperationTime, layer_table
from exporter.latency.ort_trace import ort_operations
from exporter.latency.records import LayerTime
from exporter.latency.xnnpack_trace import match
from exporter.outputs import Ends, NmsMode, Outputs
from exporter.spec import PaddingStyle, Precision
from exporter.target import ExportOptions
from exporter.tasks import Task
from exporter.timing import Trace
from targets import TargetName, get, torchscript

RUNS = 4
NMS = suppressing(NmsMode.GRAPH)
LABELS = Ends(outputs=Outputs.LABELS)


def classifier(precision: Precision, padding: PaddingStyle) -> QuantizedGraph:
    return make_graphs(padding=padding)[precision is Precision.INT8]


def detector(precision: Precision, ends: Ends = NMS) -> QuantizedGraph:
    return with_ends(cores("ssdlite-64")[precision is Precision.INT8], ends)


def segmenter(precision: Precision, ends: Ends = LABELS) -> QuantizedGraph:
    return with_ends(cores("deeplab-65")[precision is Precision.INT8], ends)


CASES = {
    "classifier int8, torch": (classifier, Precision.INT8, PaddingStyle.TORCH),
    "classifier fp32, SAME": (classifier, Precision.FP32, PaddingStyle.SAME),
    "detector int8, suppressed": (detector, Precision.INT8),
    "detector fp32, decoded": (detector, Precision.FP32, Ends(outputs=Outputs.DECODED)),
    "segmenter int8, labels": (segmenter, Precision.INT8),
    "segmenter fp32, logits": (segmenter, Precision.FP32, Ends(outputs=Outputs.LOGITS)),
}


def traced(graph: QuantizedGraph, name: TargetName, folder: Path) -> Trace:
    """What the runtime itself writes down, of an artifact from disk."""
    backend = get(name).backend
    path = folder / f"model{get(name).info.suffix}"
    backend.emit(graph, graph.precision, ExportOptions(), path)
    session = backend.timed_session(1)
    session.load(path)
    session.feed(np.zeros(graph.input.shape, np.float32))
    session.run()
    trace = session.trace(RUNS)
    assert trace is not None
    return trace


def by_name(rows: tuple[LayerTime, ...]) -> dict[str, LayerTime]:
    found = {row.name: row for row in rows}
    assert len(found) == len(rows), "one row for each layer"
    return found


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("target", [TargetName.ANDROID, TargetName.ONNX])
def test_every_layer_that_multiplies_has_its_time(case: str, target, tmp_path: Path) -> None:
    """And the kernel that a row names can compute that layer."""
    make, *arguments = CASES[case]
    graph = make(*arguments)
    rows = by_name(layers_of(traced(graph, target, tmp_path), graph))
    assert sum(row.share for row in rows.values()) == pytest.approx(1.0)
    assert OTHER in rows
    for op in graph.ops:
        if isinstance(op, Conv | Linear):
            row = rows[op.output]
            assert row.multiply_adds == multiply_adds(op, graph)
            assert row.block
            kernels = " ".join(row.operations)
            if target is TargetName.ANDROID:
                assert len(row.operations) == 1
                depthwise = isinstance(op, Conv) and op.depthwise
                assert ("DWConv" in kernels) == depthwise
            else:
                assert kernels.endswith(("Conv", "Gemm"))
        elif isinstance(op, Add) and (target is TargetName.ANDROID or graph.quantized):
            assert "Add" in rows[op.output].operations[0]
    ends = {"nms", "decode", "argmax", "resized"} & {op.output for op in graph.ops}
    assert ends <= rows.keys()
    assert sum(row.multiply_adds for row in rows.values()) == sum(
        multiply_adds(op, graph) for op in graph.ops
    )


def test_suppression_outside_of_the_delegate_is_a_layer(tmp_path: Path) -> None:
    graph = int8_graph("ssdlite-64", NMS)
    rows = by_name(layers_of(traced(graph, TargetName.ANDROID, tmp_path), graph))
    assert any(name.startswith("native_call_topk") for name in rows["nms"].operations)
    assert "Exp (NC)" in rows["decode"].operations
    assert not any("native" in name for name in rows["decode"].operations)


def test_eager_layers_are_the_graphs_own() -> None:
    graph = classifier(Precision.FP32, PaddingStyle.SAME)
    session = torchscript.float_session(graph, 1)
    session.load(Path())
    session.feed(np.zeros(graph.input.shape, np.float32))
    session.run()
    rows = by_name(layers_of(session.trace(RUNS), graph))
    assert [name for name in rows if name != CONVERT] == [
        op.output for op in graph.ops if op.output not in ("input", "flatten", "logits")
    ]


def arm_names(graph: QuantizedGraph) -> list[str]:
    """As a phone's XNNPACK could name its operations: other kernels, in the graph's order."""
    names = ["Convert (NC, F32, QS8) #1", "Transpose (ND, X8) #1"]
    for op in graph.ops:
        if isinstance(op, Conv | Linear):
            names.append(f"Convolution (NHWC, QS8, QC8) GEMM neondot #{len(names)}")
        elif isinstance(op, Add):
            names.append("Add (ND, QS8)")
    return [*names, "Convert (NC, QS8, F32) #2", "A new operation"]


def test_names_of_another_processor_are_matched_by_order_and_kind() -> None:
    graph = classifier(Precision.INT8, PaddingStyle.SAME)
    wanted = [op.output for op in graph.ops if isinstance(op, Conv | Linear | Add)]
    found = match(arm_names(graph), graph)
    assert found == [CONVERT, CONVERT, *wanted, CONVERT, OTHER]


def test_a_trace_of_another_model_is_refused() -> None:
    graph = classifier(Precision.INT8, PaddingStyle.SAME)
    with pytest.raises(ArtifactError, match=r"has 52 convolutions .*the graph 53"):
        match([n for n in arm_names(graph) if not n.endswith("#4")], graph)


def test_the_first_of_several_runs_is_left_out(tmp_path: Path) -> None:
    graph = classifier(Precision.INT8, PaddingStyle.SAME)
    data = traced(graph, TargetName.ANDROID, tmp_path).data
    runs = read_etdump(data)
    assert len(runs) == RUNS
    assert all(sum(e.ms for e in run.events) > 0 for run in runs)
    path = tmp_path / "dump"
    path.write_bytes(data)
    assert xnnpack_layers(path, graph) == xnnpack_layers(data, graph)


def test_a_dump_without_its_size_before_it_is_read_too(tmp_path: Path) -> None:
    graph = classifier(Precision.INT8, PaddingStyle.SAME)
    data = traced(graph, TargetName.ANDROID, tmp_path).data
    assert read_etdump(data[4:]) == read_etdump(data)


def test_a_damaged_dump_is_told(tmp_path: Path) -> None:
    """Cut anywhere, or with any byte changed: a table, or an ArtifactError."""
    graph = classifier(Precision.INT8, PaddingStyle.SAME)
    data = traced(graph, TargetName.ANDROID, tmp_path).data
    dice = random.Random(0)
    for _ in range(40):
        cut = data[: dice.randrange(len(data))]
        changed = bytearray(data)
        changed[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        for damaged in (cut, bytes(changed)):
            try:
                xnnpack_layers(damaged, graph)
            except ArtifactError:
                continue
    for empty in (b"", data[:12], b"{}" * 50):
        with pytest.raises(ArtifactError):
            xnnpack_layers(empty, graph)


def node(name: str, kind: str, ts: int, dur: int) -> dict:
    args = {"op_name": kind}
    return {"cat": "Node", "name": f"{name}_kernel_time", "ts": ts, "dur": dur, "args": args}


def run_of(*nodes: dict, dur: int) -> list[dict]:
    return [*nodes, {"cat": "Session", "name": "model_run", "ts": 0, "dur": dur}]


def test_nodes_inside_a_loop_are_not_counted_twice() -> None:
    graph = detector(Precision.FP32)
    events = run_of(
        node("nms/round/against", "MatMul", 12, 3),
        node("nms/settled", "Loop", 10, 20),
        node("nms", "Unsqueeze", 31, 4),
        dur=50,
    )
    (operations,) = ort_operations(json.dumps(events).encode(), graph)
    assert [(o.layer, o.name, round(o.ms, 6)) for o in operations] == [
        ("nms", "Loop", 0.02),
        ("nms", "Unsqueeze", 0.004),
        (OTHER, "around the nodes", 0.026),
    ]


def test_what_a_convolution_was_fused_with_is_its_own() -> None:
    """ONNX Runtime names the fused node after the last of its parts."""
    graph = detector(Precision.FP32)
    events = run_of(
        node("classifiers.0.1.sigmoid_nchwc", "Conv", 0, 5),
        node("features.3.add_token_7_nchwc", "Conv", 5, 5),
        node("features.3.conv.1/unclamped", "Conv", 10, 5),
        node("ReorderOutput_token_8", "ReorderOutput", 15, 5),
        node("mystery", "Softmax", 20, 5),
        dur=25,
    )
    (operations,) = ort_operations(json.dumps(events).encode(), graph)
    layers = [operation.layer for operation in operations]
    assert layers[:3] == ["classifiers.0.1", "features.3.conv.2", "features.3.conv.1"]
    assert layers[3:] == [CONVERT, OTHER, OTHER]


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'[{"cat": "Node"}]', b"[1]"])
def test_a_damaged_trace_of_onnx_runtime_is_told(data: bytes) -> None:
    with pytest.raises(ArtifactError):
        ort_operations(data, detector(Precision.FP32))


def test_a_run_that_another_program_interrupted_names_no_slowest_layer() -> None:
    """Of a layer's times the middle half counts; features.18 was only unlucky once."""
    graph = classifier(Precision.FP32, PaddingStyle.SAME)

    def run(slow: float) -> list[OperationTime]:
        times = {"features.0": 2.0, "features.18": slow, OTHER: 1.0}
        return [OperationTime(layer=name, name="x", ms=ms) for name, ms in times.items()]

    rows = layer_table([run(1.0), run(90.0), run(1.2), run(0.9)], graph)
    assert by_name(rows)["features.18"].ms == pytest.approx(1.1)
    assert sum(row.share for row in rows) == pytest.approx(1.0)
    (first,) = slowest(rows, 1)
    assert first.name == "features.0"
    speed = multiply_adds(graph.producer("features.0"), graph) / 2.0 / 1e6
    assert first.gmacs_per_s == pytest.approx(speed)


@pytest.mark.parametrize(
    ("name", "task", "block"),
    [
        ("features.0", Task.CLASSIFICATION, "stem"),
        ("features.12.conv.1", Task.DETECTION, "block 12"),
        ("features.3.add", Task.SEGMENTATION, "block 3"),
        ("features.18", Task.CLASSIFICATION, "head"),
        ("classifier", Task.CLASSIFICATION, "head"),
        ("classifier", Task.SEGMENTATION, "segmenter"),
        ("extras.2.1", Task.DETECTION, "detector extra 2"),
        ("classifiers.0.1.sigmoid", Task.DETECTION, "detector scores 0"),
        ("regressors.joined", Task.DETECTION, "detector boxes"),
        ("decode", Task.DETECTION, "detector"),
    ],
)
def test_blocks_have_the_names_of_the_paper(name: str, task: Task, block: str) -> None:
    assert block_of(name, task) == block
