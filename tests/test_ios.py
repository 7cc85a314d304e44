"""Core ML packages hold exactly the graph, in the structure that Core ML runs as integers."""

from __future__ import annotations

import dataclasses
import platform
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import graphs
import numpy as np
import pytest
from PIL import Image

from exporter.errors import ArtifactError, DataError, UnsupportedError
from exporter.files import sha256
from exporter.golden import quantize
from exporter.graph import Conv, Linear, QParams, QuantizedGraph, Reshape, accumulator_scale
from exporter.graph_file import save_graph
from exporter.metadata import METADATA_KEY, metadata_text
from exporter.preprocess import normalize
from exporter.published import default_spec
from exporter.spec import ChannelOrder, PaddingStyle, Precision, Preprocess, torchvision_preprocess
from exporter.target import DeploymentTarget, ExportOptions
from exporter.tasks import Task
from targets import ios
from targets.coreml_runner import CoreMLRunner, EvaluatorRunner, to_pixels
from targets.coreml_sdk import coremltools

FP32, FP16, INT8 = Precision.FP32, Precision.FP16, Precision.INT8
REPOSITORY = Path(__file__).parents[1]
FILES = [
    "Data/com.apple.CoreML/model.mlmodel",
    "Data/com.apple.CoreML/weights/weight.bin",
    "Manifest.json",
]


def at(target: str) -> ExportOptions:
    return ExportOptions(deployment_target=DeploymentTarget(target))


@pytest.fixture(scope="module")
def floating() -> QuantizedGraph:
    """Keras: one scale for all channels, odd SAME padding."""
    return graphs.make_graphs(resolution=97, padding=PaddingStyle.SAME)[0]


@pytest.fixture(scope="module")
def quantized() -> QuantizedGraph:
    """torchvision: a scale per channel, symmetric padding, two fully connected layers; BGR."""
    graph = graphs.make_graphs(resolution=64, padding=PaddingStyle.TORCH, head=graphs.TWO_LAYERS)[1]
    contract = dataclasses.replace(graph.spec.preprocess, channel_order=ChannelOrder.BGR)
    spec = dataclasses.replace(graph.spec, preprocess=contract)
    return dataclasses.replace(graph, spec=spec)


@dataclasses.dataclass(frozen=True)
class Emitted:
    path: Path
    graph: QuantizedGraph
    real: type[np.floating[Any]]
    package: Any

    @property
    def operations(self) -> list[Any]:
        return [op for op in self.package.operations if op.type != "const"]

    def of(self, *kinds: str) -> list[Any]:
        return [op for op in self.operations if op.type in kinds]


Emit = Callable[..., Emitted]


@pytest.fixture(scope="module")
def emit(tmp_path_factory: pytest.TempPathFactory) -> Emit:
    """Emits each combination once."""
    folder = tmp_path_factory.mktemp("ios")
    done: dict[tuple[int, Precision, str, bool], Emitted] = {}
    coremltools()
    from targets.mil.package import read_package

    def once(
        graph: QuantizedGraph, precision: Precision, target: str = "iOS17", twin: bool = False
    ) -> Emitted:
        key = (id(graph), precision, target, twin)
        if key not in done:
            real = np.float32 if precision is FP32 or twin else np.float16
            path = folder / f"m{len(done)}.mlpackage"
            if twin:
                ios.write(graph, precision, at(target), path, real)
            else:
                ios.emit(graph, precision, at(target), path)
            done[key] = Emitted(path=path, graph=graph, real=real, package=read_package(path))
        return done[key]

    return once


@pytest.fixture(params=["fp16", "twin", "iOS18"])
def int8(request: pytest.FixtureRequest, emit: Emit, quantized: QuantizedGraph) -> Emitted:
    """The shipped program, its fp32-typed twin and the newer operations of iOS 18."""
    target = "iOS18" if request.param == "iOS18" else "iOS17"
    return emit(quantized, INT8, target, request.param == "twin")


@pytest.fixture(params=["fp16", "fp32"])
def real(request: pytest.FixtureRequest, emit: Emit, floating: QuantizedGraph) -> Emitted:
    return emit(floating, Precision(request.param), "iOS15")


