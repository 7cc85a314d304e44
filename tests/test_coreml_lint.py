"""The lint of Core ML packages: silent about our own, and every finding shown to be found."""

from __future__ import annotations

import dataclasses
import gc
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import graphs
import numpy as np
import pytest
from rich.console import Console

from exporter.errors import ArtifactError
from exporter.findings import Severity
from exporter.graph import Conv, QuantizedGraph, Weight
from exporter.inspection import Inspection
from exporter.spec import ChannelOrder, PaddingStyle, Precision
from exporter.target import Contents, DeploymentTarget, ExportOptions
from exporter.ui.tables import print_inspection
from targets import ios
from targets.coreml_sdk import coremltools, quiet

ct = coremltools()
from coremltools.converters.mil import Builder as mb  # noqa: E402, N813 (after the quiet import)
from coremltools.converters.mil.mil import types  # noqa: E402
from coremltools.models.utils import MultiFunctionDescriptor, save_multifunction  # noqa: E402
from coremltools.proto import FeatureTypes_pb2, Model_pb2  # noqa: E402

from targets.mil.lint import lint, versions  # noqa: E402
from targets.mil.lint.findings import KINDS, listed  # noqa: E402
from targets.mil.lint.flow import flows  # noqa: E402
from targets.mil.package import Package, read_package  # noqa: E402
from targets.mil.summary import layers, requirement  # noqa: E402

FP32, FP16, INT8 = Precision.FP32, Precision.FP16, Precision.INT8
DOCS = Path(__file__).parents[1] / "docs" / "coreml-lint.md"
IMAGE = (1, 3, 8, 8)
RNG = np.random.default_rng(0)
WEIGHT = RNG.normal(size=(4, 3, 3, 3)).astype(np.float32)
CODES = RNG.integers(-128, 128, (4, 3, 3, 3), dtype=np.int8)


@pytest.fixture(scope="module", autouse=True)
def frozen_imports() -> Iterator[None]:
    """coremltools collects garbage in every conversion, which looks through all of torch."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lint")


Write = Callable[..., Package]


@pytest.fixture(scope="module")
def write(folder: Path) -> Write:
    """A program of coremltools' builder, as it is written down: no pass may repair it."""

    def once(
        program: Callable[..., Any], target: str = "iOS17", *specs: Any, **options: Any
    ) -> Package:
        oldest = getattr(ct.target, target)
        path = folder / f"{len(list(folder.iterdir()))}.mlpackage"
        specs = specs or (mb.TensorSpec(IMAGE),)
        built = mb.program(input_specs=list(specs), opset_version=oldest)(program)
        with quiet():
            ct.convert(
                built,
                source="milinternal",
                convert_to="mlprogram",
                minimum_deployment_target=oldest,
                pass_pipeline=ct.PassPipeline.EMPTY,
                skip_model_load=True,
                package_dir=str(path),
                **options,
            )
        return read_package(path)

    return once


def ids(package: Package) -> list[str]:
    return [finding.id for finding in lint(package)]


def changed(package: Package, change: Callable[[Any], object]) -> Package:
    """A copy of a package with a change to its protobuf, in memory."""
    spec = Model_pb2.Model()
    spec.CopyFrom(package.spec)
    change(spec)
    return dataclasses.replace(package, spec=spec)


def redeclared(package: Package, version: int) -> Package:
    """The same program, said to be of another specification version's operation set."""

    def declare(spec: Any) -> None:
        spec.specificationVersion = version
        for function in spec.mlProgram.functions.values():
            block = function.block_specializations[versions.OPSETS[version]]
            block.CopyFrom(function.block_specializations[function.opset])
            function.opset = versions.OPSETS[version]

    return changed(package, declare)


def operations(spec: Any) -> Any:
    function = spec.mlProgram.functions["main"]
    return function.block_specializations[function.opset].operations


# --- our own are clean ---------------------------------------------------------------------------


COMBINATIONS = [
    (precision, target)
    for precision in Precision
    for target in DeploymentTarget
    if precision is not INT8 or target not in ios.BEFORE_INT8
]


