"""The LiteRT target: exact in integers, one delegate node, readable by classifier APIs."""

from __future__ import annotations

import dataclasses
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from flatbuffer_table import Table
from graphs import (
    ONE_LAYER,
    TWO_LAYERS,
    Head,
    make_graphs,
    make_tiny_graph,
    replace_op,
    sample_images,
    skew_qparams,
)

from exporter import golden
from exporter.errors import ArtifactError, MissingDependencyError, TargetError, UnsupportedError
from exporter.graph import Conv, QuantizedGraph, Reshape, Weight
from exporter.graph_file import save_graph
from exporter.metadata import labels_text
from exporter.metrics import sqnr_db
from exporter.spec import ChannelOrder, PaddingStyle, Precision
from exporter.target import ExportOptions, IoType
from exporter.verdicts import FP16, FP32, Tolerance
from targets import litert
from targets.litert_model import ModelWriter
from targets.litert_reader import parse
from targets.litert_runner import LitertRunner

MODELS = [
    pytest.param(96, PaddingStyle.SAME, ONE_LAYER, id="96-same"),
    pytest.param(97, PaddingStyle.SAME, TWO_LAYERS, id="97-same-two-layers"),
    pytest.param(96, PaddingStyle.TORCH, TWO_LAYERS, id="96-torch-two-layers"),
    pytest.param(97, PaddingStyle.TORCH, ONE_LAYER, id="97-torch"),
]
TINY_GRAPHS = 30
SOFTMAX_ERROR = 1e-6  # two float32 softmaxes of one vector
PROBABILITY_STEP = 1 / 256


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


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def assert_equals_golden(graph: QuantizedGraph, runner: LitertRunner, images: np.ndarray) -> None:
    expected: dict[str, np.ndarray] = {}
    logits = golden.run(graph, images, trace=expected.__setitem__)
    seen = runner.layers(images)
    assert list(seen) == list(expected)
    for name, value in expected.items():
        assert seen[name].dtype == value.dtype
        assert np.array_equal(seen[name], value), f"first diverging layer: {name}"
    assert np.array_equal(runner(images), logits)


@pytest.mark.parametrize(("resolution", "padding", "head"), MODELS)
@pytest.mark.parametrize("element", IoType)
@pytest.mark.parametrize("skewed", [False, True], ids=["calibrated", "skewed"])
def test_int8_equals_the_golden_in_every_layer(
    path: Path, resolution: int, padding: PaddingStyle, head: Head, element: IoType, skewed: bool
) -> None:
    _, graph = make_graphs(resolution=resolution, padding=padding, head=head)
    graph = skew_qparams(graph) if skewed else graph
    runner = load(emit(graph, path, options=ExportOptions(io=element)))
    assert_equals_golden(graph, runner, sample_images(graph.spec, 3, seed=7))


@pytest.mark.parametrize("seed", range(TINY_GRAPHS))
def test_int8_equals_the_golden_on_rounding_ties(path: Path, seed: int) -> None:
    graph = make_tiny_graph(seed)
    halves = np.random.default_rng(seed).integers(-280, 280, (2, *graph.input.shape[1:]))
    images = halves.astype(np.float32) / 2 * np.float32(graph.qparams("input").scale)
    assert_equals_golden(graph, load(emit(graph, path)), images)


@pytest.mark.parametrize(("resolution", "padding", "head"), MODELS)
@pytest.mark.parametrize(
    ("precision", "tolerance"), [(Precision.FP32, FP32), (Precision.FP16, FP16)]
)
def test_float_stays_within_its_tolerance_in_every_layer(
    path: Path,
    resolution: int,
    padding: PaddingStyle,
    head: Head,
    precision: Precision,
    tolerance: Tolerance,
) -> None:
    graph, _ = make_graphs(resolution=resolution, padding=padding, head=head)
    images = sample_images(graph.spec, 3, seed=7)
    expected: dict[str, np.ndarray] = {}
    golden.run(graph, images, trace=expected.__setitem__)
    seen = load(emit(graph, path, precision)).layers(images)
    assert list(seen) == list(expected)
    for name, value in expected.items():
        assert sqnr_db(value, seen[name]) >= tolerance.min_sqnr_db, name