# --- the program ---------------------------------------------------------------------------------


def test_int8_program_is_the_graph_and_nothing_else(int8: Emitted) -> None:
    """No pad, cast or reshape; one quantize -> dequantize pair per tensor that is not a view."""
    tensors = sum(not isinstance(op, Reshape) for op in int8.graph.ops) - 1  # Output is a view
    kinds = Counter(op.type for op in int8.operations)
    weights = (
        "constexpr_blockwise_shift_scale"
        if "constexpr_blockwise_shift_scale" in kinds
        else ("constexpr_affine_dequantize")
    )
    assert kinds == {
        "mul": 1,
        "add": 1 + 10,
        "quantize": tensors,
        "dequantize": tensors,
        weights: 54,
        "conv": 52,
        "relu6": 35,
        "reduce_mean": 1,
        "linear": 2,
        "relu": 1,
        "softmax": 1,
        "classify": 1,
    }


def test_float_program_is_the_graph_and_nothing_else(real: Emitted) -> None:
    """The scale of preprocessing is inside the first weights; only its bias is left."""
    casts = {"cast": 2} if real.real is np.float16 else {}
    assert Counter(op.type for op in real.operations) == casts | {
        "conv": 52,
        "relu6": 35,
        "add": 1 + 10,
        "reduce_mean": 1,
        "linear": 1,
        "softmax": 1,
        "classify": 1,
    }


def test_layers_read_dequantized_values_and_are_clamped_before_quantizing(int8: Emitted) -> None:
    readers: dict[str, list[Any]] = {}
    for op in int8.operations:
        for argument in op.inputs.values():
            for binding in argument.arguments:
                readers.setdefault(binding.name, []).append(op)
    layers = int8.of("conv", "linear")
    for layer, op in zip(layers, int8.graph.weighted(), strict=True):
        assert int8.package.source(layer, "x").type == "dequantize"
        assert int8.package.source(layer, "weight").type.startswith("constexpr_")
        (follower,) = readers[layer.outputs[0].name]
        if op.clamp is not None:
            assert follower.type == ("relu6" if op.clamp[1] == 6 else "relu")
            (follower,) = readers[follower.outputs[0].name]
        assert follower.type == "quantize"
        assert all(r.type == "dequantize" for r in readers[follower.outputs[0].name])
    for pooled in int8.of("reduce_mean"):
        assert int8.package.source(pooled, "x").type == "dequantize"
    for add in int8.of("add")[1:]:
        assert {int8.package.source(add, k).type for k in "xy"} == {"dequantize"}


def test_scales_and_zero_points_are_the_graphs(int8: Emitted) -> None:
    """In float32 at the image and the logits, in the program's type everywhere between."""
    tensors = [op.output for op in int8.graph.ops if not isinstance(op, Reshape)][:-1]
    for kind, exact in (("quantize", tensors[0]), ("dequantize", tensors[-1])):
        for op, tensor in zip(int8.of(kind), tensors, strict=True):
            q, real = int8.graph.qparams(tensor), np.float32 if tensor == exact else int8.real
            scale = int8.package.constant(op, "scale")
            assert scale.dtype == real
            assert scale == real(q.scale)
            zero_point = int8.package.constant(op, "zero_point")
            assert zero_point.dtype == np.int8
            assert zero_point == q.zero_point


def test_int8_weights_and_biases_are_the_graphs(int8: Emitted) -> None:
    for layer, op in zip(int8.of("conv", "linear"), int8.graph.weighted(), strict=True):
        constexpr = int8.package.source(layer, "weight")
        data = "data" if constexpr.type.endswith("shift_scale") else "quantized_data"
        values = int8.package.constant(constexpr, data)
        assert values.dtype == np.int8
        np.testing.assert_array_equal(values, op.weight.values)
        assert op.weight.scale is not None
        scale = int8.package.constant(constexpr, "scale")
        np.testing.assert_array_equal(scale.ravel(), op.weight.scale.astype(int8.real))
        if data == "quantized_data":
            assert int8.package.constant(constexpr, "zero_point") == 0
            assert int8.package.constant(constexpr, "axis") == 0
        real_bias = op.bias * accumulator_scale(op, int8.graph).astype(np.float64)
        bias = int8.package.constant(layer, "bias")
        np.testing.assert_array_equal(bias, real_bias.astype(np.float32).astype(int8.real))


