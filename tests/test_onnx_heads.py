"""Detectors and segmenters as ONNX: every result, by ONNX Runtime's rules; boxes suppressed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import head_graphs
import numpy as np
import onnx as onnx_sdk
import onnxruntime
import pytest
import torch
from graphs import make_graphs, sample_images
from head_graphs import SPECS, ends_of, float_graph, int8_graph, suppressing
from onnx import helper
from test_nms import crowd

from exporter import golden
from exporter.ends import score_qparams
from exporter.errors import UnsupportedError
from exporter.float_rules import suppressed
from exporter.graph import (
    ArgMax,
    Input,
    Nms,
    Op,
    QParams,
    QuantizedGraph,
    Resize,
    Sigmoid,
    Tensor,
)
from exporter.metrics import sqnr_db
from exporter.outputs import Ends, NmsMode, Outputs
from exporter.spec import Precision, Rules
from exporter.target import CannotRunError, ExportOptions, Runner
from exporter.tasks import DetectionSpec
from exporter.verdicts import FP32
from targets import onnx
from targets.onnx_heads import float_head, integer_head
from targets.onnx_writer import UNSIGNED, Writer

RESULTS = [(name, ends) for name in head_graphs.NETWORKS for ends in ends_of(name)]
SMALLEST = ("ssdlite-64", "deeplab-65")
SUPPRESSIONS = [NmsMode.GRAPH, NmsMode.NATIVE]
EXPONENTIAL_DB = 100.0  # boxes are real numbers behind an exponential: 156 dB and more measured
# fp16 rounds every weight, and random ones do not forgive it as trained ones do: 44 dB and more.
FLOAT_DB = {Precision.FP32: FP32.min_sqnr_db, Precision.FP16: 40.0}
SAME_LABELS = {Precision.FP32: 0.999, Precision.FP16: 0.98}  # of all pixels
PUBLISHED_FP32_DB = 95.0  # random weights at the published size: 99 to 154 dB measured
IMAGES = 3
SCENES = 20


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.onnx"


def emit(graph: QuantizedGraph, path: Path, precision: Precision, batch: int | None = 1) -> Path:
    """What onnx's checker and its strict shape inference accept."""
    onnx.emit(graph, precision, ExportOptions(batch=batch), path)
    model = onnx_sdk.load(path)
    onnx_sdk.checker.check_model(model, full_check=True)
    if precision is not Precision.INT8:  # ONNX Runtime's own operations are unknown there
        onnx_sdk.shape_inference.infer_shapes(model, True, True, True)
    assert model.opset_import[0].version == 13
    return path


def load(path: Path) -> Runner:
    """An int8 artifact is exact only on x86 with VNNI."""
    try:
        return onnx.load(path)
    except CannotRunError as error:
        pytest.skip(str(error))


BATCHED = [
    *((name, ends, None) for name, ends in RESULTS),
    *((name, ends, 1) for name, ends in RESULTS if name in SMALLEST),
]


@pytest.mark.parametrize(("name", "ends", "batch"), BATCHED)
def test_int8_equals_the_golden_in_every_layer(
    path: Path, name: str, ends: Ends, batch: int | None
) -> None:
    """Every result and everything before it, bit for bit; but what follows an exponential."""
    graph = int8_graph(name, ends)
    images = sample_images(graph.spec, IMAGES, seed=7)
    runner = load(emit(graph, path, Precision.INT8, batch))
    expected: dict[str, np.ndarray] = {}
    results = golden.run_outputs(graph, images, Rules.ORT, trace=expected.__setitem__)
    seen, found = runner.layers(images), runner.results(images)
    assert list(seen) == list(expected)
    assert list(found) == list(results)
    for tensor, value in [*seen.items(), *found.items()]:
        assert value.dtype == expected[tensor].dtype
        if tensor in ("decode", "boxes"):
            assert sqnr_db(expected[tensor], value) >= EXPONENTIAL_DB
        else:
            np.testing.assert_array_equal(value, expected[tensor], err_msg=tensor)


FLOATS = [
    *((name, ends, Precision.FP32) for name, ends in RESULTS),
    *((name, ends, Precision.FP16) for name, ends in RESULTS if name in SMALLEST),
]


@pytest.mark.parametrize(("name", "ends", "precision"), FLOATS)
def test_float_results_stay_within_their_tolerance(
    path: Path, name: str, ends: Ends, precision: Precision
) -> None:
    """Labels agree on nearly all pixels."""
    graph = float_graph(name, ends)
    images = sample_images(graph.spec, IMAGES, seed=7)
    results = onnx.load(emit(graph, path, precision, batch=None)).results(images)
    expected = golden.run_outputs(graph, images)
    assert list(results) == list(expected)
    for output, value in expected.items():
        assert results[output].shape == value.shape
        assert results[output].dtype == value.dtype
        if ends.outputs is Outputs.LABELS:
            assert (results[output] == value).mean() >= SAME_LABELS[precision]
        else:
            assert sqnr_db(value, results[output]) >= FLOAT_DB[precision], output


