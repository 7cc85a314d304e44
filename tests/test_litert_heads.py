"""LiteRT detectors and segmenters: exact in integers, one delegate node, readable by apps."""

from __future__ import annotations

import dataclasses
import functools
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from flatbuffer_table import Table
from graphs import random_network, replace_op, sample_images

from exporter import golden
from exporter.detection.nms import exact_nms
from exporter.ends import with_ends
from exporter.errors import TargetError, UnsupportedError
from exporter.fold import fold_core
from exporter.graph import Concat, Permute, QParams, QuantizedGraph, Reshape, Sigmoid, Weight
from exporter.graph_file import save_graph
from exporter.metrics import sqnr_db
from exporter.outputs import OFFERED, Ends, NmsMode, Outputs
from exporter.published import default_spec
from exporter.quantize import quantize
from exporter.spec import ModelSpec, PaddingStyle, Precision
from exporter.target import ExportOptions, IoType
from exporter.tasks import DetectionSpec, SegmentationSpec, Task
from exporter.verdicts import FP32
from targets import litert, litert_heads
from targets.litert_flatbuffer import write
from targets.litert_model import ModelWriter
from targets.litert_reader import parse
from targets.litert_runner import LitertRunner

SAME, TORCH = PaddingStyle.SAME, PaddingStyle.TORCH
CALIBRATION_IMAGES = 4
CANDIDATES = 60
ALL_LABELS = 0.999  # of the pixels of a float model
SCORE = 4  # column of a detection
# Enumerators of metadata_schema.fbs and of image_segmenter_metadata_schema.fbs.
AXIS_LABELS, VALUE_LABELS = 2, 3
IMAGE, BOUNDING_BOX = 2, 3
GRAY, BOUNDARIES = 2, 1
SOFTMAX = 2


def detector(resolution: int, padding: PaddingStyle) -> ModelSpec:
    """Scores of a random network are all near a half, so nothing is below the threshold."""
    spec = default_spec(
        Task.DETECTION, width=0.1, resolution=resolution, classes=3, padding=padding
    )
    assert spec.detection is not None
    few = dataclasses.replace(spec.detection, candidates=CANDIDATES, iou_threshold=0.3)
    return dataclasses.replace(spec, detection=few)


def segmenter(resolution: int, padding: PaddingStyle, settings: SegmentationSpec) -> ModelSpec:
    labels = ("background", "cat", "dog", "fox")
    spec = default_spec(
        Task.SEGMENTATION,
        width=0.1,
        resolution=resolution,
        classes=len(labels),
        padding=padding,
        segmentation=settings,
    )
    return dataclasses.replace(spec, labels=labels)


SPECS = {
    "detector-64-torch": detector(64, TORCH),
    "detector-96-same": detector(96, SAME),
    "segmenter-65-torch": segmenter(65, TORCH, SegmentationSpec()),
    "segmenter-97-same": segmenter(97, SAME, SegmentationSpec(full_aspp=True)),
    "segmenter-65-same-8": segmenter(65, SAME, SegmentationSpec(output_stride=8)),
    "segmenter-65-torch-8": segmenter(65, TORCH, SegmentationSpec(output_stride=8, full_aspp=True)),
}
DETECTOR, SEGMENTER = "detector-64-torch", "segmenter-65-torch"


def ends_of(task: Task) -> list[Ends]:
    found = [Ends(outputs=outputs) for outputs in OFFERED[task]]
    return [*found, SUPPRESSED] if task is Task.DETECTION else found


SUPPRESSED = Ends(outputs=Outputs.DECODED, nms=NmsMode.GRAPH)
RAW, DECODED = Ends(outputs=Outputs.RAW), Ends(outputs=Outputs.DECODED)
LOGITS, LABELS = Ends(outputs=Outputs.LOGITS), Ends(outputs=Outputs.LABELS)
LOWRES = Ends(outputs=Outputs.LOWRES_LOGITS)
OFFER = [
    pytest.param(name, ends, id=f"{name}-{ends.outputs}-{ends.nms}")
    for name, spec in SPECS.items()
    for ends in ends_of(spec.task)
]
EVERY_END = [
    pytest.param(name, ends, id=f"{ends.outputs}-{ends.nms}")
    for name in (DETECTOR, SEGMENTER)
    for ends in ends_of(SPECS[name].task)
]