def test_float_weights_are_the_graphs(real: Emitted) -> None:
    """The first ones times the contract's scale, so that they take pixels."""
    scale, _ = real.graph.spec.preprocess.affine()
    for layer, op in zip(real.of("conv", "linear"), real.graph.weighted(), strict=True):
        expected = op.weight.values.astype(np.float64)
        if op.input == "input":
            expected = expected * scale.astype(np.float64).reshape(1, 3, 1, 1)
        weight = real.package.constant(layer, "weight")
        assert weight.dtype == real.real
        np.testing.assert_array_equal(weight, expected.astype(np.float32).astype(real.real))
        bias = real.package.constant(layer, "bias")
        np.testing.assert_array_equal(bias, op.bias.astype(real.real))


@pytest.mark.parametrize("kind", ["floating", "quantized"])
def test_geometry_is_the_graphs(kind: str, emit: Emit, request: pytest.FixtureRequest) -> None:
    """Padding is inside the convolutions, before and after each axis."""
    graph = request.getfixturevalue(kind)
    emitted = emit(
        graph, INT8 if graph.quantized else FP16, "iOS17" if graph.quantized else "iOS15"
    )
    convolutions = [op for op in graph.ops if isinstance(op, Conv)]
    package = emitted.package
    for layer, op in zip(emitted.of("conv"), convolutions, strict=True):
        top, left, bottom, right = op.padding
        assert tuple(package.constant(layer, "strides")) == op.stride
        assert tuple(package.constant(layer, "dilations")) == op.dilation
        assert package.constant(layer, "groups") == op.groups
        if any(op.padding):
            assert list(package.constant(layer, "pad")) == [top, bottom, left, right]
        shape = [d.constant.size for d in layer.outputs[0].type.tensorType.dimensions]
        assert tuple(shape) == graph.tensors[op.output].shape


def test_every_pixel_gets_the_graphs_input_code(int8: Emitted) -> None:
    """All 256 values of all channels, fused or not, multiplied or divided by the scale."""
    package, graph = int8.package, int8.graph
    multiply, bias, store = int8.of("mul")[0], int8.of("add")[0], int8.of("quantize")[0]
    scale, offset = package.constant(multiply, "y"), package.constant(bias, "y")
    step = package.constant(store, "scale")
    for constant in (scale, offset, step):
        assert constant.dtype == np.float32
    pixels = np.tile(np.arange(256, dtype=np.float32), (1, 3, 1)).reshape(1, 3, 16, 16)
    contract = np.tile(np.arange(256, dtype=np.uint8)[:, None], 3).reshape(1, 16, 16, 3)
    expected = quantize(normalize(contract, graph.spec.preprocess), graph.qparams("input"))
    rounded = pixels * scale + offset
    fused = (pixels.astype(np.float64) * scale + offset).astype(np.float32)
    zero_point = package.constant(store, "zero_point").astype(np.float32)
    for x in (rounded, fused):
        for steps in (x / step, x * (np.float32(1) / step)):
            codes = np.clip(np.rint(steps) + zero_point, -128, 127)
            np.testing.assert_array_equal(codes, expected)


def test_float_input_is_the_contract_over_its_scale(
    emit: Emit, floating: QuantizedGraph, quantized: QuantizedGraph
) -> None:
    """scale * (u + bias / scale), the scale being in the weights; for a std per channel too."""
    graph = graphs.make_graphs(resolution=64, padding=PaddingStyle.TORCH, head=graphs.TWO_LAYERS)[0]
    for source in (floating, graph):
        emitted = emit(source, FP32, "iOS15")
        scale, bias = (v.astype(np.float64) for v in source.spec.preprocess.affine())
        (shift, *_) = emitted.of("add")
        held = emitted.package.constant(shift, "y")
        np.testing.assert_array_equal(held.ravel(), (bias / scale).astype(np.float32))