@pytest.fixture(scope="module")
def emit(folder: Path) -> Callable[..., Package]:
    """One of our own packages per combination."""
    done: dict[Any, Package] = {}

    def once(
        precision: Precision,
        target: str,
        padding: PaddingStyle = PaddingStyle.TORCH,
        order: ChannelOrder = ChannelOrder.RGB,
        real: Any = None,
    ) -> Package:
        key = (precision, target, padding, order, real)
        if key not in done:
            resolution = 64 if padding is PaddingStyle.TORCH else 97
            pair = graphs.make_graphs(resolution=resolution, padding=padding)
            graph = in_order(pair[precision is INT8], order)
            path = folder / f"own{len(done)}.mlpackage"
            options = ExportOptions(deployment_target=DeploymentTarget(target))
            if real is None:
                ios.emit(graph, precision, options, path)
            else:
                ios.write(graph, precision, options, path, real)
            done[key] = read_package(path)
        return done[key]

    return once


def in_order(graph: QuantizedGraph, order: ChannelOrder) -> QuantizedGraph:
    contract = dataclasses.replace(graph.spec.preprocess, channel_order=order)
    return dataclasses.replace(graph, spec=dataclasses.replace(graph.spec, preprocess=contract))


@pytest.mark.parametrize(("precision", "target"), COMBINATIONS)
def test_our_own_packages_are_clean(
    emit: Callable[..., Package], precision: Precision, target: str
) -> None:
    assert lint(emit(precision, target)) == ()


@pytest.mark.parametrize("precision", list(Precision))
def test_other_paddings_and_channel_orders_are_clean(
    emit: Callable[..., Package], precision: Precision
) -> None:
    """Keras' SAME padding comes with another normalization; neither depends on the target."""
    assert lint(emit(precision, "iOS17", PaddingStyle.SAME, ChannelOrder.BGR)) == ()


def test_the_float32_twin_of_an_int8_package_is_clean(emit: Callable[..., Package]) -> None:
    """Computing in float32 throughout is a choice."""
    assert lint(emit(INT8, "iOS17", real=np.float32)) == ()


def test_the_oldest_release_that_has_all_operations(emit: Callable[..., Package]) -> None:
    assert requirement(emit(FP16, "iOS15")) == "opset CoreML5 (iOS 15+)"
    newer = requirement(emit(FP16, "iOS26"))
    assert newer == "opset CoreML9 (iOS 26+), its operations exist since iOS 15"
    assert requirement(emit(INT8, "iOS17")) == "opset CoreML7 (iOS 17+)"
    assert requirement(emit(INT8, "iOS26")).endswith("since iOS 18")  # blockwise weights
    unknown = changed(emit(FP16, "iOS15"), lambda spec: set_opset(spec, "CoreML99"))
    assert requirement(unknown) == "opset CoreML99 (unknown)"
    assert ids(unknown) == ["ML101"]


def set_opset(spec: Any, name: str) -> None:
    function = spec.mlProgram.functions["main"]
    block = function.block_specializations[name]
    block.CopyFrom(function.block_specializations[function.opset])
    function.opset = name


# --- one package per finding ---------------------------------------------------------------------


def conv(x: Any, **options: Any) -> Any:
    arguments = {"weight": WEIGHT.astype(types.nptype_from_builtin(x.dtype)), "name": "conv"}
    return mb.conv(x=x, **(arguments | options))


def quantized(x: Any, scale: float = 0.05) -> Any:
    scale = types.nptype_from_builtin(x.dtype)(scale)
    return mb.quantize(input=x, scale=scale, zero_point=np.int8(3), output_dtype="int8")


def pair(x: Any, scale: float = 0.05) -> Any:
    real = types.nptype_from_builtin(x.dtype)(scale)
    return mb.dequantize(input=quantized(x, scale), scale=real, zero_point=np.int8(3))


def half(x: Any) -> Any:
    return mb.cast(x=x, dtype="fp16")


def single(x: Any) -> Any:
    return mb.cast(x=x, dtype="fp32")


def plain(write: Write, target: str = "iOS17") -> Package:
    return write(lambda x: mb.relu(x=conv(x), name="y"), target)


def named(spec: Any, name: str) -> Any:
    return next(op for op in operations(spec) if op.outputs and op.outputs[0].name == name)


