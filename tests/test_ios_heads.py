"""Core ML packages of detectors and segmenters: the graph's results, by the graph's names."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from graphs import random_network, sample_images

from exporter import golden
from exporter.ends import with_ends
from exporter.errors import ArtifactError, UnsupportedError
from exporter.files import sha256, size
from exporter.fold import fold_core
from exporter.graph import Nms, QuantizedGraph
from exporter.metadata import METADATA_KEY, metadata_text
from exporter.outputs import Ends, NmsMode, Outputs
from exporter.published import default_spec
from exporter.quantize import quantize
from exporter.results import BOXES, DETECTIONS, LABELS, Results, shared_detections
from exporter.spec import DetectionSpec, ModelSpec, PaddingStyle, Precision, SegmentationSpec
from exporter.target import Claim, DeploymentTarget, ExportOptions, IosFormat
from exporter.tasks import Task
from targets import ios
from targets.coreml_figures import close, ratio_db, unequal
from targets.coreml_runner import CoreMLRunner, EvaluatorRunner
from targets.coreml_sdk import coremltools
from targets.qdq_program import QdqModule

coremltools()

from coremltools.proto import MIL_pb2, Model_pb2  # noqa: E402

from targets.coreml_pipeline import box_labels  # noqa: E402
from targets.mil.package import Package, read_package  # noqa: E402
from targets.mil.program import Arithmetic, Program  # noqa: E402
from targets.mil.twin import compare, file_differences  # noqa: E402

FP32, FP16, INT8 = Precision.FP32, Precision.FP16, Precision.INT8
DETECTOR, SEGMENTER = Task.DETECTION, Task.SEGMENTATION
PTE = ExportOptions(format=IosFormat.PTE)
# A scene of a random network: flat scores, boxes that overlap.
CROWDED = DetectionSpec(score_threshold=0.02, candidates=120, iou_threshold=0.3)
MODEL = "Data/com.apple.CoreML/model.mlmodel"


@functools.cache
def spec_of(task: Task, *, full: bool = False) -> ModelSpec:
    """At 64 or 65 px; `full` has SAME padding, output stride 8 and all branches."""
    spec = default_spec(
        task,
        width=0.1,
        resolution=64 if task is DETECTOR else 65,
        classes=4,
        padding=PaddingStyle.SAME if full else PaddingStyle.TORCH,
        segmentation=(
            SegmentationSpec(output_stride=8, full_aspp=True)
            if full and task is SEGMENTER
            else None
        ),
    )
    return dataclasses.replace(spec, detection=CROWDED) if task is DETECTOR else spec


@functools.cache
def cores(task: Task, *, full: bool = False) -> dict[Precision, QuantizedGraph]:
    """Float and int8, as they end in weights."""
    spec = spec_of(task, full=full)
    core = fold_core(random_network(spec))
    return {FP32: core, FP16: core, INT8: quantize(core, sample_images(spec, 4, seed=0))}


@dataclasses.dataclass(frozen=True)
class Case:
    """One package."""

    task: Task
    outputs: Outputs
    precision: Precision
    nms: NmsMode = NmsMode.NONE
    full: bool = False

    @property
    def graph(self) -> QuantizedGraph:
        held = cores(self.task, full=self.full)[self.precision]
        return with_ends(held, Ends(outputs=self.outputs, nms=self.nms))

    @property
    def real(self) -> type[np.floating[Any]]:
        return ios.real_type(self.precision)


Write = Callable[..., Path]


@pytest.fixture(scope="module")
def write(tmp_path_factory: pytest.TempPathFactory) -> Write:
    """Each package once."""
    folder = tmp_path_factory.mktemp("heads")
    done: dict[Any, Path] = {}

    def once(case: Case, options: ExportOptions | None = None, *, twin: bool = False) -> Path:
        key = (case, options, twin)
        if key not in done:
            pte = options is not None and options.format is IosFormat.PTE
            path = folder / f"m{len(done)}{'.coreml.pte' if pte else '.mlpackage'}"
            real = np.float32 if twin else case.real
            ios.write(case.graph, case.precision, options or ExportOptions(), path, real)
            done[key] = path
        return done[key]

    return once


def images_of(case: Case, count: int = 2) -> np.ndarray:
    return sample_images(case.graph.spec, count, seed=5)


def integers(path: Path, case: Case) -> EvaluatorRunner:
    program = Program(read_package(path), Arithmetic.INTEGER)
    return EvaluatorRunner(program=program, spec=case.graph.spec)


RAW = Case(DETECTOR, Outputs.RAW, INT8)
DECODED = Case(DETECTOR, Outputs.DECODED, INT8)
SUPPRESSED = Case(DETECTOR, Outputs.DECODED, INT8, NmsMode.GRAPH)
NATIVE = Case(DETECTOR, Outputs.DECODED, INT8, NmsMode.NATIVE)
LOGITS = Case(SEGMENTER, Outputs.LOGITS, INT8, full=True)
LOWRES = Case(SEGMENTER, Outputs.LOWRES_LOGITS, INT8)
LABELED = Case(SEGMENTER, Outputs.LABELS, INT8)
INT8_CASES = [RAW, DECODED, SUPPRESSED, NATIVE, LOGITS, LOWRES, LABELED]
FEW = (RAW, SUPPRESSED, LOGITS, LABELED)  # one of each kind; the rest takes long
FLOAT_DETECTOR = Case(DETECTOR, Outputs.DECODED, FP32, NmsMode.GRAPH)
FLOAT_NATIVE = Case(DETECTOR, Outputs.DECODED, FP32, NmsMode.NATIVE)
HALF_DETECTOR = Case(DETECTOR, Outputs.DECODED, FP16)
FLOAT_SEGMENTER = Case(SEGMENTER, Outputs.LOGITS, FP32)
HALF_LOWRES = Case(SEGMENTER, Outputs.LOWRES_LOGITS, FP16)
HALF_LABELED = Case(SEGMENTER, Outputs.LABELS, FP16)


def name_of(case: Case) -> str:
    return f"{case.outputs}-{case.nms}-{case.precision}"


def listed(cases: list[Case]) -> list[Any]:
    """Parameters; those that are not among the few are slow."""
    slow = [() if case in FEW else (pytest.mark.slow,) for case in cases]
    return [
        pytest.param(case, marks=marks, id=name_of(case))
        for case, marks in zip(cases, slow, strict=True)
    ]


# --- results -------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", listed(INT8_CASES))
def test_int8_results_are_the_goldens(write: Write, case: Case) -> None:
    """Every bit; of boxes all but the last digits. Layers inside too."""
    images, runner = images_of(case), integers(write(case, twin=True), case)
    expected = golden.run_outputs(case.graph, images)
    actual = runner.results(images)
    assert unequal(expected, actual) == ""
    for name, value in actual.items():
        assert value.dtype == case.graph.result_dtype(name)
    layers: dict[str, np.ndarray] = {}
    golden.run_outputs(case.graph, images[:1], trace=layers.__setitem__)
    shown = runner.layers(images[:1])
    assert len(shown) > 60
    for name, codes in shown.items():
        np.testing.assert_array_equal(codes, layers[name], err_msg=name)


@pytest.mark.parametrize("case", [FLOAT_DETECTOR, FLOAT_NATIVE, FLOAT_SEGMENTER], ids=name_of)
def test_float_results_are_the_graphs(write: Write, case: Case) -> None:
    """Labels and detections are all the same ones."""
    images = images_of(case)
    expected = golden.run_outputs(case.graph, images)
    actual = ios.load(write(case)).results(images)
    assert near(expected, actual) == {}


def near(expected: Results, actual: Results) -> dict[str, float]:
    """Outputs that are not as near as float32 comes."""
    far = {}
    for name, value in expected.items():
        if name == DETECTIONS:
            share = shared_detections(value, actual[name])
            far |= {} if share == 1.0 else {name: share}
        elif (ratio := ratio_db(value, actual[name])) < 100.0:
            far[name] = ratio
    return far


@pytest.mark.parametrize("case", [HALF_DETECTOR, HALF_LABELED], ids=name_of)
def test_fp16_programs_give_whole_results(write: Write, case: Case) -> None:
    """Scores and boxes are float32 though logits were fp16; labels hardly differ."""
    images = images_of(case)
    expected = golden.run_outputs(case.graph, images)
    runner = ios.load(write(case))
    actual = runner.results(images)
    if case.outputs is Outputs.LABELS:
        assert (expected[LABELS] == actual[LABELS]).mean() > 0.98
        return
    for name, value in actual.items():
        assert ratio_db(expected[name], value) > 40.0
    boxes = actual[BOXES]
    assert not np.array_equal(boxes, boxes.astype(np.float16))


def test_suppression_takes_boxes_away(write: Write) -> None:
    """Some of the pairs above the threshold are kept, many are not."""
    images = images_of(FLOAT_DETECTOR)
    detector = dataclasses.replace(FLOAT_DETECTOR, nms=NmsMode.NONE)
    scores = golden.run_outputs(detector.graph, images)["scores"][..., 1:]
    rows = ios.load(write(FLOAT_DETECTOR)).results(images)[DETECTIONS]
    for image, kept in zip(scores, rows[..., 4] >= 0, strict=True):
        competing = min(int((image > CROWDED.score_threshold).sum()), CROWDED.candidates)
        assert 5 < kept.sum() < 0.9 * competing


# --- programs ------------------------------------------------------------------------------------


def kinds(package: Package) -> Counter[str]:
    return Counter(o.type for o in package.operations if o.type != "const")


def test_an_int8_detector_joins_what_it_dequantized(write: Write) -> None:
    """Twelve maps, each with a scale of its own; nothing is quantized a second time."""
    found = kinds(read_package(write(RAW, twin=True)))
    assert found["transpose"] == found["reshape"] == 12
    assert found["concat"] == 2
    codes = sum(tensor.qparams is not None for tensor in RAW.graph.tensors.values())
    assert found["quantize"] == codes


def test_a_float_detector_computes_six_scores_and_one_decoding(write: Write) -> None:
    found = kinds(read_package(write(HALF_DETECTOR)))
    assert found["sigmoid"] == 6
    assert found["exp"] == 1
    assert found["concat"] == 2 + 1  # scores, offsets, corners


def test_scores_and_boxes_are_float32_in_a_float16_program(write: Write) -> None:
    package = read_package(write(HALF_DETECTOR))
    held = {
        MIL_pb2.DataType.Name(out.type.tensorType.dataType)
        for op in package.operations
        if op.type in ("sigmoid", "exp")
        for out in op.outputs
    }
    assert held == {"FLOAT32"}


def test_maps_are_enlarged_with_half_pixel_centers(write: Write) -> None:
    """To a size, not by a factor; a 1 x 1 map too."""
    package = read_package(write(LOGITS, twin=True))
    resizes = [op for op in package.operations if op.type == "resize_bilinear"]
    sizes = []
    for op in resizes:
        held = {b.name for b in op.inputs["sampling_mode"].arguments}
        (writer,) = (o for o in package.operations if o.outputs[0].name in held)
        strings = writer.attributes["val"].immediateValue.tensor.strings.values
        assert list(strings) == ["UNALIGN_CORNERS"]
        sizes.append(int(package.constant(op, "target_size_height")))
    assert sizes == [9, 65]


@pytest.mark.parametrize("target", ["iOS15", "iOS26"])
@pytest.mark.parametrize("case", [FLOAT_DETECTOR, HALF_LABELED], ids=name_of)
def test_static_checks_find_nothing(tmp_path: Path, case: Case, target: str) -> None:
    """Every operation exists in the oldest operation set and in the newest."""
    path = tmp_path / "m.mlpackage"
    options = ExportOptions(deployment_target=DeploymentTarget(target))
    ios.emit(case.graph, case.precision, options, path)
    contents = ios.describe(path)
    assert contents.findings == ()
    assert f"({target.replace('iOS', 'iOS ')}+)" in contents.delegation


@pytest.mark.parametrize("case", [SUPPRESSED, *listed([NATIVE, LOWRES])])
def test_static_checks_find_nothing_in_int8(write: Write, case: Case) -> None:
    assert ios.describe(write(case)).findings == ()


def test_coremltools_reads_the_loop(write: Write) -> None:
    """`lint` leaves programs with blocks to this: its reader type-checks them."""
    from coremltools.converters.mil.frontend.milproto.load import load

    package = read_package(write(FLOAT_DETECTOR))
    weights = str(package.model_path.parent / "weights")
    program = load(package.spec, specification_version=8, file_weights_dir=weights)
    assert [o.name for o in program.functions["main"].outputs] == [DETECTIONS]


# --- the interface -------------------------------------------------------------------------------


@pytest.mark.parametrize("case", FEW, ids=name_of)
def test_description_has_all_results(write: Write, case: Case) -> None:
    """By the graph's names and shapes; no class label is among them."""
    contents = ios.describe(write(case, twin=True))
    (image,) = contents.inputs
    assert image.dtype == "uint8 RGB"
    told = {output.name: (output.shape, output.dtype) for output in contents.outputs}
    assert told == {
        tensor.name: (tensor.shape, "int32" if tensor.name == LABELS else "float32")
        for tensor in case.graph.outputs
    }
    assert contents.spec == case.graph.spec