def test_raw_pixels_need_no_preprocessing(tmp_path: Path, floating: QuantizedGraph) -> None:
    """A contract of scale 1 and bias 0 leaves no operation before the first convolution."""
    contract = Preprocess(resize_size=97, crop_size=97, value_range=(0.0, 255.0))
    spec = dataclasses.replace(floating.spec, preprocess=contract)
    path = tmp_path / "raw.mlpackage"
    ios.emit(dataclasses.replace(floating, spec=spec), FP32, at("iOS17"), path)
    assert ios.describe(path).ops["add"] == 10
    assert "mul" not in ios.describe(path).ops


@pytest.mark.parametrize("precision", [FP16, FP32])
def test_other_clamps_are_clips(
    precision: Precision, floating: QuantizedGraph, tmp_path: Path
) -> None:
    layer = next(op for op in floating.ops if isinstance(op, Conv))
    graph = graphs.replace_op(floating, dataclasses.replace(layer, clamp=(0.0, 4.0)))
    path = tmp_path / "clip.mlpackage"
    ios.emit(graph, precision, at("iOS17"), path)
    from targets.mil.package import read_package

    package = read_package(path)
    (clip,) = (op for op in package.operations if op.type == "clip")
    assert package.source(clip, "x").type == "conv"
    assert [float(package.constant(clip, k)) for k in ("alpha", "beta")] == [0.0, 4.0]


def test_fp16_twin_has_the_same_operations(emit: Emit, quantized: QuantizedGraph) -> None:
    shipped, twin = (emit(quantized, INT8, "iOS17", t) for t in (False, True))
    assert [op.type for op in shipped.operations] == [op.type for op in twin.operations]


@pytest.mark.parametrize("target", list(DeploymentTarget))
def test_coremltools_accepts_the_program_for_its_target(
    emit: Emit, floating: QuantizedGraph, quantized: QuantizedGraph, target: DeploymentTarget
) -> None:
    """Its own reader type-checks every operation against the operation set that is declared."""
    coremltools()
    from coremltools.converters.mil.frontend.milproto.load import load

    versions = {"iOS15": 6, "iOS16": 7, "iOS17": 8, "iOS18": 9, "iOS26": 10}
    graph, precision = (floating, FP16) if target in ios.BEFORE_INT8 else (quantized, INT8)
    package = emit(graph, precision, target.value).package
    assert package.spec.specificationVersion == versions[target]
    assert package.function.opset == f"CoreML{versions[target] - 1}"
    weights = str(package.model_path.parent / "weights")
    program = load(package.spec, specification_version=versions[target], file_weights_dir=weights)
    assert len(program.functions["main"].outputs) == 3


# --- the interface -------------------------------------------------------------------------------


def test_package_is_an_image_classifier(emit: Emit, quantized: QuantizedGraph) -> None:
    """A BGR image in; label, probabilities and float32 logits out."""
    coremltools()
    from coremltools.proto import FeatureTypes_pb2 as types

    emitted = emit(quantized, INT8)
    description = emitted.package.spec.description
    (image,) = description.input
    assert image.name == "image"
    assert (image.type.imageType.width, image.type.imageType.height) == (64, 64)
    assert image.type.imageType.colorSpace == types.ImageFeatureType.BGR
    label, probabilities, logits = description.output
    assert (label.name, label.type.WhichOneof("Type")) == ("classLabel", "stringType")
    assert probabilities.name == description.predictedProbabilitiesName == "classLabel_probs"
    assert probabilities.type.dictionaryType.WhichOneof("KeyType") == "stringKeyType"
    assert logits.name == "logits"
    assert logits.type.multiArrayType.dataType == types.ArrayFeatureType.FLOAT32
    assert list(logits.type.multiArrayType.shape) == [1, 20]
    assert description.predictedFeatureName == "classLabel"
    (classify,) = emitted.of("classify")
    assert emitted.package.source(classify, "probabilities").type == "softmax"
    classes = classify.inputs["classes"].arguments[0].value.immediateValue.list.values
    names = [c.immediateValue.tensor.strings.values[0] for c in classes]
    assert names == list(quantized.spec.labels)