@functools.cache
def cores(name: str) -> tuple[QuantizedGraph, QuantizedGraph]:
    """(float graph, int8 graph) of one random network, as it ends in weights."""
    torch.set_num_threads(1)
    spec = SPECS[name]
    core = fold_core(random_network(spec))
    return core, quantize(core, sample_images(spec, CALIBRATION_IMAGES, seed=1))


def graph_of(name: str, ends: Ends, precision: Precision = Precision.INT8) -> QuantizedGraph:
    return with_ends(cores(name)[precision is Precision.INT8], ends)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.tflite"


def emit(
    graph: QuantizedGraph,
    path: Path,
    precision: Precision | None = None,
    options: ExportOptions | None = None,
) -> Path:
    litert.emit(graph, precision or graph.precision, options or ExportOptions(), path)
    return path


def load(path: Path) -> LitertRunner:
    runner = litert.load(path)
    assert isinstance(runner, LitertRunner)
    return runner


def assert_same(name: str, actual: np.ndarray, expected: np.ndarray) -> None:
    """Every bit, but where an exponential of float32 comes in."""
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    if name == "detections":
        np.testing.assert_array_equal(actual[..., 4:], expected[..., 4:])
    if name in ("boxes", "detections"):
        assert sqnr_db(expected, actual) >= FP32.min_sqnr_db
    else:
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize(("name", "ends"), OFFER)
def test_int8_equals_the_golden(path: Path, name: str, ends: Ends) -> None:
    """Every result and, on the way, every tensor that the file has."""
    graph = graph_of(name, ends)
    images = sample_images(graph.spec, 2, seed=7)
    seen: dict[str, np.ndarray] = {}
    expected = golden.run_outputs(graph, images, trace=seen.__setitem__)
    runner = load(emit(graph, path))
    results = runner.results(images)
    assert list(results) == [tensor.name for tensor in graph.outputs]
    for result, value in expected.items():
        assert_same(result, results[result], value)
    layers = runner.layers(images)
    fused = {op.output for op in graph.ops if isinstance(op, Permute)}
    assert layers.keys() == seen.keys() - fused
    real = {"decode", "nms", *expected}
    for layer in layers.keys() - real:
        np.testing.assert_array_equal(layers[layer], seen[layer], err_msg=layer)


def as_stored(graph: QuantizedGraph, precision: Precision) -> QuantizedGraph:
    """The float graph with the weights that the file has."""
    if precision is Precision.FP32:
        return graph
    for op in graph.weighted():
        values = op.weight.values.astype(np.float16).astype(np.float32)
        graph = replace_op(graph, dataclasses.replace(op, weight=Weight(values=values)))
    return graph


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.FP16])
@pytest.mark.parametrize(("name", "ends"), [p for p in OFFER if SUPPRESSED not in p.values])
def test_float_is_the_golden_of_the_stored_weights(
    path: Path, name: str, ends: Ends, precision: Precision
) -> None:
    graph = graph_of(name, ends, precision)
    images = sample_images(graph.spec, 2, seed=7)
    results = load(emit(graph, path, precision)).results(images)
    for result, value in golden.run_outputs(as_stored(graph, precision), images).items():
        assert results[result].dtype == value.dtype
        if result == "labels":
            assert (results[result] == value).mean() >= ALL_LABELS
        else:
            assert sqnr_db(value, results[result]) >= FP32.min_sqnr_db, result