@pytest.mark.parametrize("mode", SUPPRESSIONS)
@pytest.mark.parametrize("precision", [Precision.FP32, Precision.INT8])
@pytest.mark.parametrize("name", head_graphs.DETECTORS)
def test_detections_are_the_goldens(
    path: Path, name: str, precision: Precision, mode: NmsMode
) -> None:
    """Row by row in the same order, and some candidates did not survive."""
    graph = (int8_graph if precision is Precision.INT8 else float_graph)(name, suppressing(mode))
    images = sample_images(graph.spec, IMAGES, seed=7)
    found = load(emit(graph, path, precision))(images)
    expected = golden.run(graph, images, Rules.ORT)
    assert_same_detections(found, expected)
    everything = dataclasses.replace(head_graphs.CROWDED, iou_threshold=0.999)
    ops = tuple(
        dataclasses.replace(op, spec=everything) if isinstance(op, Nms) else op for op in graph.ops
    )
    unsuppressed = golden.run(dataclasses.replace(graph, ops=ops), images, Rules.ORT)
    assert count(expected) < count(unsuppressed)


def assert_same_detections(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[..., 5], expected[..., 5])
    assert count(found) == count(expected) > 0
    for columns in (slice(0, 4), slice(4, 5)):
        assert sqnr_db(expected[..., columns], found[..., columns]) >= EXPONENTIAL_DB


def count(rows: np.ndarray) -> int:
    return int((rows[..., 4] >= 0).sum())


