"""Detectors and segmenters in a `.pte`: the golden's integers, one delegate, named results."""

import dataclasses
import functools
from pathlib import Path

import numpy as np
import pytest
from graphs import random_network, replace_op, sample_images

from exporter import golden
from exporter.detection.greedy import competitors, greedy_nms
from exporter.ends import with_ends
from exporter.errors import ArtifactError, UnsupportedError
from exporter.fold import fold_core
from exporter.graph import (
    ArgMax,
    Concat,
    Conv,
    Dequantize,
    Input,
    Op,
    Output,
    Permute,
    QParams,
    QuantizedGraph,
    Tensor,
    Weight,
)
from exporter.metrics import sqnr_db
from exporter.outputs import Ends, NmsMode, Outputs
from exporter.published import default_spec
from exporter.quantize import quantize
from exporter.spec import ModelSpec, PaddingStyle
from exporter.target import ExportOptions, Lowering
from exporter.tasks import DetectionSpec, SegmentationSpec, Task
from exporter.verdicts import EXACT_BOXES, FP32
from targets import android
from targets.executorch_sdk import quiet
from targets.pte import NAMES_METHOD, deserialize, program_of, serialize

with quiet():
    from executorch.runtime import Runtime

DETECTION = DetectionSpec(score_threshold=0.3, candidates=60, iou_threshold=0.2, max_detections=50)
DENSE = SegmentationSpec(output_stride=8, full_aspp=True)
ONE_DELEGATE = "1 delegate (XnnpackBackend), nothing outside"
FLOAT_FROM_EXP = "boxes"  # in an int8 graph too


def detector(padding: PaddingStyle = PaddingStyle.TORCH, resolution: int = 64) -> ModelSpec:
    spec = default_spec(Task.DETECTION, width=0.1, resolution=resolution, classes=4)
    return dataclasses.replace(spec, padding=padding, detection=DETECTION)


def segmenter(
    padding: PaddingStyle = PaddingStyle.TORCH,
    resolution: int = 65,
    segmentation: SegmentationSpec = DENSE,
) -> ModelSpec:
    spec = default_spec(Task.SEGMENTATION, width=0.1, resolution=resolution, classes=5)
    return dataclasses.replace(spec, padding=padding, segmentation=segmentation)


DETECTORS = [detector(), detector(PaddingStyle.SAME, 96)]
SEGMENTERS = [
    segmenter(),
    segmenter(PaddingStyle.SAME),
    segmenter(PaddingStyle.SAME, 97, SegmentationSpec()),
]
CASES = [
    *((spec, outputs) for spec in DETECTORS for outputs in (Outputs.RAW, Outputs.DECODED)),
    *(
        (spec, outputs)
        for spec in SEGMENTERS
        for outputs in (Outputs.LOGITS, Outputs.LOWRES_LOGITS, Outputs.LABELS)
    ),
]


@functools.cache
def cores(spec: ModelSpec) -> tuple[QuantizedGraph, QuantizedGraph]:
    """(int8, float), as they end in weights."""
    core = fold_core(random_network(spec))
    return quantize(core, sample_images(spec, 4, seed=1)), core


def graphs(spec: ModelSpec, outputs: Outputs, nms: NmsMode = NmsMode.NONE) -> list[QuantizedGraph]:
    return [with_ends(core, Ends(outputs=outputs, nms=nms)) for core in cores(spec)]


def written(graph: QuantizedGraph, path: Path) -> Path:
    android.emit(graph, graph.precision, ExportOptions(), path)
    return path


def compare(graph: QuantizedGraph, path: Path, count: int = 2) -> dict[str, np.ndarray]:
    """Every result against the golden's: equal bits where they are integers."""
    images = sample_images(graph.spec, count, seed=7)
    expected, found = golden.run_outputs(graph, images), android.load(path).results(images)
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape)
        if value.dtype == np.uint8:
            assert (found[name] == value).mean() >= (1.0 if graph.quantized else 0.999)
        elif graph.quantized and name != FLOAT_FROM_EXP:
            np.testing.assert_array_equal(found[name], value)
        else:
            least = EXACT_BOXES if graph.quantized else FP32
            assert sqnr_db(value, found[name]) >= least.min_sqnr_db
    return expected


@pytest.mark.parametrize(("spec", "outputs"), CASES)
def test_results_equal_the_golden(tmp_path: Path, spec: ModelSpec, outputs: Outputs) -> None:
    """Int8 bit for bit and fp32 within tolerance, all of it in one delegate but an argmax."""
    for graph in graphs(spec, outputs):
        path = written(graph, tmp_path / "m.pte")
        expected = compare(graph, path)
        assert all(len(np.unique(value)) > 1 for value in expected.values())
        contents = android.describe(path)
        if outputs is Outputs.LABELS:
            assert contents.delegation == (
                "1 delegate (XnnpackBackend); outside it: aten::argmax.out, "
                "dim_order_ops::_to_dim_order_copy.out"
            )
        else:
            assert contents.delegation == ONE_DELEGATE
        shown = [(output.name, output.shape, output.dtype) for output in contents.outputs]
        dtype = "uint8" if outputs is Outputs.LABELS else "float32"
        assert shown == [(t.name, t.shape, dtype) for t in graph.outputs]