@pytest.mark.parametrize("precision", Precision)
@pytest.mark.parametrize("name", [name for name in SPECS if name.startswith("detector")])
def test_detections_are_the_formula_of_the_file_s_own_boxes(
    tmp_path: Path, name: str, precision: Precision
) -> None:
    """Bit for bit in every precision, in scenes where boxes are suppressed."""
    files = [
        emit(graph_of(name, ends, precision), tmp_path / f"{ends.nms}.tflite", precision)
        for ends in (DECODED, SUPPRESSED)
    ]
    spec = SPECS[name].detection
    assert spec is not None
    images = sample_images(SPECS[name], 3, seed=7)
    decoded, suppressed = (load(file).results(images) for file in files)
    for boxes, scores, rows in zip(*decoded_pair(decoded), suppressed["detections"], strict=True):
        expected = rows_of(boxes, scores, spec)
        np.testing.assert_array_equal(rows, expected)
        without = dataclasses.replace(spec, iou_threshold=1 - 1e-6)
        everything = (rows_of(boxes, scores, without)[:, SCORE] >= 0).sum()
        assert 0 < (expected[:, SCORE] >= 0).sum() < everything


def decoded_pair(results: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    return results["boxes"], results["scores"]


def rows_of(boxes: np.ndarray, scores: np.ndarray, spec: DetectionSpec) -> np.ndarray:
    found = exact_nms(torch.from_numpy(boxes), torch.from_numpy(scores), spec)
    return np.column_stack([found.boxes, found.scores, found.classes])


@pytest.mark.parametrize("precision", Precision)
@pytest.mark.parametrize(("name", "ends"), EVERY_END)
def test_describe_tells_results_and_who_computes_them(
    path: Path, name: str, ends: Ends, precision: Precision
) -> None:
    graph = graph_of(name, ends, precision)
    contents = litert.describe(emit(graph, path, precision))
    assert contents.spec == graph.spec
    for told, tensor in zip(contents.outputs, graph.outputs, strict=True):
        n, *rest = tensor.shape
        nhwc = (n, *rest[1:], rest[0]) if len(rest) == 3 else tensor.shape
        assert (told.name, told.shape) == (tensor.name, nhwc)
        assert told.dtype == np.dtype(graph.result_dtype(tensor.name)).name
    operations = sum(contents.ops.values())
    if ends in (SUPPRESSED, LABELS):
        outside = "non-maximum suppression" if ends == SUPPRESSED else "argmax"
        assert contents.delegation.startswith("one XNNPACK node takes the network, ")
        assert contents.delegation.endswith(f"; {outside} outside")
    else:
        assert contents.delegation == f"one XNNPACK node takes all {operations} ops"
    sizes = {layer.name for layer in contents.layers if layer.size_bytes > 64}
    assert {op.output for op in graph.weighted()} <= sizes


@pytest.mark.parametrize("ends", [DECODED, SUPPRESSED], ids=["decoded", "suppressed"])
def test_a_network_in_pieces_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch, ends: Ends
) -> None:
    """The delegate joins no six maps; that more follows it excuses nothing before it."""
    monkeypatch.setattr(litert_heads, "MOST_JOINED", 6)
    emit(graph_of(DETECTOR, ends), path)
    with pytest.raises(TargetError, match="fell back to built-in kernels"):
        litert.load(path)
    assert "built-in kernels run the rest" in litert.describe(path).delegation