@pytest.mark.parametrize("element", IoType)
def test_softmax_gives_apps_probabilities_and_us_the_same_logits(
    path: Path, element: IoType
) -> None:
    _, graph = make_graphs(head=TWO_LAYERS)
    images = sample_images(graph.spec, 4, seed=7)
    runner = load(emit(graph, path, options=ExportOptions(io=element, softmax=True)))
    assert_equals_golden(graph, runner, images)
    probabilities = softmax(golden.run(graph, images))
    step = SOFTMAX_ERROR if element is IoType.FLOAT32 else PROBABILITY_STEP
    assert np.abs(runner.outputs(images) - probabilities).max() < step
    output = litert.describe(path).outputs[0]
    assert (output.name, output.dtype) == ("probability", str(element))


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.FP16])
def test_softmax_of_a_float_model(path: Path, precision: Precision) -> None:
    graph, _ = make_graphs()
    images = sample_images(graph.spec, 2, seed=7)
    runner = load(emit(graph, path, precision, ExportOptions(softmax=True)))
    assert np.abs(runner.outputs(images) - softmax(runner(images))).max() < SOFTMAX_ERROR


@pytest.mark.parametrize("element", IoType)
@pytest.mark.parametrize("with_softmax", [False, True])
def test_an_app_that_only_reads_the_signature_gets_the_logits(
    path: Path, element: IoType, with_softmax: bool
) -> None:
    """What a phone does: `serving_default`, its own quantization, no help from our runner."""
    from ai_edge_litert.interpreter import Interpreter

    _, graph = make_graphs()
    image = sample_images(graph.spec, 1, seed=9)
    emit(graph, path, options=ExportOptions(io=element, softmax=with_softmax))
    interpreter = Interpreter(model_path=str(path), num_threads=1)
    output = "probability" if with_softmax else "logits"
    signatures = {"serving_default": {"inputs": ["input"], "outputs": [output]}}
    assert interpreter.get_signature_list() == signatures
    feed = image.transpose(0, 2, 3, 1)
    if element is not IoType.FLOAT32:
        scale, zero_point = interpreter.get_input_details()[0]["quantization"]
        limits = np.iinfo(str(element))
        codes = np.rint(feed / np.float32(scale)) + zero_point
        feed = np.clip(codes, limits.min, limits.max).astype(str(element))
    result = interpreter.get_signature_runner("serving_default")(input=feed)[output]
    if element is not IoType.FLOAT32:
        scale, zero_point = interpreter.get_output_details()[0]["quantization"]
        result = (result.astype(np.float32) - zero_point) * np.float32(scale)
    expected = golden.run(graph, image)
    if with_softmax:
        assert np.abs(result - softmax(expected)).max() < PROBABILITY_STEP
    else:
        assert np.array_equal(result, expected)


@pytest.mark.parametrize("precision", Precision)
@pytest.mark.parametrize("padding", PaddingStyle)
def test_describe_reads_what_emit_wrote(
    path: Path, precision: Precision, padding: PaddingStyle
) -> None:
    float_graph, int8_graph = make_graphs(padding=padding)
    graph = int8_graph if precision is Precision.INT8 else float_graph
    contents = litert.describe(emit(graph, path, precision))
    assert contents.spec == graph.spec
    assert contents.size_bytes == path.stat().st_size
    assert contents.inputs[0].shape == (1, 96, 96, 3)
    assert contents.outputs[0].shape == (1, 20)
    assert contents.delegation == f"one XNNPACK node takes all {sum(contents.ops.values())} ops"
    # At an even size only stride 2 pads differently in torch than in TensorFlow.
    assert contents.ops.get("PAD", 0) == (5 if padding is PaddingStyle.TORCH else 0)
    sizes = {layer.name: layer.size_bytes for layer in contents.layers if layer.size_bytes > 64}
    assert set(sizes) == {op.output for op in graph.weighted()}
    assert 0.8 < sum(sizes.values()) / contents.size_bytes < 1  # int8: 14 % are scales


def test_fp16_halves_the_file(tmp_path: Path) -> None:
    graph, _ = make_graphs()
    full = emit(graph, tmp_path / "full.tflite")
    half = emit(graph, tmp_path / "half.tflite", Precision.FP16)
    assert half.stat().st_size < 0.56 * full.stat().st_size
    assert any("float16" in note for note in litert.describe(half).notes)


def test_fp16_refuses_a_weight_beyond_its_range(path: Path) -> None:
    graph, _ = make_graphs()
    first = next(op for op in graph.ops if isinstance(op, Conv))
    huge = dataclasses.replace(first, weight=Weight(values=first.weight.values * np.float32(1e6)))
    with pytest.raises(UnsupportedError, match=r"features\.0.*65504"):
        emit(replace_op(graph, huge), path, Precision.FP16)
    assert not path.exists()