def add_dimension(spec: Any) -> None:
    tensor = named(spec, "conv").outputs[0].type.tensorType
    for _ in range(2):
        tensor.dimensions.add().constant.size = 1
    tensor.rank = 6


def late_activation(x: Any) -> Any:
    return single(pair(mb.relu6(x=pair(conv(pair(half(x)))))))


def unquantized_result(x: Any) -> Any:
    first = mb.exp(x=conv(pair(half(x))))
    return single(pair(conv(pair(first), weight=np.ones((2, 4, 1, 1), np.float16), name="last")))


def compressed(scale: np.ndarray, *, integers: bool = True) -> Callable[[Any], Any]:
    """A convolution whose weights have these scales per channel."""

    def program(x: Any) -> Any:
        weight = mb.constexpr_affine_dequantize(
            quantized_data=CODES, zero_point=np.int8(0), scale=scale, axis=0, name="weight"
        )
        x = half(x)
        y = conv(pair(x) if integers else x, weight=weight)
        return single(pair(mb.relu6(x=y), 0.02) if integers else y)

    return program


def dynamic(write: Write) -> Package:
    package = write(lambda x: mb.relu(x=x, name="y"))

    def unknown(spec: Any) -> None:
        for value in (spec.mlProgram.functions["main"].inputs[0], named(spec, "y").outputs[0]):
            value.type.tensorType.dimensions[0].unknown.variadic = False

    return changed(package, unknown)


SMALL = np.array([4e-5, 0.01, 0.01, 0.01], np.float16)
SCALES = np.full(4, 0.01, np.float16)

CASES: dict[str, tuple[str, Callable[[Write], Package]]] = {
    "ML101": (
        "specification version 9 goes with CoreML8, and the function 'main' declares CoreML7",
        lambda write: changed(plain(write), lambda s: setattr(s, "specificationVersion", 9)),
    ),
    "ML102": (
        "the operation quantize exists since iOS 17",
        lambda write: redeclared(write(lambda x: single(pair(conv(pair(half(x)))))), 6),
    ),
    "ML103": (
        "validate_indices: an input that gather has since iOS 17",
        lambda write: redeclared(
            write(lambda x: mb.gather(x=x, indices=[0, 1], axis=3, validate_indices=False)), 7
        ),
    ),
    "ML104": (
        "cast does not read int8 as x before iOS 17",
        lambda write: redeclared(
            write(lambda x: mb.cast(x=mb.cast(x=x, dtype="int8"), dtype="fp32", name="y")), 7
        ),
    ),
    "ML105": (
        "input 'x': declared [2], [1, 3, 8, 8] in the program",
        lambda write: changed(
            plain(write),
            lambda s: (
                s.description.input[0].type.multiArrayType.ClearField("shape")
                or s.description.input[0].type.multiArrayType.shape.append(2)
            ),
        ),
    ),
    "ML106": ("'conv'", lambda write: changed(plain(write), add_dimension)),
    "ML107": (
        "Mismatch between var types",
        lambda write: changed(
            plain(write),
            lambda s: setattr(
                named(s, "conv").outputs[0].type.tensorType.dimensions[1].constant, "size", 5
            ),
        ),
    ),
    "ML201": ("'x', 'y'", dynamic),
    "ML202": (
        "'five'",
        lambda write: write(
            lambda x: mb.squeeze(x=mb.expand_dims(x=x, axes=[0], name="five"), axes=[0])
        ),
    ),
    "ML203": (
        "'unused_y_0', 'unused'; 768 bytes of constants",
        lambda write: write(
            lambda x: [
                mb.add(x=x, y=np.ones(IMAGE, np.float32), name="unused"),
                mb.relu(x=conv(x)),
            ][1]
        ),
    ),
    "ML204": (
        "'padded'",
        lambda write: write(
            lambda x: conv(mb.pad(x=x, pad=[0, 0, 0, 0, 1, 1, 0, 1], name="padded"))
        ),
    ),
    "ML205": (
        "'scaled' before 'conv'",
        lambda write: write(
            lambda x: conv(
                mb.add(x=mb.mul(x=x, y=np.float32(0.1), name="scaled"), y=np.float32(1)),
                pad_type="same",
            )
        ),
    ),
    "ML206": (
        "'detour'",
        lambda write: write(
            lambda x: single(mb.relu(x=half(mb.exp(x=single(conv(half(x))), name="detour"))))
        ),
    ),
    "ML301": ("'conv'", lambda write: write(lambda x: single(pair(conv(half(x)))))),
    "ML302": ("'conv -> relu6'", lambda write: write(late_activation)),
    "ML303": (
        "'again'",
        lambda write: write(
            lambda x: single(
                mb.dequantize(
                    input=mb.quantize(
                        input=pair(half(x)),
                        scale=np.float16(0.1),
                        output_dtype="int8",
                        name="again",
                    ),
                    scale=np.float16(0.1),
                )
            )
        ),
    ),
    "ML304": ("'conv'", lambda write: write(unquantized_result)),
    "ML305": (
        "down to 4e-05",
        lambda write: write(lambda x: single(pair(conv(pair(half(x), 4e-5))))),
    ),
    "ML306": (
        "'weight': 1 channel, without which an activation changes by up to",
        lambda write: write(compressed(SMALL)),
    ),
    "ML307": ("", lambda write: write(lambda x: single(pair(conv(pair(half(x), -0.05)))))),
}