@pytest.mark.parametrize("element", IoType)
@pytest.mark.parametrize(("name", "ends"), EVERY_END)
def test_an_app_that_only_reads_the_signature(
    path: Path, name: str, ends: Ends, element: IoType
) -> None:
    """Maps come as (1, h, w, classes); what is real behind a Dequantize stays float32."""
    from ai_edge_litert.interpreter import Interpreter

    graph = graph_of(name, ends)
    image = sample_images(graph.spec, 1, seed=9)
    notes = litert.emit(graph, Precision.INT8, ExportOptions(io=element), path)
    interpreter = Interpreter(model_path=str(path), num_threads=1)
    expected = golden.run_outputs(graph, image)
    (signature,) = interpreter.get_signature_list().values()
    assert (signature["inputs"], signature["outputs"]) == (["input"], sorted(expected))
    feed = image.transpose(0, 2, 3, 1)
    if element is not IoType.FLOAT32:
        feed = codes_of(feed, interpreter.get_input_details()[0])
    results = interpreter.get_signature_runner("serving_default")(input=feed)
    details = interpreter.get_signature_runner("serving_default").get_output_details()
    for result, value in expected.items():
        found = results[result]
        whole = graph.tensors[result].qparams is not None and element is not IoType.FLOAT32
        assert found.dtype == (str(element) if whole else graph.result_dtype(result))
        if whole:
            scale, zero_point = details[result]["quantization"]
            found = (found.astype(np.float32) - zero_point) * np.float32(scale)
        found = found.transpose(0, 3, 1, 2) if found.ndim == 4 else found
        assert_same(result, found, value)
    told = any("whatever the input" in note for note in notes)
    assert told == (element is not IoType.FLOAT32 and graph.outputs[0].qparams is None)


def codes_of(images: np.ndarray, details: dict) -> np.ndarray:
    scale, zero_point = details["quantization"]
    limits = np.iinfo(details["dtype"])
    codes = np.rint(images / np.float32(scale)) + zero_point
    return np.clip(codes, limits.min, limits.max).astype(details["dtype"])


@pytest.mark.parametrize("element", [IoType.INT8, IoType.UINT8])
@pytest.mark.parametrize(("name", "ends"), EVERY_END)
def test_the_input_s_type_changes_no_result(
    path: Path, name: str, ends: Ends, element: IoType
) -> None:
    graph = graph_of(name, ends)
    images = sample_images(graph.spec, 2, seed=7)
    results = load(emit(graph, path, options=ExportOptions(io=element))).results(images)
    for result, value in golden.run_outputs(graph, images).items():
        assert_same(result, results[result], value)


def with_qparams(graph: QuantizedGraph, name: str, qparams: QParams) -> QuantizedGraph:
    tensor = dataclasses.replace(graph.tensors[name], qparams=qparams)
    return dataclasses.replace(graph, tensors={**graph.tensors, name: tensor})


def test_maps_of_other_parameters_are_requantized_before_they_are_joined(path: Path) -> None:
    graph = graph_of(SEGMENTER, LOGITS)
    (joined,) = (op for op in graph.ops if isinstance(op, Concat))
    q = graph.qparams(joined.output)
    finer = QParams(scale=float(np.float32(q.scale * 0.7)), zero_point=q.zero_point + 9)
    graph = with_qparams(graph, joined.output, finer)
    images = sample_images(graph.spec, 2, seed=7)
    results = load(emit(graph, path)).results(images)
    np.testing.assert_array_equal(results["logits"], golden.run(graph, images))


@pytest.mark.parametrize("growth", [1.0, 1.0037])
def test_scores_of_any_scale(path: Path, growth: float) -> None:
    """A LOGISTIC of codes has scores of 1/256 in every version; others go by way of float32."""
    graph = graph_of(DETECTOR, DECODED)
    scale = QParams(scale=float(np.float32(growth / 256)), zero_point=-128)
    for op in graph.ops:
        if isinstance(op, Sigmoid):
            graph = with_qparams(graph, op.output, scale)
    images = sample_images(graph.spec, 2, seed=7)
    runner = load(emit(graph, path))
    expected = golden.run_outputs(graph, images)["scores"]
    np.testing.assert_array_equal(runner.results(images)["scores"], expected)
    kinds = [(op.kind, op.version) for op in parse(path.read_bytes()).operators]
    assert kinds.count(("LOGISTIC", 2 if growth == 1.0 else 1)) == 6