def test_constants_lie_on_16_byte_boundaries(path: Path) -> None:
    _, graph = make_graphs()
    data = emit(graph, path).read_bytes()
    weight = next(graph.weighted()).weight.values.transpose(0, 2, 3, 1).tobytes()
    assert data.find(weight) % 16 == 0


def test_the_zip_behind_the_model_holds_the_labels(path: Path) -> None:
    _, graph = make_graphs()
    with zipfile.ZipFile(emit(graph, path)) as archive:
        assert archive.namelist() == ["labels.txt"]
        assert archive.read("labels.txt").decode() == labels_text(graph.spec)
    metadata = parse(path.read_bytes()).metadata
    assert json.loads(metadata["mnv2_export"])["precision"] == "int8"


@pytest.mark.parametrize("padding", PaddingStyle)
@pytest.mark.parametrize("order", ChannelOrder)
def test_tflite_metadata_describes_the_image(
    path: Path, padding: PaddingStyle, order: ChannelOrder
) -> None:
    """By `metadata_schema.fbs`; MediaPipe 1.2 gave our own probabilities from these fields."""
    graph, _ = make_graphs(padding=padding)
    contract = dataclasses.replace(graph.spec.preprocess, channel_order=order)
    spec = dataclasses.replace(graph.spec, preprocess=contract)
    emit(dataclasses.replace(graph, spec=spec), path)
    metadata = parse(path.read_bytes()).metadata["TFLITE_METADATA"]
    assert metadata[4:8] == b"M001"
    subgraph = Table.root(metadata).first(3)
    image, scores = subgraph.first(2), subgraph.first(3)
    properties = image.table(3).table(1)
    size = properties.table(1)
    assert (size.field(0, "I"), size.field(1, "I")) == (96, 96)
    normalization = image.first(4).table(1)
    mean, std = normalization.floats(0), normalization.floats(1)
    pixels = np.arange(256, dtype=np.float32)[:, None]
    scale, bias = contract.affine()
    assert np.allclose((pixels - mean) / std, pixels * scale + bias, atol=1e-5)
    assert scores.text(0) == "logits"
    assert scores.first(6).text(0) == "labels.txt"
    if order is ChannelOrder.RGB:
        assert properties.field(0, "b") == 1


EMIT_ELSEWHERE = """
import sys
from pathlib import Path
from exporter.graph_file import load_graph
from exporter.spec import Precision
from exporter.target import ExportOptions, IoType
from targets import litert
assert not {"ai_edge_litert", "flatbuffers", "torch"} & set(sys.modules), "no SDK on import"
options = ExportOptions(io=IoType(sys.argv[3]), softmax=True)
litert.emit(load_graph(Path(sys.argv[1])), Precision(sys.argv[2]), options, Path(sys.argv[4]))
"""


@pytest.mark.parametrize(
    ("precision", "element"),
    [
        (Precision.FP32, IoType.FLOAT32),
        (Precision.FP16, IoType.FLOAT32),
        (Precision.INT8, IoType.UINT8),
    ],
)
def test_another_process_writes_the_same_bytes(
    tmp_path: Path, precision: Precision, element: IoType
) -> None:
    float_graph, int8_graph = make_graphs()
    graph = int8_graph if precision is Precision.INT8 else float_graph
    options = ExportOptions(io=element, softmax=True)
    here = emit(graph, tmp_path / "here.tflite", precision, options)
    save_graph(graph, tmp_path / "graph")
    there = tmp_path / "there.tflite"
    arguments = [str(tmp_path / "graph"), str(precision), str(element), str(there)]
    subprocess.run([sys.executable, "-c", EMIT_ELSEWHERE, *arguments], check=True)
    assert there.read_bytes() == here.read_bytes()


def test_one_changed_weight_shows_in_bytes_and_layers(tmp_path: Path) -> None:
    _, graph = make_graphs()
    first = next(op for op in graph.ops if isinstance(op, Conv))
    values = first.weight.values.copy()
    values[3, 1, 1, 1] -= 1
    changed = replace_op(
        graph, dataclasses.replace(first, weight=dataclasses.replace(first.weight, values=values))
    )
    images = sample_images(graph.spec, 2, seed=7)
    files = [emit(graph, tmp_path / "a.tflite"), emit(changed, tmp_path / "b.tflite")]
    assert files[0].read_bytes() != files[1].read_bytes()
    before, after = (load(file).layers(images) for file in files)
    differing = [name for name in before if not np.array_equal(before[name], after[name])]
    assert differing[0] == "features.0"


