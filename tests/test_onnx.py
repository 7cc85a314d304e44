"""The ONNX target: exact in integers, close in float, and honest about damaged files."""

from __future__ import annotations

import dataclasses
import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx as onnx_sdk
import pytest
from graphs import (
    ONE_LAYER,
    TWO_LAYERS,
    Head,
    make_graphs,
    make_tiny_graph,
    sample_images,
    skew_qparams,
)
from onnx import numpy_helper

from exporter import golden
from exporter.errors import ArtifactError, MissingDependencyError, UnsupportedError
from exporter.graph import Conv, QParams, QuantizedGraph, Weight
from exporter.graph_file import save_graph
from exporter.metrics import sqnr_db
from exporter.spec import PaddingStyle, Precision, Rules
from exporter.target import CannotRunError, ExportOptions, Runner
from exporter.verdicts import FP16, FP32
from targets import onnx

MODELS = [
    pytest.param(96, PaddingStyle.SAME, ONE_LAYER, id="96-same"),
    pytest.param(97, PaddingStyle.SAME, TWO_LAYERS, id="97-same-two-layers"),
    pytest.param(96, PaddingStyle.TORCH, TWO_LAYERS, id="96-torch-two-layers"),
    pytest.param(97, PaddingStyle.TORCH, ONE_LAYER, id="97-torch"),
]
BATCHES = [1, None, 5]
IMAGES = 7  # not a multiple of any batch above
TINY_GRAPHS = 30
ADD_CASES = 12


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.onnx"


def emit(
    graph: QuantizedGraph, path: Path, precision: Precision | None = None, batch: int | None = 1
) -> Path:
    onnx.emit(graph, precision or graph.precision, ExportOptions(batch=batch), path)
    return path


def load(path: Path) -> Runner:
    """An int8 artifact is exact only on x86 with VNNI."""
    try:
        return onnx.load(path)
    except CannotRunError as error:
        pytest.skip(str(error))


def assert_equals_golden(graph: QuantizedGraph, runner: Runner, images: np.ndarray) -> None:
    expected: dict[str, np.ndarray] = {}
    logits = golden.run(graph, images, Rules.ORT, trace=expected.__setitem__)
    seen = runner.layers(images)
    assert list(seen) == list(expected)
    for name, value in expected.items():
        assert seen[name].dtype == value.dtype
        assert np.array_equal(seen[name], value), f"first diverging layer: {name}"
    assert np.array_equal(runner(images), logits)


@pytest.mark.parametrize(("resolution", "padding", "head"), MODELS)
@pytest.mark.parametrize("batch", BATCHES)
def test_int8_equals_the_golden_in_every_layer(
    path: Path, resolution: int, padding: PaddingStyle, head: Head, batch: int | None
) -> None:
    _, graph = make_graphs(resolution=resolution, padding=padding, head=head)
    runner = load(emit(graph, path, batch=batch))
    assert_equals_golden(graph, runner, sample_images(graph.spec, IMAGES, seed=7))


@pytest.mark.parametrize(("resolution", "padding", "head"), MODELS)
def test_int8_equals_the_golden_where_clamps_are_explicit(
    path: Path, resolution: int, padding: PaddingStyle, head: Head
) -> None:
    _, calibrated = make_graphs(resolution=resolution, padding=padding, head=head)
    graph = skew_qparams(calibrated)
    runner = load(emit(graph, path))
    assert onnx.describe(path).ops["Clip"] > 10
    assert_equals_golden(graph, runner, sample_images(graph.spec, 3, seed=8))


@pytest.mark.parametrize("seed", range(TINY_GRAPHS))
def test_int8_equals_the_golden_on_rounding_ties(path: Path, seed: int) -> None:
    graph = make_tiny_graph(seed)
    halves = np.random.default_rng(seed).integers(-280, 280, (2, *graph.input.shape[1:]))
    images = halves.astype(np.float32) / 2 * np.float32(graph.qparams("input").scale)
    assert_equals_golden(graph, load(emit(graph, path)), images)