EMIT_ELSEWHERE = """
import sys
from collections.abc import Mapping
from pathlib import Path
from exporter.graph_file import load_graph
from exporter.spec import Precision
from exporter.target import ExportOptions
from targets import litert
for graph, out in zip(sys.argv[1::2], sys.argv[2::2]):
    litert.emit(load_graph(Path(graph)), Precision.INT8, ExportOptions(), Path(out))
"""


def test_another_process_writes_the_same_bytes(tmp_path: Path) -> None:
    pairs, arguments = [], []
    for i, chosen in enumerate(EVERY_END):
        graph = graph_of(*chosen.values)
        here, there, saved = (tmp_path / f"{i}.{name}" for name in ("here", "there", "graph"))
        pairs.append((emit(graph, here), there))
        save_graph(graph, saved)
        arguments += [str(saved), str(there)]
    subprocess.run([sys.executable, "-c", EMIT_ELSEWHERE, *arguments], check=True)
    for here, there in pairs:
        assert there.read_bytes() == here.read_bytes()


def metadata_of(path: Path) -> Table:
    """The one SubGraphMetadata, by `metadata_schema.fbs`."""
    return Table.root(parse(path.read_bytes()).metadata["TFLITE_METADATA"]).first(3)


@pytest.mark.parametrize(("name", "ends"), EVERY_END)
def test_metadata_names_the_outputs_in_the_order_of_the_file(
    path: Path, name: str, ends: Ends
) -> None:
    graph = graph_of(name, ends)
    subgraph = metadata_of(emit(graph, path))
    names = [tensor.text(0) for tensor in subgraph.tables(3)]
    assert names == [tensor.name for tensor in graph.outputs]
    assert [tensor.name for tensor in litert.describe(path).outputs] == names


@pytest.mark.parametrize("ends", [LOGITS, LOWRES], ids=["logits", "lowres"])
def test_metadata_is_what_image_segmenters_read(path: Path, ends: Ends) -> None:
    """MediaPipe 1.2 gave these labels and the softmax of these logits from such a file."""
    subgraph = metadata_of(emit(graph_of(SEGMENTER, ends), path))
    masks = subgraph.first(3)
    labels = masks.first(6)
    assert (labels.text(0), labels.field(2, "b")) == ("labels.txt", AXIS_LABELS)
    assert (masks.table(3).field(0, "B"), masks.table(3).table(1).field(0, "b")) == (IMAGE, GRAY)
    custom = subgraph.first(9)
    assert custom.text(0) == "SEGMENTER_METADATA"
    options = custom.bytes(1)
    assert options[4:8] == b"V001"
    assert Table.root(options).field(0, "b") == SOFTMAX


def test_metadata_of_labels_boxes_and_scores(path: Path) -> None:
    """Values are labels; boxes are left, top, right, bottom; scores have labels along an axis."""
    subgraph = metadata_of(emit(graph_of(SEGMENTER, LABELS), path))
    assert not subgraph.has(9)
    assert subgraph.first(3).first(6).field(2, "b") == VALUE_LABELS
    scores, boxes = metadata_of(emit(graph_of(DETECTOR, DECODED), path)).tables(3)
    assert scores.first(6).field(2, "b") == AXIS_LABELS
    assert boxes.table(3).field(0, "B") == BOUNDING_BOX
    assert boxes.table(3).table(1).field(1, "b") == BOUNDARIES
    assert not boxes.has(6)


def test_notes_say_which_mediapipe_task_reads_it(path: Path) -> None:
    """A segmenter's logits need no note."""
    for name, ends, said in (
        (SEGMENTER, LOGITS, ()),
        (SEGMENTER, LABELS, ("ImageSegmenter reads logits, not labels",)),
        (DETECTOR, DECODED, ("ObjectDetector does not read",)),
    ):
        notes = litert.emit(graph_of(name, ends), Precision.INT8, ExportOptions(), path)
        assert len(notes) == len(said)
        assert all(text in note for text, note in zip(said, notes, strict=True))