def test_metadata_tells_xcode_how_to_draw(write: Write) -> None:
    held = read_package(write(LABELED, twin=True)).metadata
    assert held["com.apple.coreml.model.preview.type"] == "imageSegmenter"
    parameters = json.loads(held["com.apple.coreml.model.preview.parameters"])
    assert parameters == {"labels": [LABELED.graph.spec.label(i) for i in range(4)]}
    assert held[METADATA_KEY] == metadata_text(LABELED.graph, INT8)
    assert "com.apple.coreml.model.preview.type" not in read_package(write(HALF_LOWRES)).metadata


@pytest.mark.parametrize("case", [FLOAT_DETECTOR, FLOAT_NATIVE, HALF_LABELED, *listed([DECODED])])
def test_equal_graphs_give_equal_bytes(write: Write, case: Case, tmp_path: Path) -> None:
    again = tmp_path / "another name.mlpackage"
    ios.emit(case.graph, case.precision, ExportOptions(), again)
    assert sha256(again) == sha256(write(case))


# --- the pipeline with Core ML's own suppression -------------------------------------------------


def test_the_pipeline_is_one_that_vision_knows(write: Write) -> None:
    """Confidence of whole blocks of 80 classes without the background, centers and sizes."""
    package = read_package(write(FLOAT_NATIVE))
    whole, nms = package.pipeline, package.suppression.nonMaximumSuppression
    assert [f.name for f in whole.description.input] == [
        "image",
        "iouThreshold",
        "confidenceThreshold",
    ]
    assert [f.type.isOptional for f in whole.description.input] == [False, True, True]
    assert [f.name for f in whole.description.output] == ["confidence", "coordinates"]
    assert all(f.shortDescription for f in (*whole.description.input, *whole.description.output))
    anchors = FLOAT_NATIVE.graph.tensors["decode"].shape[1]
    raw = {f.name: list(f.type.multiArrayType.shape) for f in package.spec.description.output}
    assert raw == {"raw_confidence": [anchors, 80], "raw_coordinates": [anchors, 4]}
    labels = list(nms.stringClassLabels.vector)
    assert labels[:4] == ["class 1", "class 2", "class 3", "unused 3"]
    assert len(set(labels)) == 80
    assert nms.pickTop.perClass
    assert (nms.iouThreshold, nms.confidenceThreshold) == (0.3, 0.02)
    assert package.metadata["com.apple.coreml.model.preview.type"] == "objectDetector"
    model = Model_pb2.Model.FromString((write(FLOAT_NATIVE) / MODEL).read_bytes())
    assert [m.specificationVersion for m in model.pipeline.models] == [8, 8]