def test_metadata_travels_inside(emit: Emit, quantized: QuantizedGraph) -> None:
    description = emit(quantized, INT8).package.spec.description
    held = dict(description.metadata.userDefined)
    assert held[METADATA_KEY] == metadata_text(quantized, INT8)
    assert not any("date" in key for key in held)
    assert all(f.shortDescription for f in (*description.input, *description.output))


def test_describe(emit: Emit, quantized: QuantizedGraph) -> None:
    path = emit(quantized, INT8).path
    contents = ios.describe(path)
    assert contents.format == "Core ML ML program, specification 8"
    assert "CoreML7 (iOS 17+)" in contents.delegation
    assert contents.inputs[0].shape == (64, 64, 3)
    assert contents.inputs[0].dtype == "uint8 BGR"
    assert [t.name for t in contents.outputs] == ["classLabel", "classLabel_probs", "logits"]
    assert contents.spec == quantized.spec
    assert contents.size_bytes == sum(f.stat().st_size for f in path.rglob("*") if f.is_file())
    assert [layer.name for layer in contents.layers] == [op.output for op in quantized.weighted()]
    for layer, op in zip(contents.layers, quantized.weighted(), strict=True):
        vectors = 2 * 2 * len(op.bias)  # fp16 bias and weight scales
        extra = layer.size_bytes - op.weight.values.nbytes - vectors
        assert 0 <= extra <= 8  # axis and zero point


def test_describe_float(emit: Emit, floating: QuantizedGraph) -> None:
    contents = ios.describe(emit(floating, FP16, "iOS15").path)
    assert contents.inputs[0].dtype == "uint8 RGB"
    assert [layer.size_bytes for layer in contents.layers] == [
        2 * (op.weight.values.size + len(op.bias)) for op in floating.weighted()
    ]


def test_labels_that_occur_twice_get_their_number(tmp_path: Path, floating: QuantizedGraph) -> None:
    """The probabilities are keyed by label; the metadata keeps the labels as they were."""
    labels = ("crane", "maillot", "crane", *floating.spec.labels[3:])
    spec = dataclasses.replace(floating.spec, labels=labels)
    path = tmp_path / "cranes.mlpackage"
    notes = ios.emit(dataclasses.replace(floating, spec=spec), FP16, at("iOS17"), path)
    assert "'crane (class 0)'" in notes[0]
    assert ios.class_labels(spec)[0][:3] == ["crane (class 0)", "maillot", "crane (class 2)"]
    held = ios.describe(path).spec
    assert held is not None
    assert held.labels == labels


def test_labels_that_stay_equal_are_refused(floating: QuantizedGraph) -> None:
    labels = ("crane", "crane (class 0)", "crane", *floating.spec.labels[3:])
    with pytest.raises(UnsupportedError, match="'crane \\(class 0\\)' remains twice"):
        ios.class_labels(dataclasses.replace(floating.spec, labels=labels))


# --- reproducible, quiet, whole ------------------------------------------------------------------


def test_bytes_depend_on_the_model_alone(
    emit: Emit, tmp_path: Path, quantized: QuantizedGraph
) -> None:
    """Not on the name, nor on a build that failed halfway before."""
    tiny = QParams(scale=2.0**-20, zero_point=0)
    broken = graphs.replace_qparams(quantized, {"classifier": tiny})
    with pytest.raises(UnsupportedError, match=r"'classifier'.*fp16"):
        ios.emit(broken, INT8, at("iOS17"), tmp_path / "broken.mlpackage")
    again = tmp_path / "another name.mlpackage"
    ios.emit(quantized, INT8, at("iOS17"), again)
    assert sha256(again) == sha256(emit(quantized, INT8).path)
    files = sorted(f.relative_to(again).as_posix() for f in again.rglob("*") if f.is_file())
    assert files == FILES
    assert [f.name for f in tmp_path.iterdir()] == [again.name]