def test_impossible_requests_are_refused(path: Path) -> None:
    softmax = ExportOptions(softmax=True)
    for name in (DETECTOR, SEGMENTER):
        with pytest.raises(UnsupportedError, match="--softmax ends a classifier"):
            emit(graph_of(name, ends_of(SPECS[name].task)[0]), path, options=softmax)
    native = Ends(outputs=Outputs.DECODED, nms=NmsMode.NATIVE)
    with pytest.raises(UnsupportedError, match="LiteRT's own non-maximum suppression"):
        emit(graph_of(DETECTOR, native), path)
    graph = graph_of(DETECTOR, RAW)
    permuted = next(op for op in graph.ops if isinstance(op, Permute))
    tensor = dataclasses.replace(graph.tensors[permuted.output], shape=(1, 3, 4, 4))
    odd = dataclasses.replace(
        replace_unchecked(graph, dataclasses.replace(permuted, order=(0, 1, 3, 2))),
        tensors={**graph.tensors, tensor.name: tensor},
    )
    with pytest.raises(UnsupportedError, match=r"no permutation \(0, 1, 3, 2\)"):
        emit(odd, path)
    reshaped = next(op for op in graph.ops if isinstance(op, Reshape))
    square = dataclasses.replace(reshaped, shape=(1, *reshaped.shape[1:], 1))
    with pytest.raises(UnsupportedError, match="a reshaped map would mix"):
        emit(replace_unchecked(graph, square), path)
    assert not path.exists()


def replace_unchecked(graph: QuantizedGraph, op: Permute | Reshape) -> QuantizedGraph:
    ops = tuple(op if other.output == op.output else other for other in graph.ops)
    return dataclasses.replace(graph, ops=ops)


def test_a_permuted_map_is_only_reshaped(path: Path) -> None:
    graph = graph_of(DETECTOR, RAW, Precision.FP32)
    permuted = next(op for op in graph.ops if isinstance(op, Permute))
    op = Sigmoid(input=permuted.output, output="scores")
    tensor = dataclasses.replace(graph.tensors[permuted.output], name=op.output)
    place = graph.ops.index(permuted) + 1
    odd = dataclasses.replace(
        graph,
        ops=(*graph.ops[:place], op, *graph.ops[place:]),
        tensors={**graph.tensors, op.output: tensor},
    )
    with pytest.raises(UnsupportedError, match=r"only reshapes permuted maps such as"):
        emit(odd, path, Precision.FP32)


@pytest.mark.parametrize(("condition", "body"), [(0, 2), (1, 3), (1, -1)])
def test_a_loop_over_subgraphs_that_are_not_there_is_damage(condition: int, body: int) -> None:
    graph = graph_of(DETECTOR, SUPPRESSED)
    writer = ModelWriter(graph, Precision.INT8, ExportOptions())
    for op in graph.ops:
        writer.add(op)
    (loop,) = (op for op in writer.model.operators if op.kind == "WHILE")
    assert len(parse(write(writer.model)).inner) == 2
    loop.options.condSubgraphIndex, loop.options.bodySubgraphIndex = condition, body
    with pytest.raises(ValueError, match="WHILE runs subgraphs"):
        parse(write(writer.model))


@pytest.mark.slow
@pytest.mark.parametrize("task", [Task.DETECTION, Task.SEGMENTATION])
def test_the_published_networks(path: Path, task: Task) -> None:
    """SSDLite at 320 px and 81 classes, DeepLab at 513 px and 21: int8 on one image."""
    spec = default_spec(task)
    core = quantize(fold_core(random_network(spec)), sample_images(spec, 1, seed=1))
    image = sample_images(spec, 1, seed=7)
    for ends in ends_of(task):
        graph = with_ends(core, ends)
        results = load(emit(graph, path)).results(image)
        for result, value in golden.run_outputs(graph, image).items():
            assert_same(result, results[result], value)
        assert path.stat().st_size < (5e6 if task is Task.DETECTION else 2.5e6)
        assert litert.describe(path).delegation.startswith("one XNNPACK node takes")