def model_of(op: Op, shapes: dict[str, tuple[int, ...]], qparams: dict[str, QParams]):
    """One operation alone: what it reads comes in, codes as uint8."""
    spec = SPECS["ssdlite-64"]
    tensors = {n: Tensor(name=n, shape=s, qparams=qparams.get(n)) for n, s in shapes.items()}
    tensors["image"] = Tensor(name="image", shape=(1, 3, 64, 64))
    graph = QuantizedGraph(spec=spec, ops=(Input(output="image"), op), tensors=tensors)
    writer = Writer(graph, Precision.INT8 if qparams else Precision.FP32, 1)
    (integer_head if op.inputs[0] in qparams else float_head)(writer, op)
    types = {True: onnx_sdk.TensorProto.UINT8, False: onnx_sdk.TensorProto.FLOAT}
    ends = {
        name: helper.make_tensor_value_info(
            name, types[name in qparams or (isinstance(op, ArgMax) and name == op.output)], shape
        )
        for name, shape in shapes.items()
    }
    body = helper.make_graph(
        writer.nodes, "one", [ends[n] for n in op.inputs], [ends[op.output]], writer.constants
    )
    domains = [helper.make_opsetid("", 13), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(body, opset_imports=domains, ir_version=7)
    onnx_sdk.checker.check_model(model, full_check=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def run_codes(session, name: str, codes: np.ndarray) -> np.ndarray:
    """Int8 codes by way of uint8."""
    (result,) = session.run(None, {name: (codes.astype(np.int16) + UNSIGNED).astype(np.uint8)})
    return (result.astype(np.int16) - UNSIGNED).astype(np.int8)


@pytest.mark.parametrize(
    ("size", "wanted"), [((1, 1), (5, 7)), ((3, 3), (65, 65)), ((7, 5), (33, 97)), ((9, 9), (9, 9))]
)
def test_resize_rounds_as_the_golden(size: tuple[int, int], wanted: tuple[int, int]) -> None:
    """Random codes of random parameters; a kernel that truncates would differ in half of them."""
    random = np.random.default_rng(size[0])
    for _ in range(3):
        q = QParams(
            scale=float(np.float32(random.uniform(0.01, 0.2))),
            zero_point=int(random.integers(-128, 128)),
        )
        op = Resize(input="x", output="y", size=wanted)
        session = model_of(op, {"x": (1, 6, *size), "y": (1, 6, *wanted)}, {"x": q, "y": q})
        codes = random.integers(-128, 128, (1, 6, *size)).astype(np.int8)
        expected = golden.resize_ort(codes, wanted, q)
        np.testing.assert_array_equal(run_codes(session, "x", codes), expected)


def test_a_map_is_resized_in_float(path: Path) -> None:
    """Its parameters behind are per channel, which keeps older versions from undoing that."""
    graph = int8_graph("deeplab-65", Ends(outputs=Outputs.LOGITS))
    nodes = onnx_sdk.load(emit(graph, path, Precision.INT8)).graph
    writers = {name: node for node in nodes.node for name in node.output}
    constants = {c.name: onnx_sdk.numpy_helper.to_array(c) for c in nodes.initializer}
    (resize,) = (node for node in nodes.node if node.op_type == "Resize")
    assert writers[resize.input[0]].op_type == "DequantizeLinear"
    (after,) = (node for node in nodes.node if resize.output[0] in node.input)
    assert after.op_type == "QuantizeLinear"
    q = graph.qparams("resized")
    assert constants[after.input[1]].tolist() == [q.scale] * graph.spec.classes
    assert constants[after.input[2]].tolist() == [q.zero_point + UNSIGNED] * graph.spec.classes


def test_every_score_has_the_goldens_code() -> None:
    random = np.random.default_rng(0)
    codes = np.arange(-128, 128, dtype=np.int8)
    for scale in random.uniform(0.005, 0.4, 40):
        source = QParams(scale=float(np.float32(scale)), zero_point=int(random.integers(-128, 128)))
        target = score_qparams(source)
        op = Sigmoid(input="x", output="y")
        session = model_of(op, {"x": (256,), "y": (256,)}, {"x": source, "y": target})
        expected = golden.sigmoid(codes, source, target)
        np.testing.assert_array_equal(run_codes(session, "x", codes), expected)


def test_of_equal_values_the_first_is_the_label() -> None:
    """Among codes and among real values."""
    q = QParams(scale=0.5, zero_point=3)
    codes = np.random.default_rng(0).integers(-2, 3, (1, 7, 20, 20)).astype(np.int8)
    op, shapes = ArgMax(input="x", output="y"), {"x": (1, 7, 20, 20), "y": (1, 20, 20)}
    (labels,) = model_of(op, shapes, {"x": q}).run(
        None, {"x": (codes.astype(np.int16) + UNSIGNED).astype(np.uint8)}
    )
    (of_reals,) = model_of(op, shapes, {}).run(None, {"x": codes.astype(np.float32)})
    expected = codes.argmax(1).astype(np.uint8)
    np.testing.assert_array_equal(labels, expected)
    np.testing.assert_array_equal(of_reals, expected)


def test_a_concatenation_of_other_parameters_requantizes(path: Path) -> None:
    graph = head_graphs.with_unequal_concat(
        int8_graph("deeplab-65-full-aspp", Ends(outputs=Outputs.LOWRES_LOGITS))
    )
    images = sample_images(graph.spec, IMAGES, seed=7)
    runner = load(emit(graph, path, Precision.INT8))
    assert onnx.describe(path).ops["QLinearConcat"] == 1
    np.testing.assert_array_equal(runner(images), golden.run(graph, images, Rules.ORT))


def suppression(spec: DetectionSpec, native: bool, anchors: int, classes: int):
    """A function of boxes and scores, in ONNX Runtime and as the golden has it."""
    op = Nms(boxes="boxes", scores="scores", output="rows", spec=spec, native=native)
    shapes = {
        "boxes": (1, anchors, 4),
        "scores": (1, anchors, classes),
        "rows": (1, spec.max_detections, 6),
    }
    session = model_of(op, shapes, {})

    def both(boxes: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        (rows,) = session.run(None, {"boxes": boxes[None], "scores": scores[None]})
        expected = suppressed(op, torch.from_numpy(boxes)[None], torch.from_numpy(scores)[None])
        return rows, expected.numpy()

    return both


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"candidates": 40},
        {"iou_threshold": 0.3},
        {"max_per_class": 2},
        {"max_per_class": 3, "max_detections": 5},
        {"max_detections": 300},
        {"score_threshold": 0.99},
    ],
)
def test_crowds_are_thinned_out_exactly(changes: dict, native: bool) -> None:
    """Real scores, and scores of which most are equal to others; empty rows after the last."""
    spec = DetectionSpec(**{"score_threshold": 0.05, "candidates": 400, **changes})
    both = suppression(spec, native, anchors=60, classes=4)
    competitors = left = 0
    for seed in range(SCENES):
        boxes, scores = crowd(seed, levels=(None, 16, 4)[seed % 3])
        rows, expected = both(boxes, scores)
        np.testing.assert_array_equal(rows, expected, err_msg=f"scene {seed}")
        competitors += int((scores[:, 1:] > spec.score_threshold).sum())
        left += count(expected)
    assert 0 < left < competitors


@pytest.mark.parametrize("native", [False, True])
def test_a_long_chain_and_an_empty_picture(native: bool) -> None:
    """As many rounds as are needed; and no detection at all is no error."""
    spec = DetectionSpec(score_threshold=0.05, iou_threshold=0.5)
    boxes, scores = head_graphs.chain()
    both = suppression(spec, native, *scores.shape)
    rows, expected = both(boxes, scores)
    np.testing.assert_array_equal(rows, expected)
    assert count(rows) == len(boxes) / 2
    nothing, expected = both(boxes, scores * 0)
    np.testing.assert_array_equal(nothing, expected)
    assert count(nothing) == 0