def test_another_process_writes_the_same_bytes_and_nothing_else(
    emit: Emit, tmp_path: Path, quantized: QuantizedGraph
) -> None:
    """No warning and no progress bar either; and importing the target loads no SDK."""
    save_graph(quantized, tmp_path / "graph")
    code = (
        "import sys; from pathlib import Path; import targets.ios as target\n"
        "assert not {'torch', 'coremltools'} & set(sys.modules)\n"
        "from exporter.graph_file import load_graph; from exporter.spec import Precision\n"
        "from exporter.target import ExportOptions\n"
        "target.emit(load_graph(Path(sys.argv[1])), Precision.INT8, ExportOptions(),"
        " Path(sys.argv[2]))\n"
        "assert sys.modules.get('sklearn', 0) == 0  # neither imported nor left blocked\n"
    )
    path = tmp_path / "x.mlpackage"
    command = [sys.executable, "-W", "error", "-c", code, str(tmp_path / "graph"), str(path)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert sha256(path) == sha256(emit(quantized, INT8).path)


def test_files_are_readable_by_others(emit: Emit, quantized: QuantizedGraph) -> None:
    for file in emit(quantized, INT8).path.rglob("*"):
        assert file.stat().st_mode & 0o444 == 0o444


def replace_text(old: str, new: str) -> Callable[[Path], None]:
    def damage(file: Path) -> None:
        file.write_bytes(file.read_bytes().replace(old.encode(), new.encode(), 1))

    return damage


def overwrite(data: bytes) -> Callable[[Path], None]:
    def damage(file: Path) -> None:
        file.write_bytes(data)

    return damage


def truncate(file: Path) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * 0.7)])


def flip_sentinel(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[64] ^= 1
    file.write_bytes(bytes(data))


def link_outside(file: Path) -> None:
    outside = file.parents[5] / "outside.bin"
    shutil.copy(file, outside)
    file.unlink()
    file.symlink_to(outside)


MODEL, WEIGHTS, MANIFEST = FILES
MODEL_ENTRY = '"path": "com.apple.CoreML/model.mlmodel"'
DAMAGE: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "no manifest": (MANIFEST, Path.unlink, "Manifest.json is missing"),
    "a manifest that is no JSON": (MANIFEST, truncate, "damaged Manifest.json"),
    "a manifest without entries": (
        MANIFEST,
        overwrite(b"[]"),
        "damaged Manifest.json",
    ),
    "a manifest that points outside": (
        MANIFEST,
        replace_text(MODEL_ENTRY, '"path": "../../../model.mlmodel"'),
        "outside of itself",
    ),
    "a manifest with an absolute path": (
        MANIFEST,
        replace_text(MODEL_ENTRY, '"path": "/etc/passwd"'),
        "outside of itself",
    ),
    "no model": (MODEL, Path.unlink, "model.mlmodel is missing"),
    "half a model": (MODEL, truncate, "damaged model.mlmodel"),
    "an empty model": (MODEL, overwrite(b""), "not an ML program"),
    "weights outside": (
        MODEL,
        replace_text("@model_path/weights/weight.bin", "@model_path/../../../weight.bi"),
        "outside of itself",
    ),
    "an undefined value": (MODEL, replace_text("features_0", "features_x"), "nothing writes"),
    "no weights": (WEIGHTS, Path.unlink, "weight.bin is missing"),
    "half of the weights": (WEIGHTS, truncate, "truncated"),
    "a damaged header": (WEIGHTS, flip_sentinel, "damaged or truncated at 64"),
    "a link outside": (WEIGHTS, link_outside, "outside of itself"),
}


@pytest.mark.parametrize("read", [ios.load, ios.describe])
@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_an_artifact_error(
    case: str, read: Callable[[Path], object], emit: Emit, quantized: QuantizedGraph, tmp_path: Path
) -> None:
    name, damage, reason = DAMAGE[case]
    path = tmp_path / "deep" / "damaged.mlpackage"
    shutil.copytree(emit(quantized, INT8).path, path)
    damage(path / name)
    with pytest.raises(ArtifactError, match=reason) as raised:
        read(path)
    assert "damaged.mlpackage" in raised.value.message