@pytest.mark.parametrize("seed", range(ADD_CASES))
def test_add_rule_holds_for_every_pair_of_codes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    step = 2.0 ** -float(rng.integers(3, 8))
    ratios = rng.choice([0.25, 0.5, 0.75, 1.0], 2) if seed % 2 else rng.uniform(0.3, 1.5, 2)
    a, b, target = (
        QParams(scale=float(np.float32(step * r)), zero_point=int(rng.integers(-128, 128)))
        for r in (*ratios, 1.0)
    )
    pairs = np.meshgrid(np.arange(-128, 128), np.arange(-128, 128))
    x, y = (codes.reshape(1, -1).astype(np.int8) for codes in pairs)
    assert np.array_equal(run_add(x, y, a, b, target), golden.add_ort(x, y, a, b, target))


def run_add(x: np.ndarray, y: np.ndarray, a: QParams, b: QParams, target: QParams) -> np.ndarray:
    """ONNX Runtime's QLinearAdd on int8 codes, by way of uint8."""
    import onnxruntime
    from onnx import TensorProto, helper

    constants, inputs = [], []
    for name, q in (("x", a), ("y", b), ("z", target)):
        constants += [
            numpy_helper.from_array(np.array(q.scale, np.float32), f"{name}_scale"),
            numpy_helper.from_array(np.array(q.zero_point + 128, np.uint8), f"{name}_zero"),
        ]
        inputs += [name, f"{name}_scale", f"{name}_zero"]
    inputs.remove("z")
    node = helper.make_node("QLinearAdd", inputs, ["z"], domain="com.microsoft")
    ends = [helper.make_tensor_value_info(n, TensorProto.UINT8, x.shape) for n in "xyz"]
    model = helper.make_model(
        helper.make_graph([node], "add", ends[:2], ends[2:], constants),
        opset_imports=[helper.make_opsetid("", 13), helper.make_opsetid("com.microsoft", 1)],
        ir_version=7,
    )
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    codes = {n: (v.astype(np.int16) + 128).astype(np.uint8) for n, v in (("x", x), ("y", y))}
    (sums,) = session.run(None, codes)
    return (sums.astype(np.int16) - 128).astype(np.int8)


@pytest.mark.parametrize(("resolution", "padding", "head"), MODELS)
@pytest.mark.parametrize(
    ("precision", "tolerance"), [(Precision.FP32, FP32), (Precision.FP16, FP16)]
)
def test_float_stays_within_its_tolerance_in_every_layer(
    path: Path, resolution: int, padding: PaddingStyle, head: Head, precision: Precision, tolerance
) -> None:
    graph, _ = make_graphs(resolution=resolution, padding=padding, head=head)
    images = sample_images(graph.spec, IMAGES, seed=7)
    expected: dict[str, np.ndarray] = {}
    golden.run(graph, images, trace=expected.__setitem__)
    runner = onnx.load(emit(graph, path, precision, batch=None))
    seen = runner.layers(images)
    assert list(seen) == list(expected)
    for name, value in expected.items():
        assert sqnr_db(value, seen[name]) >= tolerance.min_sqnr_db, name
    assert sqnr_db(expected["logits"], runner(images)) >= tolerance.min_sqnr_db


def test_fp16_halves_the_file_and_its_inputs_stay_float32(tmp_path: Path) -> None:
    graph, _ = make_graphs()
    full = emit(graph, tmp_path / "full.onnx")
    half = emit(graph, tmp_path / "half.onnx", Precision.FP16)
    assert half.stat().st_size < 0.56 * full.stat().st_size
    contents = onnx.describe(half)
    assert (contents.inputs[0].dtype, contents.outputs[0].dtype) == ("float32", "float32")
    assert any("float16" in note for note in contents.notes)


def test_fp16_refuses_a_weight_beyond_its_range(path: Path) -> None:
    graph, _ = make_graphs()
    first = next(op for op in graph.ops if isinstance(op, Conv))
    huge = dataclasses.replace(first, weight=Weight(values=first.weight.values * np.float32(1e6)))
    ops = tuple(huge if op is first else op for op in graph.ops)
    with pytest.raises(UnsupportedError, match=r"features\.0.*65504"):
        emit(dataclasses.replace(graph, ops=ops), path, Precision.FP16)
    assert not path.exists()