def test_description_of_the_pipeline(write: Write) -> None:
    contents = ios.describe(write(FLOAT_NATIVE))
    assert contents.format == (
        "Core ML pipeline of an ML program and non-maximum suppression, specification 8"
    )
    assert contents.delegation.endswith("boxes are suppressed after it")
    assert contents.ops["nonMaximumSuppression"] == 1
    assert [(o.name, o.shape, o.dtype) for o in contents.outputs] == [
        ("confidence", ("n", 80), "float32"),
        ("coordinates", ("n", 4), "float32"),
    ]
    assert [(i.name, i.note) for i in contents.inputs[1:]] == [
        ("iouThreshold", "optional"),
        ("confidenceThreshold", "optional"),
    ]
    assert contents.spec == FLOAT_NATIVE.graph.spec


def rewritten(path: Path, change: Callable[[Any], None]) -> Path:
    model = Model_pb2.Model.FromString((path / MODEL).read_bytes())
    change(model)
    (path / MODEL).write_bytes(model.SerializeToString(deterministic=True))
    return path


def test_another_suppression_is_a_difference(write: Write, tmp_path: Path) -> None:
    """Though the program in front of it is the same."""
    path = tmp_path / "m.mlpackage"
    ios.emit(FLOAT_NATIVE.graph, FP32, ExportOptions(), path)
    twin = read_package(write(FLOAT_NATIVE))
    assert compare(read_package(path), twin).differences == []

    def change(model: Any) -> None:
        model.pipeline.models[1].nonMaximumSuppression.iouThreshold = 0.31

    changed = read_package(rewritten(path, change))
    assert compare(changed, twin).differences == ["the suppression of boxes differs"]
    assert file_differences(changed, twin) == ["model.mlmodel is not what the graph gives"]