@pytest.mark.parametrize("code", KINDS)
def test_every_finding_is_found(code: str, write: Write) -> None:
    """And nothing else with it."""
    text, make = CASES[code]
    found = lint(make(write))
    assert {finding.id for finding in found} == {code}
    assert any(text in finding.message for finding in found)
    kind = KINDS[code]
    assert (found[0].title, found[0].cure, found[0].severity) == (
        kind.title,
        kind.cure,
        kind.severity,
    )


# --- where a finding ends ------------------------------------------------------------------------


def test_a_clean_program_of_the_builder_has_no_finding(write: Write) -> None:
    for target in ("iOS15", "iOS26"):
        assert ids(plain(write, target)) == []


def test_interface_names_types_and_images(emit: Callable[..., Package]) -> None:
    def declare(change: Callable[[Any], object]) -> list[str]:
        package = changed(emit(FP16, "iOS17"), lambda spec: change(spec.description))
        assert set(ids(package)) == {"ML105"}
        return [finding.message for finding in lint(package)]

    def image(d: Any) -> Any:
        return d.input[0].type.imageType

    half_type = FeatureTypes_pb2.ArrayFeatureType.FLOAT16
    gray = FeatureTypes_pb2.ImageFeatureType.GRAYSCALE
    assert declare(lambda d: setattr(d.output[2], "name", "other")) == [
        "the program has no output 'other'",
        "output 'logits' of the program is not declared",
    ]
    assert declare(lambda d: setattr(d.output[2].type.multiArrayType, "dataType", half_type)) == [
        "output 'logits': declared FLOAT16, fp32 in the program"
    ]
    assert declare(lambda d: setattr(image(d), "width", 65)) == [
        "input 'image': a RGB image 65 wide, 64 high, [1, 3, 64, 64] inside"
    ]
    assert "GRAYSCALE image" in declare(lambda d: setattr(image(d), "colorSpace", gray))[0]


def test_inputs_that_an_operation_needs(write: Write) -> None:
    package = changed(plain(write), lambda spec: named(spec, "conv").inputs.pop("weight"))
    (finding,) = (f for f in lint(package) if f.id == "ML103")
    assert finding.message == "'conv': conv needs the input weight"


def test_an_operation_that_nobody_knows(write: Write) -> None:
    package = changed(plain(write), lambda spec: setattr(named(spec, "y"), "type", "frobnicate"))
    (finding,) = lint(package)
    assert finding.id == "ML102"
    assert "'y': the operation frobnicate is unknown to coremltools" in finding.message


@pytest.mark.parametrize(
    "program",
    [
        lambda x: conv(mb.pad(x=x, pad=[0, 0, 0, 0, 1, 1, 1, 1], constant_val=np.float32(1))),
        lambda x: conv(mb.pad(x=x, pad=[0, 0, 0, 0, 1, 1, 1, 1], mode="reflect")),
        lambda x: mb.relu(x=mb.pad(x=x, pad=[0, 0, 0, 0, 1, 1, 1, 1])),
        lambda x: conv(mb.pad(x=x, pad=[1, 1]), pad_type="same"),
    ],
    ids=["ones", "reflected", "no convolution", "padded to the same size"],
)
def test_pads_that_no_convolution_can_take(write: Write, program: Callable[[Any], Any]) -> None:
    assert ids(write(program)) == []