def test_calibrated_int8_runs_as_integers_without_clips(path: Path) -> None:
    _, graph = make_graphs(head=TWO_LAYERS)
    contents = onnx.describe(emit(graph, path))
    assert contents.ops == {
        "QuantizeLinear": 1,
        "QLinearConv": 52,
        "QLinearAdd": 10,
        "QLinearGlobalAveragePool": 1,
        "Reshape": 1,
        "QGemm": 2,
        "DequantizeLinear": 1,
    }
    assert contents.delegation == (
        "runs as 66 integer ops in ONNX Runtime, 2 float ops: 1 DequantizeLinear, 1 QuantizeLinear"
    )


@pytest.mark.parametrize("precision", Precision)
def test_describe_reads_what_emit_wrote(path: Path, precision: Precision) -> None:
    float_graph, int8_graph = make_graphs()
    graph = int8_graph if precision is Precision.INT8 else float_graph
    contents = onnx.describe(emit(graph, path, precision, batch=None))
    assert contents.spec == graph.spec
    assert contents.size_bytes == path.stat().st_size
    assert contents.inputs[0].shape == ("batch", 3, 96, 96)
    assert contents.outputs[0].shape == ("batch", 20)
    sizes = {layer.name: layer.size_bytes for layer in contents.layers if layer.size_bytes > 64}
    assert set(sizes) == {op.output for op in graph.weighted()}
    assert 0.85 < sum(sizes.values()) / contents.size_bytes < 1
    quantized = "uint8, scale" in contents.inputs[0].note
    assert quantized == (precision is Precision.INT8)


@pytest.mark.parametrize("precision", Precision)
@pytest.mark.parametrize("batch", BATCHES)
def test_the_checker_passes_and_metadata_travels(
    path: Path, precision: Precision, batch: int | None
) -> None:
    float_graph, int8_graph = make_graphs()
    graph = int8_graph if precision is Precision.INT8 else float_graph
    model = onnx_sdk.load(emit(graph, path, precision, batch))
    onnx_sdk.checker.check_model(model, full_check=precision is not Precision.INT8)
    assert model.producer_name == "mnv2-export"
    assert model.opset_import[0].version == 13
    properties = {p.key: p.value for p in model.metadata_props}
    assert properties["labels"].split("\n") == list(graph.spec.labels)
    assert json.loads(properties["mnv2_export"])["precision"] == precision
    written = {name for node in model.graph.node for name in node.output}
    assert {op.output for op in graph.ops[1:]} <= written


EMIT_ELSEWHERE = """
import sys
from pathlib import Path
from exporter.graph_file import load_graph
from exporter.spec import Precision
from exporter.target import ExportOptions
from targets import onnx
assert not {"onnx", "onnxruntime", "torch"} & set(sys.modules), "importing a target loads no SDK"
graph = load_graph(Path(sys.argv[1]))
onnx.emit(graph, Precision(sys.argv[2]), ExportOptions(), Path(sys.argv[3]))
"""


@pytest.mark.parametrize("precision", Precision)
def test_another_process_writes_the_same_bytes(tmp_path: Path, precision: Precision) -> None:
    float_graph, int8_graph = make_graphs()
    graph = int8_graph if precision is Precision.INT8 else float_graph
    here = emit(graph, tmp_path / "here.onnx", precision)
    save_graph(graph, tmp_path / "graph")
    there = tmp_path / "there.onnx"
    arguments = [str(tmp_path / "graph"), str(precision), str(there)]
    subprocess.run([sys.executable, "-c", EMIT_ELSEWHERE, *arguments], check=True)
    assert there.read_bytes() == here.read_bytes()


def flip_weight(data: bytes) -> bytes:
    """The file with one weight of the first convolution changed by one step."""
    model = onnx_sdk.load_model_from_string(data)
    weight = next(c for c in model.graph.initializer if c.name == "features.0/weight")
    values = numpy_helper.to_array(weight).copy()
    values[3, 1, 1, 1] -= 1
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    return model.SerializeToString(deterministic=True)