def test_another_loop_is_a_difference(write: Write, tmp_path: Path) -> None:
    """What is inside of an operation counts too."""
    path = tmp_path / "m.mlpackage"
    ios.emit(FLOAT_DETECTOR.graph, FP32, ExportOptions(), path)
    twin = read_package(write(FLOAT_DETECTOR))

    def change(model: Any) -> None:
        (function,) = model.mlProgram.functions.values()
        (block,) = function.block_specializations.values()
        (loop,) = (op for op in block.operations if op.type == "while_loop")
        equal = next(op for op in loop.blocks[1].operations if op.type == "equal")
        equal.type = "not_equal"

    changed = read_package(rewritten(path, change))
    (difference,) = compare(changed, twin).differences
    assert difference.startswith("while_loop ")
    assert difference.endswith("has other blocks inside")


@pytest.mark.parametrize("case", [FLOAT_DETECTOR, FLOAT_SEGMENTER], ids=name_of)
def test_torch_computes_the_same_from_the_graph(case: Case) -> None:
    """The program that the stock lowering reads, and that int8 packages are held to."""
    images = images_of(case, 1)
    with torch.no_grad():
        results = QdqModule(case.graph).eval().results(torch.from_numpy(images))
    found = {name: value.numpy() for name, value in results.items()}
    assert near(golden.run_outputs(case.graph, images), found) == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.pipeline.models.pop(), "but a pipeline model"),
        (
            lambda m: setattr(
                m.pipeline.models[1].nonMaximumSuppression, "confidenceInputFeatureName", "x"
            ),
            "nothing gives what it suppresses",
        ),
    ],
)
def test_other_pipelines_are_refused(
    tmp_path: Path, change: Callable[[Any], None], message: str
) -> None:
    path = tmp_path / "m.mlpackage"
    ios.emit(FLOAT_NATIVE.graph, FP32, ExportOptions(), path)
    with pytest.raises(ArtifactError, match=message):
        ios.load(rewritten(path, change))