def test_operations_outside_the_delegate_are_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """XNNPACK does not take QUANTIZE from uint8 to int8: a built-in kernel would run it."""
    _, graph = make_graphs()
    monkeypatch.setattr(ModelWriter, "cast", ModelWriter.quantize)
    emit(graph, path, options=ExportOptions(io=IoType.UINT8))
    with pytest.raises(TargetError, match="fell back to built-in kernels"):
        litert.load(path)
    assert "built-in kernels run the rest" in litert.describe(path).delegation


def truncated(share: float) -> Callable[[bytes], bytes]:
    return lambda data: data[: int(len(data) * share)]


def flipped(share: float) -> Callable[[bytes], bytes]:
    def damage(data: bytes) -> bytes:
        where = int((len(data) - 1) * share)
        return data[:where] + bytes([data[where] ^ 0x40]) + data[where + 1 :]

    return damage


DAMAGES = [
    pytest.param(truncated(0.0), id="empty"),
    pytest.param(truncated(0.00001), id="5-bytes"),
    pytest.param(truncated(0.01), id="first-percent"),
    pytest.param(truncated(0.5), id="half"),
    pytest.param(truncated(0.999), id="zip-missing"),
    pytest.param(lambda data: data[4:], id="shifted"),
    pytest.param(lambda data: data[:8] + bytes(len(data) - 8), id="zeroed"),
    *(pytest.param(flipped(i / 20), id=f"bit-flipped-at-{5 * i}%") for i in range(21)),
]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("read", [litert.describe, litert.load])
def test_a_damaged_file_is_named_before_native_code_maps_it(
    path: Path, damage: Callable[[bytes], bytes], read: Callable[[Path], object]
) -> None:
    _, graph = make_graphs()
    path.write_bytes(damage(emit(graph, path).read_bytes()))
    with pytest.raises(ArtifactError, match=r"model\.tflite: damaged"):
        read(path)


@pytest.mark.parametrize("read", [litert.describe, litert.load])
def test_a_missing_file_is_named(path: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises(ArtifactError, match=r"model\.tflite: no such file"):
        read(path)


def test_impossible_requests_are_refused(path: Path) -> None:
    float_graph, int8_graph = make_graphs()
    with pytest.raises(UnsupportedError, match="cannot become"):
        emit(int8_graph, path, Precision.FP32)
    with pytest.raises(UnsupportedError, match="need int8 precision"):
        emit(float_graph, path, Precision.FP16, ExportOptions(io=IoType.UINT8))
    first = next(op for op in float_graph.ops if isinstance(op, Conv))
    odd_clamp = replace_op(float_graph, dataclasses.replace(first, clamp=(-2.0, 2.0)))
    with pytest.raises(UnsupportedError, match="no activation"):
        emit(odd_clamp, path)
    assert not path.exists()


def test_a_map_is_not_flattened_in_the_wrong_order(path: Path) -> None:
    graph, _ = make_graphs()
    ops = [op for op in graph.ops if not isinstance(op, Reshape)]
    early = Reshape(input="input", output="flatten", shape=(1, 3 * 96 * 96))
    shuffled = dataclasses.replace(graph, ops=(ops[0], early, *ops[1:]))
    with pytest.raises(UnsupportedError, match="flatten: a reshaped map"):
        emit(shuffled, path)


def test_a_normalization_that_mediapipe_refuses_is_told(path: Path) -> None:
    graph, _ = make_graphs(padding=PaddingStyle.TORCH)
    (note,) = litert.emit(graph, Precision.FP32, ExportOptions(), path)
    assert "MediaPipe" in note


def test_integer_inputs_come_with_the_formula_for_their_codes(path: Path) -> None:
    _, graph = make_graphs()
    assert litert.emit(graph, Precision.INT8, ExportOptions(), path) == ()
    q = graph.qparams("input")
    (note,) = litert.emit(graph, Precision.INT8, ExportOptions(io=IoType.UINT8), path)
    assert f"round(x / {q.scale:.9g}) + {q.zero_point + 128}" in note


def test_a_missing_sdk_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(MissingDependencyError, match=r"ai_edge_litert"):
        litert.check()


def test_the_digest_covers_the_whole_file(path: Path) -> None:
    """It is the zip's comment, so zip readers and LiteRT see nothing unusual."""
    _, graph = make_graphs()
    data = emit(graph, path).read_bytes()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.comment == data[-64:]
        assert archive.testzip() is None