@pytest.mark.parametrize("spec", DETECTORS)
def test_detections_are_the_goldens_row_by_row(tmp_path: Path, spec: ModelSpec) -> None:
    """In scenes where boxes do go; a network without training sees many on one another."""
    images = sample_images(spec, 2, seed=7)
    decoded, detections = (
        graphs(spec, Outputs.DECODED, nms) for nms in (NmsMode.NONE, NmsMode.GRAPH)
    )
    for before, graph in zip(decoded, detections, strict=True):
        path = written(graph, tmp_path / "m.pte")
        expected = golden.run(graph, images)
        assert (expected[..., 4] >= 0).sum() > 5
        results = golden.run_outputs(before, images)
        for boxes, scores in zip(results["boxes"], results["scores"], strict=True):
            kept = greedy_nms(boxes, scores, DETECTION)
            assert len(kept) < DETECTION.max_detections < len(competitors(scores, DETECTION))
        found = android.load(path).results(images)
        assert list(found) == ["detections"]
        np.testing.assert_array_equal(found["detections"][..., 5], expected[..., 5])
        least = EXACT_BOXES if graph.quantized else FP32
        assert sqnr_db(expected, found["detections"]) >= least.min_sqnr_db
        contents = android.describe(path)
        assert contents.delegation.startswith("1 delegate (XnnpackBackend); outside it: ")
        assert contents.delegation.endswith(" kernels, aten::topk.values to aten::cat.out")
        assert contents.ops["aten::mm.out"] == 6
        assert contents.outputs[0].shape == (1, DETECTION.max_detections, 6)


def test_equal_graphs_give_equal_bytes_without_a_path(tmp_path: Path) -> None:
    for spec, outputs, nms in (
        (DETECTORS[0], Outputs.DECODED, NmsMode.GRAPH),
        (SEGMENTERS[0], Outputs.LABELS, NmsMode.NONE),
    ):
        graph = graphs(spec, outputs, nms)[0]
        a, b = (written(graph, tmp_path / name).read_bytes() for name in ("a.pte", "other.pte"))
        assert a == b
        assert not [part for part in (b".py", b"/home", str(tmp_path).encode()) if part in a]


def test_a_program_states_the_names_of_its_results(tmp_path: Path) -> None:
    """As a method that an app can call; a classifier's file has none and is "logits"."""
    path = written(graphs(DETECTORS[0], Outputs.RAW)[0], tmp_path / "m.pte")
    program = Runtime.get().load_program(path)
    assert program.method_names == {"forward", "get_output_names"}
    names = program.load_method("get_output_names").execute([])
    assert list(names) == ["class_logits", "box_offsets"]


def test_a_name_too_few_is_damage(tmp_path: Path) -> None:
    path = written(graphs(DETECTORS[0], Outputs.RAW)[1], tmp_path / "m.pte")
    file = deserialize(path)
    forward, names = file.program.execution_plan
    assert names.name == NAMES_METHOD
    payload = bytes(file.program.backend_delegate_data[0].data)
    path.write_bytes(serialize(program_of(forward, ["class_logits"], payload), file.named_data))
    with pytest.raises(ArtifactError, match=r"m\.pte: damaged"):
        android.describe(path)


def test_native_suppression_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    graph = graphs(DETECTORS[0], Outputs.DECODED, NmsMode.NATIVE)[0]
    with pytest.raises(UnsupportedError, match="Android has no non-maximum suppression") as caught:
        written(graph, tmp_path / "m.pte")
    assert caught.value.hint == "choose --nms graph, or --nms none and do it in the app"
    assert not list(tmp_path.iterdir())


def test_concatenated_codes_are_requantized(tmp_path: Path) -> None:
    """XNNPACK copies bytes and refuses to load maps of other parameters."""
    graph = graphs(SEGMENTERS[0], Outputs.LOWRES_LOGITS)[0]
    joined = next(op for op in graph.ops if isinstance(op, Concat))
    before = graph.qparams(joined.output)
    qparams = QParams(scale=float(np.float32(before.scale * 1.3)), zero_point=-100)
    tensor = dataclasses.replace(graph.tensors[joined.output], qparams=qparams)
    changed = dataclasses.replace(graph, tensors={**graph.tensors, joined.output: tensor})
    path = written(changed, tmp_path / "m.pte")
    compare(changed, path)
    assert android.describe(path).delegation == ONE_DELEGATE


def test_any_order_of_dimensions(tmp_path: Path) -> None:
    """Cells column by column: no other name of the same memory, but a transposition."""
    for graph in graphs(DETECTORS[0], Outputs.RAW):
        for op in graph.ops:
            if isinstance(op, Permute):
                graph = replace_op(graph, dataclasses.replace(op, order=(0, 3, 2, 1)))
        compare(graph, written(graph, tmp_path / "m.pte"))