@pytest.mark.parametrize("batch", [None, 2])
@pytest.mark.parametrize("mode", SUPPRESSIONS)
def test_suppression_takes_one_picture_at_a_time(
    path: Path, mode: NmsMode, batch: int | None
) -> None:
    graph = float_graph("ssdlite-64", suppressing(mode))
    with pytest.raises(UnsupportedError, match="one picture at a time, not a"):
        onnx.emit(graph, Precision.FP32, ExportOptions(batch=batch), path)
    assert not path.exists()


def test_a_suppression_of_the_runtimes_own_is_told(path: Path) -> None:
    """And what is in plain operations needs no word."""
    notes = {
        mode: onnx.emit(
            float_graph("ssdlite-64", suppressing(mode)), Precision.FP32, ExportOptions(), path
        )
        for mode in SUPPRESSIONS
    }
    assert notes[NmsMode.GRAPH] == ()
    assert "NonMaxSuppression" in notes[NmsMode.NATIVE][0]


@pytest.mark.parametrize(
    ("ends", "outputs", "floats"),
    [
        (
            Ends(outputs=Outputs.RAW),
            {"class_logits": ("batch", 96, 4), "box_offsets": ("batch", 96, 4)},
            "12 DequantizeLinear",
        ),
        (
            Ends(outputs=Outputs.DECODED),
            {"scores": ("batch", 96, 4), "boxes": ("batch", 96, 4)},
            "1 Exp",
        ),
        (suppressing(NmsMode.GRAPH), {"detections": (1, 70, 6)}, "1 Loop"),
        (suppressing(NmsMode.NATIVE), {"detections": (1, 70, 6)}, "1 NonMaxSuppression"),
    ],
)
def test_describe_shows_every_result(
    path: Path, ends: Ends, outputs: dict[str, tuple], floats: str
) -> None:
    graph = int8_graph("ssdlite-64", ends)
    emit(graph, path, Precision.INT8, 1 if ends.nms is not NmsMode.NONE else None)
    contents = onnx.describe(path)
    assert {o.name: o.shape for o in contents.outputs} == outputs
    assert {o.dtype for o in contents.outputs} == {"float32"}
    assert floats in contents.delegation
    assert contents.spec == graph.spec
    sizes = {layer.name for layer in contents.layers if layer.size_bytes > 0}
    assert sizes >= {op.output for op in graph.weighted()}


def test_labels_are_described_as_bytes(path: Path) -> None:
    graph = int8_graph("deeplab-65", Ends(outputs=Outputs.LABELS))
    (labels,) = onnx.describe(emit(graph, path, Precision.INT8)).outputs
    assert (labels.name, labels.shape, labels.dtype) == ("labels", (1, 65, 65), "uint8")


@pytest.mark.parametrize(
    ("name", "ends"),
    [
        ("ssdlite-64", suppressing(NmsMode.GRAPH)),
        ("ssdlite-64", suppressing(NmsMode.NATIVE)),
        ("deeplab-65", Ends(outputs=Outputs.LABELS)),
    ],
)
def test_equal_graphs_give_equal_bytes(tmp_path: Path, name: str, ends: Ends) -> None:
    """Whatever else was written in between."""
    graph = int8_graph(name, ends)
    first = emit(graph, tmp_path / "first.onnx", Precision.INT8).read_bytes()
    emit(make_graphs()[0], tmp_path / "other.onnx", Precision.FP32)
    assert emit(graph, tmp_path / "second.onnx", Precision.INT8).read_bytes() == first


@pytest.mark.slow
@pytest.mark.parametrize("name", head_graphs.PUBLISHED)
def test_the_published_sizes(path: Path, name: str) -> None:
    """Every result of one image; the int8 file takes little more than its weights."""
    detector = SPECS[name].detection is not None
    extra = [suppressing(mode) for mode in SUPPRESSIONS] if detector else []
    images = sample_images(SPECS[name], 1, seed=7)
    for ends in [*ends_of(name), *extra]:
        graph = int8_graph(name, ends)
        expected = golden.run_outputs(graph, images, Rules.ORT)
        results = load(emit(graph, path, Precision.INT8)).results(images)
        for output, value in expected.items():
            if output in ("boxes", "detections"):
                assert sqnr_db(value, results[output]) >= EXPONENTIAL_DB
            else:
                np.testing.assert_array_equal(results[output], value)
        weights = sum(op.weight.values.size for op in graph.weighted())
        assert weights < path.stat().st_size < 1.15 * weights
    graph = float_graph(name, ends_of(name)[0])
    results = onnx.load(emit(graph, path, Precision.FP32)).results(images)
    for output, value in golden.run_outputs(graph, images).items():
        assert sqnr_db(value, results[output]) >= PUBLISHED_FP32_DB