def test_offsets_fold_where_nothing_is_padded(write: Write) -> None:
    def program(**options: Any) -> Callable[[Any], Any]:
        bias = np.ones((3, 1, 1), np.float32)
        return lambda x: conv(mb.sub(x=x, y=bias, name="shifted"), **options)

    assert ids(write(program())) == ["ML205"]
    assert ids(write(program(pad_type="same"))) == []
    assert ids(write(program(pad_type="custom", pad=[0, 1, 0, 1]))) == []
    assert ids(write(program(pad_type="custom", pad=[0, 0, 0, 0]))) == ["ML205"]


@pytest.mark.parametrize("shape", [(8,), (8, 8), (1, 3, 1, 8), IMAGE])
def test_scales_that_differ_within_a_channel_do_not_fold(
    write: Write, shape: tuple[int, ...]
) -> None:
    assert ids(write(lambda x: conv(mb.mul(x=x, y=np.full(shape, 2, np.float32))))) == []


def test_float32_at_the_ends_is_the_interfaces_precision(write: Write) -> None:
    """Before everything narrower, and after it."""
    package = write(lambda x: mb.softmax(x=single(conv(half(mb.tanh(x=x)))), axis=1), "iOS15")
    assert ids(package) == []


def test_float32_layers_are_reported_at_the_ends_too(write: Write) -> None:
    package = write(lambda x: single(mb.relu(x=half(conv(x)))), "iOS15")
    assert [(f.id, f.message) for f in lint(package)] == [("ML206", "'conv'")]


def test_weight_scales_that_hardware_may_flush(write: Write) -> None:
    """Reported by what they change: steps where they are known, else a share of the layer."""
    nothing = np.array([1e-7, 0.01, 0.01, 0.01], np.float16)
    zero = np.array([0, 0.01, 0.01, 0.01], np.float16)
    broken = np.array([np.inf, 0.01, 0.01, 0.01], np.float16)
    for integers in (True, False):
        assert ids(write(compressed(SMALL, integers=integers))) == ["ML306"]
        assert ids(write(compressed(nothing, integers=integers))) == []
    for scales, expected in ((SCALES, []), (zero, []), (broken, ["ML307"])):
        assert ids(write(compressed(scales))) == expected


@pytest.mark.parametrize(("target", "empty"), [("iOS17", False), ("iOS18", False), ("iOS18", True)])
def test_small_weight_scales_of_our_own_packages(folder: Path, target: str, empty: bool) -> None:
    """In steps of the layer's output; a channel of zeros may have any scale."""
    graph = graphs.make_graphs(resolution=64, padding=PaddingStyle.TORCH)[1]
    # Not the first layer: it may borrow from the image's scale.
    layer = [op for op in graph.ops if isinstance(op, Conv) and op.groups == 1][1]
    assert layer.weight.scale is not None
    scale, values = layer.weight.scale.copy(), layer.weight.values.copy()
    scale[:3] = 5e-5
    if empty:
        values[:3] = 0
    small = dataclasses.replace(layer, weight=Weight(values=values, scale=scale))
    path = folder / f"small-{target}-{empty}.mlpackage"
    options = ExportOptions(deployment_target=DeploymentTarget(target))
    ios.emit(graphs.replace_op(graph, small), INT8, options, path)
    found = lint(read_package(path))
    assert [finding.id for finding in found] == ([] if empty else ["ML306"])
    assert all("3 channels" in finding.message for finding in found)


# --- packages that others wrote ------------------------------------------------------------------


def test_what_coremltools_itself_converts(folder: Path) -> None:
    """With all of its passes: an image's scale stays an operation, and that is all."""
    path = folder / "converted.mlpackage"
    program = mb.program(input_specs=[mb.TensorSpec(IMAGE)], opset_version=ct.target.iOS15)(
        lambda x: mb.relu(x=conv(x, pad_type="same"))
    )
    with quiet():
        ct.convert(
            program,
            convert_to="mlprogram",
            minimum_deployment_target=ct.target.iOS15,
            inputs=[ct.ImageType(name="x", shape=IMAGE, scale=1 / 127.5, bias=[-1, -1, -1])],
            skip_model_load=True,
            package_dir=str(path),
        )
    contents = ios.describe(path)
    assert contents.spec is None
    assert [finding.id for finding in contents.findings or ()] == ["ML205"]
    (layer,) = contents.layers  # one without a bias
    assert layer.size_bytes == 2 * WEIGHT.size