def test_labels_of_boxes_must_differ() -> None:
    spec = dataclasses.replace(spec_of(DETECTOR), labels=("background", "crane", "dog", "crane"))
    with pytest.raises(UnsupportedError, match="'crane' is there twice"):
        box_labels(spec, 80)


def test_what_core_ml_suppressed_becomes_rows() -> None:
    """Best first, a box with its best class; further places are empty."""

    class Model:
        def predict(self, _features: dict[str, Any]) -> dict[str, Any]:
            confidence = np.zeros((2, 80), np.float32)
            confidence[0, 1], confidence[1, 2] = 0.25, 0.5
            boxes = np.float32([[0.5, 0.5, 0.5, 1.0], [0.25, 0.25, 0.5, 0.5]])
            return {"confidence": confidence, "coordinates": boxes}

    spec = spec_of(DETECTOR)
    rows = CoreMLRunner(model=Model(), spec=spec)(sample_images(spec, 1, seed=0))[0]
    assert rows.shape == (100, 6)
    np.testing.assert_array_equal(rows[0], np.float32([0, 0, 0.5, 0.5, 0.5, 3]))
    np.testing.assert_array_equal(rows[1], np.float32([0.25, 0, 0.75, 1, 0.25, 2]))
    np.testing.assert_array_equal(rows[2:], np.tile(np.float32([0, 0, 0, 0, -1, 0]), (98, 1)))


# --- inside a .pte -------------------------------------------------------------------------------


def test_a_program_gives_all_results(write: Write) -> None:
    """One delegate; the names are the graph's, in its order."""
    case = HALF_DETECTOR
    path = write(case, PTE)
    contents = ios.describe(path)
    assert [o.name for o in contents.outputs] == ["scores", "boxes"]
    assert contents.delegation.startswith("1 delegate (CoreMLBackend), nothing outside; ")
    images = images_of(case, 1)
    inside, package = (ios.load(p).results(images) for p in (path, write(case)))
    for name, value in inside.items():
        assert ratio_db(package[name], value) > 40.0