def test_foreign_packages_do_not_load(
    emit: Emit, quantized: QuantizedGraph, tmp_path: Path
) -> None:
    path = tmp_path / "foreign.mlpackage"
    shutil.copytree(emit(quantized, INT8).path, path)
    replace_text(METADATA_KEY, "x" * len(METADATA_KEY))(path / MODEL)
    with pytest.raises(ArtifactError, match="not written by this tool"):
        ios.load(path)
    assert ios.describe(path).spec is None


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["iOS15", "iOS16"])
def test_int8_before_ios17_is_refused(
    target: str, quantized: QuantizedGraph, tmp_path: Path
) -> None:
    with pytest.raises(UnsupportedError, match=f"iOS 17 on.*{target}"):
        ios.emit(quantized, INT8, at(target), tmp_path / "old.mlpackage")


def test_another_suffix_is_refused(floating: QuantizedGraph, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"must end in \.mlpackage"):
        ios.emit(floating, FP16, at("iOS17"), tmp_path / "model.mlmodel")


def test_weights_beyond_fp16_are_refused(floating: QuantizedGraph, tmp_path: Path) -> None:
    """An infinity would travel to the phone unnoticed."""
    layer = floating.ops[-2]
    assert isinstance(layer, Linear)
    huge = dataclasses.replace(layer, bias=layer.bias + np.float32(1e5))
    graph = graphs.replace_op(floating, huge)
    with pytest.raises(UnsupportedError, match=r"classifier.*does not fit fp16"):
        ios.emit(graph, FP16, at("iOS17"), tmp_path / "huge.mlpackage")
    assert not list(tmp_path.iterdir())


# --- running -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("system", "version"), [("Linux", ""), ("Darwin", "13.6.1")], ids=["linux", "older mac"]
)
def test_without_core_ml_the_evaluator_runs(
    emit: Emit,
    quantized: QuantizedGraph,
    monkeypatch: pytest.MonkeyPatch,
    system: str,
    version: str,
) -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "mac_ver", lambda: (version, ("", "", ""), "arm64"))
    assert isinstance(ios.load(emit(quantized, INT8).path), EvaluatorRunner)


@pytest.mark.parametrize("order", list(ChannelOrder))
@pytest.mark.parametrize("make", [torchvision_preprocess, None])
def test_pixels_come_back_from_normalized_images(make: Any, order: ChannelOrder) -> None:
    """Every 8-bit value of every channel, as RGB whatever the network takes."""
    contract = Preprocess(resize_size=16, crop_size=16, value_range=(-1.0, 1.0))
    if make is not None:
        contract = make(16)
    contract = dataclasses.replace(contract, channel_order=order)
    rng = np.random.default_rng(0)
    rgb = np.stack([rng.permutation(256).reshape(16, 16) for _ in range(6)], -1).astype(np.uint8)
    rgb = rgb.reshape(16, 16, 2, 3).transpose(2, 0, 1, 3)
    pixels = to_pixels(normalize(rgb, contract), contract)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, rgb)
    Image.fromarray(pixels[0])  # takes contiguous memory only


def test_images_that_no_pixels_make_are_refused() -> None:
    contract = torchvision_preprocess(32)
    with pytest.raises(DataError, match="8-bit"):
        to_pixels(np.full((1, 3, 32, 32), 0.3, np.float32), contract)
    with pytest.raises(DataError, match="8-bit"):
        to_pixels(np.full((1, 3, 32, 32), 90.0, np.float32), contract)


class FakeModel:
    """What `MLModel` offers the runner: a picture in, features out."""

    def predict(self, features: dict[str, Any]) -> dict[str, Any]:
        picture = np.asarray(features["image"], np.float32)
        return {"classLabel": "?", "logits": picture.mean((0, 1))[None]}


def test_runner_feeds_one_picture_at_a_time() -> None:
    contract = torchvision_preprocess(32)
    pixels = np.random.default_rng(1).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    spec = dataclasses.replace(
        default_spec(Task.CLASSIFICATION, resolution=32), preprocess=contract
    )
    runner = CoreMLRunner(model=FakeModel(), spec=spec)
    logits = runner(normalize(pixels, contract))
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, pixels.mean((1, 2)), rtol=1e-6)
    assert runner.layers(normalize(pixels, contract)) == {}