def test_blocks_inside_operations(write: Write) -> None:
    """Their operations are checked, and what they read is read."""

    def program(x: Any) -> Any:
        unread_outside = mb.exp(x=x)
        return mb.cond(
            pred=mb.greater(x=mb.reduce_sum(x=x, keep_dims=False), y=0.0),
            _true_fn=lambda: mb.add(x=unread_outside, y=x),
            _false_fn=lambda: mb.relu(x=x),
            name="y",
        )

    package = write(program, "iOS17", mb.TensorSpec((2,)))
    assert ids(package) == []
    inner = changed(
        package,
        lambda s: setattr(named(s, "y").blocks[1].operations[-1], "type", "frobnicate"),
    )
    assert ids(inner) == ["ML102"]
    assert ios.describe(package.path).layers == ()


def test_damage_inside_a_block_is_an_artifact_error(write: Write, folder: Path) -> None:
    def program(x: Any) -> Any:
        pred = mb.greater(x=mb.reduce_sum(x=x, keep_dims=False), y=0.0)
        return mb.cond(pred=pred, _true_fn=lambda: mb.exp(x=x), _false_fn=lambda: mb.relu(x=x))

    package = write(program, "iOS17", mb.TensorSpec((2,)))
    binding = operations(package.spec)[-1].blocks[0].operations[-1].inputs["x"].arguments[0]
    binding.name = "nowhere"
    package.model_path.write_bytes(package.spec.SerializeToString())
    with pytest.raises(ArtifactError, match="nothing writes the 'x' of a 'exp'"):
        read_package(package.path)