def small_graph(ops: list[Op], *, quantized: bool) -> QuantizedGraph:
    """A graph of no task that a model has, at 8 pixels; all codes have one scale."""
    qparams = QParams(scale=2.0**-5, zero_point=3) if quantized else None
    tensors: dict[str, Tensor] = {}
    real = set()
    for op in ops:
        shapes = [tensors[name].shape for name in op.inputs]
        shape = (1, 3, 8, 8) if isinstance(op, Input) else op.output_shape(*shapes)
        if isinstance(op, Dequantize | ArgMax) or real.intersection(op.inputs):
            real.add(op.output)
        q = None if op.output in real else qparams
        tensors[op.output] = Tensor(name=op.output, shape=shape, qparams=q)
    return QuantizedGraph(spec=segmenter(), ops=tuple(ops), tensors=tensors)


def test_a_result_that_is_another_name_of_a_map(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    weight = Weight(
        values=random.integers(-127, 128, (4, 3, 1, 1)).astype(np.int8),
        scale=np.full(4, 2.0**-7, np.float32),
    )
    bias = random.integers(-500, 500, 4).astype(np.int32)
    ops: list[Op] = [
        Input(output="input"),
        Conv(input="input", output="conv", weight=weight, bias=bias),
        Dequantize(input="conv", output="real"),
        Permute(input="real", output="nhwc", order=(0, 2, 3, 1)),
        Output(input="nhwc", output="lowres_logits"),
    ]
    graph = small_graph(ops, quantized=True)
    images = random.normal(0, 1, (2, 3, 8, 8)).astype(np.float32)
    path = written(graph, tmp_path / "m.pte")
    np.testing.assert_array_equal(android.load(path)(images), golden.run(graph, images))


@pytest.mark.parametrize("quantized", [False, True])
def test_labels_of_equal_values_are_the_first(tmp_path: Path, quantized: bool) -> None:
    """Of an image, too, which is no NHWC map; three channels of four values tie often."""
    ops: list[Op] = [
        Input(output="input"),
        ArgMax(input="input", output="argmax"),
        Output(input="argmax", output="labels"),
    ]
    graph = small_graph(ops, quantized=quantized)
    images = np.random.default_rng(0).integers(-1, 3, (2, 3, 8, 8)).astype(np.float32)
    expected = golden.run(graph, images)
    found = android.load(written(graph, tmp_path / "m.pte"))(images)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)
    assert (np.sort(images, 1)[:, 1] == np.sort(images, 1)[:, 2]).mean() > 0.3


@pytest.mark.parametrize(
    ("spec", "outputs", "nms", "message"),
    [
        (DETECTORS[0], Outputs.DECODED, NmsMode.GRAPH, "has no loop for non-maximum suppression"),
        (SEGMENTERS[0], Outputs.LABELS, NmsMode.NONE, "enlarges an int8 map in float32"),
    ],
)
def test_what_the_stock_lowering_does_not_give(tmp_path: Path, spec, outputs, nms, message) -> None:
    graph = graphs(spec, outputs, nms)[0]
    with pytest.raises(UnsupportedError, match=message):
        stock(graph, tmp_path / "m.pte")
    assert not list(tmp_path.iterdir())


def stock(graph: QuantizedGraph, path: Path) -> Path:
    android.emit(graph, graph.precision, ExportOptions(lowering=Lowering.STOCK), path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "outputs"),
    [(DETECTORS[0], Outputs.DECODED), (SEGMENTERS[2], Outputs.LOWRES_LOGITS)],
)
def test_the_stock_lowering_computes_the_same(tmp_path: Path, spec, outputs) -> None:
    """And states the same names."""
    graph = graphs(spec, outputs)[0]
    compare(graph, stock(graph, tmp_path / "stock.pte"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "outputs", "largest"),
    [
        (Task.DETECTION, Outputs.RAW, 4_800_000),
        (Task.DETECTION, Outputs.DECODED, 4_800_000),
        (Task.SEGMENTATION, Outputs.LOGITS, 2_400_000),
        (Task.SEGMENTATION, Outputs.LOWRES_LOGITS, 2_400_000),
        (Task.SEGMENTATION, Outputs.LABELS, 2_400_000),
    ],
)
def test_the_published_size(tmp_path: Path, task: Task, outputs: Outputs, largest: int) -> None:
    """SSDLite at 320 px and DeepLab at 513 px in int8: exact, and a byte for each weight."""
    graph = graphs(default_spec(task), outputs)[0]
    path = written(graph, tmp_path / "m.pte")
    compare(graph, path, count=1)
    contents = android.describe(path)
    assert contents.delegation.startswith("1 delegate (XnnpackBackend)")
    weights = sum(op.weight.values.nbytes for op in graph.weighted())
    assert weights < contents.size_bytes < largest