def test_labels_in_a_program_are_integers(write: Write) -> None:
    from targets.executorch_sdk import quiet
    from targets.pte import deserialize, result_names

    program = deserialize(write(HALF_LABELED, PTE)).program
    assert result_names(program) == (LABELS,)
    plan = program.execution_plan[0]
    with quiet():
        from executorch.exir.scalar_type import ScalarType
    (output,) = (plan.values[i].val for i in plan.outputs)
    assert (output.scalar_type, list(output.sizes)) == (ScalarType.INT, [1, 65, 65])


def test_a_program_holds_no_pipeline(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"a \.pte holds one model only"):
        ios.emit(FLOAT_NATIVE.graph, FP32, PTE, tmp_path / "m.coreml.pte")
    assert not list(tmp_path.iterdir())


# --- proofs --------------------------------------------------------------------------------------


def claim_for(case: Case, images: np.ndarray) -> Claim:
    floating = dataclasses.replace(case, precision=FP32)
    return Claim(
        graph=case.graph,
        precision=case.precision,
        images=images,
        expected=golden.run_outputs(case.graph, images),
        float_results=golden.run_outputs(floating.graph, images),
    )


def test_a_gate_says_which_output_is_far() -> None:
    results = {"scores": np.ones((1, 4), np.float32), "boxes": np.ones((1, 4), np.float32)}
    off = {**results, "boxes": results["boxes"] * np.float32(1.1)}
    from exporter.verdicts import FP32 as TOLERANCE

    gate = close("x", results, off, TOLERANCE)
    assert not gate.passed
    assert gate.detail.endswith("boxes 20.0 dB, at least 100 dB wanted")
    assert unequal(results, off) == "boxes 20.0 dB, at least 100 dB wanted"
    assert unequal({"scores": results["scores"]}, {"scores": off["boxes"]}) == (
        "scores differ in 100.00% of the numbers"
    )


def test_a_segmenter_passes_every_gate(write: Write) -> None:
    claim = claim_for(HALF_LABELED, images_of(HALF_LABELED, 1))
    examination = ios.examine(write(HALF_LABELED), claim)
    assert [gate for gate in examination.gates if not gate.passed] == []
    told = {gate.name: gate.detail for gate in examination.gates}["float32 twin against the graph"]
    assert told == "100.00% agree, at least 99.90% wanted"


def test_a_pipeline_says_what_was_not_run(write: Write) -> None:
    """Its program and weights are proved as any other's are."""
    claim = claim_for(FLOAT_NATIVE, images_of(FLOAT_NATIVE, 1))
    examination = ios.examine(write(FLOAT_NATIVE), claim)
    assert [gate for gate in examination.gates if not gate.passed] == []
    assert [note for note in examination.notes if "suppression was not run" in note]
    assert examination.by == "program and weights, reference evaluator"


@pytest.mark.slow
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("precision", [INT8, FP32])
@pytest.mark.parametrize("case", INT8_CASES, ids=name_of)
def test_every_gate_lets_it_pass(
    write: Write, case: Case, precision: Precision, full: bool
) -> None:
    case = dataclasses.replace(case, precision=precision, full=full)
    examination = ios.examine(write(case), claim_for(case, images_of(case)))
    assert [gate for gate in examination.gates if not gate.passed] == []


@pytest.mark.slow
@pytest.mark.parametrize("task", [DETECTOR, SEGMENTER])
def test_the_published_size(task: Task, tmp_path: Path) -> None:
    """SSDLite at 320, DeepLabv3 at 513: 0 LSB, and as many bytes as there are weights."""
    spec = default_spec(task)
    core = quantize(fold_core(random_network(spec)), sample_images(spec, 2, seed=0))
    nms = NmsMode.GRAPH if task is DETECTOR else NmsMode.NONE
    outputs = Outputs.DECODED if task is DETECTOR else Outputs.LABELS
    graph = with_ends(core, Ends(outputs=outputs, nms=nms))
    path = tmp_path / "m.mlpackage"
    ios.write(graph, INT8, ExportOptions(), path, np.float32)
    images = sample_images(spec, 1, seed=5)
    runner = EvaluatorRunner(
        program=Program(read_package(path), Arithmetic.INTEGER), spec=graph.spec
    )
    assert unequal(golden.run_outputs(graph, images), runner.results(images)) == ""
    weights = sum(op.weight.values.size for op in graph.weighted())
    assert size(path) < 1.3 * weights
    assert not any(isinstance(op, Nms) and op.native for op in graph.ops)