def test_nothing_in_a_package_is_computed(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """coremltools' reader folds constants: a few bytes of a program may ask for a terabyte."""
    asked: list[object] = []
    monkeypatch.setattr("targets.mil.lint.load", lambda *_, **__: asked.append(1))
    assert ids(plain(write)) == []
    assert len(asked) == 1

    def program(x: Any) -> Any:
        sizes = mb.shape(x=mb.identity(x=x, name="same"))
        return mb.add(x=x, y=mb.fill(shape=sizes, value=np.float32(1), name="filled"))

    package = write(program)
    assert any(op.type == "fill" for op in operations(package.spec))
    assert ids(package) == []
    assert len(asked) == 1


def test_a_value_that_is_written_twice_is_an_artifact_error(write: Write) -> None:
    """Following who wrote what would never end."""
    package = write(lambda x: mb.reshape(x=mb.reshape(x=x, shape=IMAGE, name="y"), shape=IMAGE))
    operations(package.spec)[-1].outputs[0].name = "y"
    del package.block.outputs[:]
    package.model_path.write_bytes(package.spec.SerializeToString())
    with pytest.raises(ArtifactError, match="written twice"):
        read_package(package.path)


def test_states(write: Write) -> None:
    def program(x: Any, memory: Any) -> Any:
        total = mb.add(x=half(x), y=mb.read_state(input=memory))
        return single(mb.coreml_update_state(state=memory, value=total))

    state = mb.StateTensorSpec((1, 4), dtype=types.fp16)
    package = write(program, "iOS18", mb.TensorSpec((1, 4)), state)
    assert ids(package) == []
    assert requirement(package) == "opset CoreML8 (iOS 18+)"
    contents = ios.describe(package.path)
    assert [t.name for t in contents.inputs] == ["x"]
    assert contents.notes == ("keeps states between calls: 'memory'",)
    old = lint(redeclared(package, 8))
    assert {finding.id for finding in old} == {"ML102"}
    assert any("write_state exists since iOS 18" in finding.message for finding in old)


def test_several_functions(write: Write, folder: Path) -> None:
    """The default one is shown; all are checked."""
    one = write(lambda x: conv(x), "iOS18")
    two = write(lambda x: mb.relu(x=mb.pad(x=x, pad=[1, 1])), "iOS18")
    several = MultiFunctionDescriptor()
    several.add_function(str(one.path), "main", "convolve")
    several.add_function(str(two.path), "main", "pad")
    several.default_function_name = "convolve"
    path = folder / "several.mlpackage"
    with quiet():
        save_multifunction(several, str(path))
    package = read_package(path)
    assert [flow.name for flow in flows(package)] == ["convolve", "pad"]
    assert ids(package) == []
    contents = ios.describe(path)
    assert [t.name for t in contents.inputs] == ["x"]
    assert len(contents.layers) == 1
    assert contents.notes == ("shown is the function 'convolve'; others: 'pad'",)

    def break_other(spec: Any) -> None:
        function = spec.mlProgram.functions["pad"]
        block = function.block_specializations[function.opset]
        block.operations[-1].type = "frobnicate"

    assert ids(changed(package, break_other)) == ["ML102"]
    spec = package.spec
    spec.description.defaultFunctionName = "absent"
    package.model_path.write_bytes(spec.SerializeToString())
    with pytest.raises(ArtifactError, match="no function 'absent'"):
        ios.describe(path)


def test_weights_that_are_no_constants(write: Write) -> None:
    def computed(x: Any) -> Any:
        return mb.matmul(x=mb.reshape(x=x, shape=(64, 3)), y=np.ones((3, 2), np.float32), name="y")

    package = write(computed)
    assert ids(package) == []
    renamed = changed(package, lambda s: setattr(named(s, "y"), "type", "conv"))
    assert [layer.size_bytes for layer in layers(renamed)] == [0]


def test_a_neural_network_is_refused_by_name(write: Write) -> None:
    """Core ML's older format may be inside a package as well."""
    package = plain(write)
    older = Model_pb2.Model()
    older.specificationVersion = 4
    older.neuralNetwork.layers.add().name = "layer"
    package.model_path.write_bytes(older.SerializeToString())
    with pytest.raises(ArtifactError, match="not an ML program, but a neuralNetwork") as raised:
        ios.describe(package.path)
    assert "mlprogram" in raised.value.hint


# --- the table, its documentation, what is printed -----------------------------------------------


def test_ids_are_documented_and_tested() -> None:
    """Word for word, in order; the documentation lists no other."""
    rows = re.findall(r"^\| (ML\d{3}) \| (\w+) \| (.*?) \| (.*?) \|$", DOCS.read_text(), re.M)
    expected = [(k.id, str(k.severity), k.title, k.cure) for k in KINDS.values()]
    assert rows == expected
    assert list(KINDS) == list(CASES) == sorted(KINDS)


def test_operation_sets_are_those_of_coremltools() -> None:
    known = {version: name for version, name in ct._OPSET.items() if version >= 6}
    assert known == versions.OPSETS
    assert {f"iOS{n}" for n in ios.IOS_VERSIONS.values()} == set(DeploymentTarget)
    assert set(ios.IOS_VERSIONS) == set(versions.OPSETS)


def test_long_lists_are_counted() -> None:
    assert listed("abc") == "'a', 'b', 'c'"
    assert listed("abcdea") == "'a', 'b', 'c' and 2 more"


def shown(contents: Contents) -> str:
    output = io.StringIO()
    found = Inspection(target="ios", contents=contents, spec=None, spec_origin="", record=None)
    print_inspection(Console(file=output, width=400), found, None)
    return output.getvalue()


def test_inspect_shows_findings_and_their_cures(write: Write, emit: Callable[..., Package]) -> None:
    package = CASES["ML204"][1](write)
    contents = ios.describe(package.path)
    text, kind = shown(contents), KINDS["ML204"]
    assert f"warning ML204 {kind.title}: 'padded'" in text
    assert kind.cure in text
    assert "findings: none" in shown(ios.describe(emit(FP16, "iOS15").path))
    assert "findings" not in shown(dataclasses.replace(contents, findings=None))
    plain_data = json.loads(json.dumps(dataclasses.asdict(contents)))
    assert plain_data["findings"][0]["id"] == "ML204"
    assert plain_data["findings"][0]["severity"] == Severity.WARNING