def test_one_changed_weight_shows_in_the_layers(path: Path) -> None:
    _, graph = make_graphs()
    images = sample_images(graph.spec, 2, seed=7)
    before = load(emit(graph, path)).layers(images)
    path.write_bytes(flip_weight(path.read_bytes()))
    after = load(path).layers(images)
    changed = [name for name in before if not np.array_equal(before[name], after[name])]
    assert changed[0] == "features.0"
    assert "input" not in changed


def truncated(share: float) -> Callable[[bytes], bytes]:
    return lambda data: data[: int(len(data) * share)]


DAMAGES = [
    pytest.param(truncated(0.0), id="empty"),
    pytest.param(truncated(0.01), id="first-percent"),
    pytest.param(truncated(0.5), id="half"),
    pytest.param(truncated(0.999), id="tail-missing"),
    pytest.param(lambda data: b"\x7fELF" + data, id="foreign"),
    pytest.param(lambda data: data.replace(b"QLinearConv", b"QLinearCons"), id="unknown-op"),
]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("read", [onnx.describe, onnx.load])
def test_a_damaged_file_is_named(
    path: Path, damage: Callable[[bytes], bytes], read: Callable[[Path], object]
) -> None:
    _, graph = make_graphs()
    path.write_bytes(damage(emit(graph, path).read_bytes()))
    with pytest.raises(ArtifactError, match=r"model\.onnx: damaged"):
        read(path)


@pytest.mark.parametrize("read", [onnx.describe, onnx.load])
def test_a_missing_file_is_named(path: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises(ArtifactError, match=r"model\.onnx: no such file"):
        read(path)


@pytest.mark.parametrize(
    ("machine", "flags", "reason"),
    [
        ("x86_64", "flags : sse avx2 avx512f", "VNNI"),
        ("x86_64", "", "VNNI"),
        ("x86_64", "flags : avx2 avx_vnni", None),
        ("AMD64", "flags : avx512_vnni", None),
        ("aarch64", "", "aarch64.*established on x86 only"),
        ("arm64", "flags : avx512_vnni", "established on x86 only"),
        ("", "", "unknown.*established on x86 only"),
    ],
)
def test_int8_runs_on_x86_with_vnni_only(
    path: Path, monkeypatch: pytest.MonkeyPatch, machine: str, flags: str, reason: str | None
) -> None:
    """Elsewhere it is not run, which is not drift; float runs everywhere."""
    cpu_info = path.with_name("cpuinfo")
    cpu_info.write_text(flags)
    monkeypatch.setattr(onnx, "CPU_INFO", cpu_info)
    monkeypatch.setattr("platform.machine", lambda: machine)
    float_graph, int8_graph = make_graphs()
    onnx.load(emit(float_graph, path))
    emit(int8_graph, path)
    if reason is None:
        onnx.load(path)
    else:
        with pytest.raises(CannotRunError, match=reason):
            onnx.load(path)


def test_impossible_requests_are_refused(path: Path) -> None:
    float_graph, int8_graph = make_graphs()
    for graph, precision in ((float_graph, Precision.INT8), (int8_graph, Precision.FP16)):
        with pytest.raises(UnsupportedError, match="cannot become"):
            emit(graph, path, precision)
    with pytest.raises(UnsupportedError, match="batch 0"):
        emit(int8_graph, path, batch=0)
    assert not path.exists()


def test_a_missing_sdk_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    onnx.check()
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError, match="onnxruntime"):
        onnx.check()


def test_batches_of_any_size_give_the_same_logits(path: Path) -> None:
    graph, _ = make_graphs()
    images = sample_images(graph.spec, 9, seed=7)
    runner = onnx.load(emit(graph, path, batch=4))
    whole = runner(images)
    assert all(
        np.array_equal(runner(images[i:j]), whole[i:j]) for i, j in itertools.pairwise([0, 1, 3, 9])
    )
