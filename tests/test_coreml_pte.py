"""The Core ML package inside an ExecuTorch program: whole, as stock code reads it, damage seen."""

from __future__ import annotations

import dataclasses
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import graphs
import numpy as np
import pytest
from conftest import invoke

from exporter import golden
from exporter.errors import ArtifactError, UnsupportedError
from exporter.files import sha256
from exporter.graph import Conv, QuantizedGraph
from exporter.inspection import target_of
from exporter.parity import sqnr_db
from exporter.pipeline import artifact_name
from exporter.spec import Precision
from exporter.target import Contents, DeploymentTarget, ExportOptions, IosFormat
from exporter.verdicts import FP32
from targets import TargetName, android, get, ios
from targets.coreml_pte import check_complete, extract, pack
from targets.coreml_sdk import coremltools
from targets.executorch_sdk import quiet
from targets.flat_directory import flatten, unflatten
from targets.pte import deserialize, serialize

PTE = ExportOptions(format=IosFormat.PTE)
CASES = [
    (Precision.INT8, "iOS17"),
    (Precision.INT8, "iOS18"),
    (Precision.FP16, "iOS15"),
    (Precision.FP32, "iOS15"),
]
MODEL = "model.mlpackage/Data/com.apple.CoreML/model.mlmodel"
LAYERS = {"conv": 52, "relu6": 35, "add": 10, "reduce_mean": 1, "linear": 1}
INTEGERS = {"quantize": 65, "dequantize": 65}
WEIGHTS = {"iOS17": "constexpr_affine_dequantize", "iOS18": "constexpr_blockwise_shift_scale"}


def graph_of(precision: Precision) -> QuantizedGraph:
    return graphs.make_graphs()[1 if precision is Precision.INT8 else 0]


def options(target: str) -> ExportOptions:
    return ExportOptions(format=IosFormat.PTE, deployment_target=DeploymentTarget(target))


@pytest.fixture(scope="module")
def int8(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pte") / "model-int8.coreml.pte"
    ios.emit(graph_of(Precision.INT8), Precision.INT8, PTE, path)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    files = (p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


def payload(path: Path) -> bytes:
    return bytes(deserialize(path).program.backend_delegate_data[0].data)


# --- the program and its package -----------------------------------------------------------------


@pytest.mark.parametrize(("precision", "target"), CASES)
def test_the_package_is_the_graph_from_tensor_to_logits(
    tmp_path: Path, precision: Precision, target: str
) -> None:
    """No preprocessing, no labels, no softmax; both ends are float32, as the program's are."""
    path = tmp_path / "m.coreml.pte"
    assert ios.emit(graph_of(precision), precision, options(target), path) == ()
    described = ios.describe(path)
    expected = dict(LAYERS)
    if precision is Precision.INT8:
        expected |= INTEGERS | {WEIGHTS[target]: 53}
    elif precision is Precision.FP16:
        expected |= {"cast": 2}
    assert described.ops == expected
    (image,), (logits,) = described.inputs, described.outputs
    assert (image.shape, image.dtype, image.note) == ((1, 3, 96, 96), "float32", "normalized")
    assert (logits.name, logits.shape, logits.dtype) == ("logits", (1, 20), "float32")
    assert described.size_bytes == path.stat().st_size
    assert described.delegation.startswith("1 delegate (CoreMLBackend), nothing outside; ")
    assert f"({target.replace('iOS', 'iOS ')}+)" in described.delegation
    assert described.spec == graph_of(precision).spec


def test_the_exact_twin_computes_the_golden_bit_for_bit(tmp_path: Path) -> None:
    from targets.mil.program import Arithmetic, open_program

    graph, path = graph_of(Precision.INT8), tmp_path / "twin.coreml.pte"
    ios.write(graph, Precision.INT8, PTE, path, np.float32)
    images = graphs.sample_images(graph.spec, 4, seed=7)
    with extract(path) as package:
        program = open_program(package, Arithmetic.INTEGER)
        logits = np.concatenate([program(image=image[None])["logits"] for image in images])
    np.testing.assert_array_equal(logits, golden.run(graph, images))


def test_the_float_program_computes_the_golden(tmp_path: Path) -> None:
    from targets.mil.program import open_program

    graph, path = graph_of(Precision.FP32), tmp_path / "m.coreml.pte"
    ios.emit(graph, Precision.FP32, PTE, path)
    images = graphs.sample_images(graph.spec, 4, seed=7)
    with extract(path) as package:
        program = open_program(package)
        logits = np.concatenate([program(image=image[None])["logits"] for image in images])
    assert sqnr_db(golden.run(graph, images), logits) > FP32.min_sqnr_db


def test_the_program_declares_what_its_package_is_for(int8: Path) -> None:
    """Compile specs as the stock lowering writes them; at run time only the first is read."""
    (delegate,) = deserialize(int8).program.execution_plan[0].delegates
    assert {spec.key: spec.value for spec in delegate.compile_specs} == {
        "compute_units": b"all",
        "min_deployment_target": b"8",
        "model_compute_precision": b"float16",
        "model_type": b"model",
    }


def test_equal_graphs_give_equal_bytes(int8: Path, tmp_path: Path) -> None:
    path = tmp_path / "another name.coreml.pte"
    ios.emit(graph_of(Precision.INT8), Precision.INT8, PTE, path)
    assert path.read_bytes() == int8.read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_the_identifier_is_that_of_the_package(int8: Path, tmp_path: Path) -> None:
    """The runtime keeps compiled models by it, so another model must never have the same."""
    graph = graph_of(Precision.INT8)
    layer = next(op for op in graph.ops if isinstance(op, Conv))
    values = layer.weight.values.copy()
    values[0, 0, 1, 1] ^= 1
    weight = dataclasses.replace(layer.weight, values=values)
    changed = tmp_path / "changed.coreml.pte"
    ios.emit(
        graphs.replace_op(graph, dataclasses.replace(layer, weight=weight)),
        Precision.INT8,
        PTE,
        changed,
    )
    identifiers = []
    for path in (int8, changed):
        identifiers.append(json.loads(unflatten(payload(path))["metadata.json"])["identifier"])
        with extract(path) as package:
            assert identifiers[-1] == f"mnv2_export_{sha256(package)}"
    assert len(set(identifiers)) == 2


def test_the_extracted_package_packs_into_the_same_file(int8: Path) -> None:
    with extract(int8) as package:
        assert package.suffix == ".mlpackage"
        assert pack(package) == int8.read_bytes()
    assert not package.exists()


@pytest.mark.parametrize("name", ["m.pte", "m.mlpackage", "m.coreml"])
def test_another_suffix_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnsupportedError, match=r"must end in \.coreml\.pte"):
        ios.emit(graph_of(Precision.INT8), Precision.INT8, PTE, tmp_path / name)
    assert not list(tmp_path.iterdir())


# --- what ExecuTorch makes of it -----------------------------------------------------------------


def test_stock_extraction_gives_our_package(int8: Path, tmp_path: Path, capsys: Any) -> None:
    with quiet():
        from executorch.examples.apple.coreml.scripts.extract_coreml_models import (
            extract_coreml_models,
        )

        (extracted,) = extract_coreml_models(int8.read_bytes(), tmp_path)
    with extract(int8) as package:
        assert contents(extracted / "lowered_module" / "model.mlpackage") == contents(package)
    assert sorted(p.name for p in (extracted / "lowered_module").iterdir()) == [
        "metadata.json",
        "model.mlpackage",
    ]


def test_stock_preprocessing_of_our_package_gives_our_payload(
    int8: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """File by file, once its random identifier is the same."""
    ct = coremltools()
    from coremltools.proto import Model_pb2

    with quiet():
        from executorch.backends.apple.coreml.compiler import CoreMLBackend, coreml_preprocess

        ours = unflatten(payload(int8))
        identifier = json.loads(ours["metadata.json"])["identifier"]
        monkeypatch.setattr(coreml_preprocess.uuid, "uuid4", lambda: "drawn at random")
        with extract(int8) as package:
            model = ct.models.MLModel(str(package), skip_model_load=True)
            stock = CoreMLBackend.preprocess_model(model, CoreMLBackend.MODEL_TYPE.MODEL)
    files = unflatten(stock.processed_bytes)
    drawn = b"executorch_drawn at random"
    files["metadata.json"] = files["metadata.json"].replace(drawn, identifier.encode())
    for written in (files, ours):  # coremltools orders a model's maps at random
        model = Model_pb2.Model.FromString(written[MODEL])
        written[MODEL] = model.SerializeToString(deterministic=True)
    assert files == ours


def test_our_container_is_the_stock_one(tmp_path: Path) -> None:
    """Each reads what the other writes; the order of files is the only thing that is ours."""
    with quiet():
        from executorch.backends.apple.coreml import executorchcoreml
    files = {"b": b"123", "a/c.d": b"}", "a/b/c": bytes(range(256)), "z/_-.": b"\0\0"}
    source = tmp_path / "root"
    for name, data in files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(data)
    stock = executorchcoreml.flatten_directory_contents(str(source))
    assert unflatten(stock) == files
    ours = flatten("root", files)
    (tmp_path / "out").mkdir()
    assert executorchcoreml.unflatten_directory_contents(ours, str(tmp_path / "out"))
    assert contents(tmp_path / "out" / "root") == files
    assert unflatten(ours + bytes(7)) == files  # a segment may be padded


@pytest.mark.slow
@pytest.mark.parametrize("precision", list(Precision))
def test_the_stock_lowering_differs_only_in_the_package(
    tmp_path: Path, precision: Precision
) -> None:
    """`to_edge_transform_and_lower` of the same graph: all the program is equal, and its files."""
    from targets.qdq_program import export_program

    ct, graph = coremltools(), graph_of(precision)
    stock, ours = tmp_path / "stock.coreml.pte", tmp_path / "ours.coreml.pte"
    ios.emit(graph, precision, PTE, ours)
    real = ct.precision.FLOAT32 if precision is Precision.FP32 else ct.precision.FLOAT16
    with quiet():
        from executorch.backends.apple.coreml.compiler import CoreMLBackend
        from executorch.backends.apple.coreml.partition import CoreMLPartitioner
        from executorch.exir import to_edge_transform_and_lower

        specs = CoreMLBackend.generate_compile_specs(
            minimum_deployment_target=ct.target.iOS17, compute_precision=real
        )
        partitioner = CoreMLPartitioner(compile_specs=specs)
        edge = to_edge_transform_and_lower(export_program(graph), partitioner=[partitioner])
        stock.write_bytes(edge.to_executorch().buffer)
    theirs, mine = deserialize(stock).program, deserialize(ours).program
    files = [unflatten(bytes(p.backend_delegate_data[0].data)) for p in (theirs, mine)]
    debugging = {"debug_info.json", "model.mlpackage/executorch_debug_handle_mapping.json"}
    assert files[0].keys() - debugging == files[1].keys()
    keys = [list(json.loads(f["metadata.json"])) for f in files]
    assert keys[0] == keys[1] == ["inputNames", "outputNames", "identifier"]
    mine.backend_delegate_data = theirs.backend_delegate_data
    assert mine == theirs
    assert ios.describe(stock).spec is None


# --- wrong files ---------------------------------------------------------------------------------


def flipped(source: Path, path: Path, position: int, bit: int) -> Contents | str:
    """What a file with one other bit is described as, or refused with."""
    data = bytearray(source.read_bytes())
    data[position] ^= 1 << bit
    path.write_bytes(data)
    try:
        return ios.describe(path)
    except ArtifactError as error:
        return error.message


@pytest.mark.parametrize("seed", range(20))
def test_a_flipped_bit_of_the_package_is_one_clear_error(
    int8: Path, tmp_path: Path, seed: int
) -> None:
    path, seeded, data = tmp_path / "flipped.coreml.pte", random.Random(seed), int8.read_bytes()
    embedded = payload(int8)
    position = data.index(embedded) + seeded.randrange(len(embedded))
    found = flipped(int8, path, position, seeded.randrange(8))
    assert isinstance(found, str)
    assert found.startswith(f"{path}: ")
    assert "damaged" in found
    assert "\n" not in found


@pytest.mark.parametrize("seed", range(40))
def test_a_flipped_bit_of_the_program_changes_nothing_or_is_an_error(
    int8: Path, tmp_path: Path, seed: int
) -> None:
    """What lies between the flatbuffer's tables means nothing."""
    path, seeded = tmp_path / "flipped.coreml.pte", random.Random(seed)
    position = seeded.randrange(int8.read_bytes().index(payload(int8)))
    found = flipped(int8, path, position, seeded.randrange(8))
    if isinstance(found, str):
        assert found.startswith(f"{path}: ")
        assert "\n" not in found
    else:
        assert found == ios.describe(int8)


@pytest.mark.parametrize("keep", [0, 3, 40, 2000, 0.5, 0.99])
def test_truncated_files_are_refused(int8: Path, tmp_path: Path, keep: float) -> None:
    data, path = int8.read_bytes(), tmp_path / "cut.coreml.pte"
    path.write_bytes(data[: int(len(data) * keep) if isinstance(keep, float) else keep])
    for use in (ios.load, ios.describe):
        with pytest.raises(ArtifactError, match=r"cut\.coreml\.pte: "):
            use(path)


def test_missing_and_foreign_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "zip.coreml.pte").write_bytes(b"PK\x03\x04" + bytes(200))
    android.emit(graph_of(Precision.INT8), Precision.INT8, PTE, tmp_path / "x.coreml.pte")
    for name, message in (
        ("missing", "no such file"),
        ("zip", "not an ExecuTorch program"),
        ("x", "not one call of CoreMLBackend and nothing else, but 1 x XnnpackBackend"),
    ):
        with pytest.raises(ArtifactError, match=message):
            ios.describe(tmp_path / f"{name}.coreml.pte")


def test_another_package_under_the_old_identifier_is_refused(int8: Path, tmp_path: Path) -> None:
    """A phone would go on running the model that it has compiled."""
    program, files = deserialize(int8).program, unflatten(payload(int8))
    (weights,) = (name for name in files if name.endswith("weight.bin"))
    changed = bytearray(files[weights])
    changed[-1] ^= 1
    program.backend_delegate_data[0].data = flatten(
        "lowered_module", files | {weights: bytes(changed)}
    )
    path = tmp_path / "stale.coreml.pte"
    path.write_bytes(serialize(program))
    with pytest.raises(ArtifactError, match="not the program that belongs to its package"):
        ios.describe(path)


def test_a_package_that_is_not_whole_is_named_inside_its_program(
    int8: Path, tmp_path: Path
) -> None:
    program, files = deserialize(int8).program, unflatten(payload(int8))
    kept = {name: data for name, data in files.items() if not name.endswith("weight.bin")}
    program.backend_delegate_data[0].data = flatten("lowered_module", kept)
    path = tmp_path / "light.coreml.pte"
    path.write_bytes(serialize(program))
    with pytest.raises(ArtifactError) as caught:
        ios.describe(path)
    assert caught.value.message.startswith(f"{path}: damaged model.mlpackage: ")


def add_operator(program: Any, schema: Any) -> None:
    program.execution_plan[0].operators.append(schema.Operator("aten::add", "out"))


def add_delegate(program: Any, schema: Any) -> None:
    program.execution_plan[0].delegates *= 2


def add_call(program: Any, schema: Any) -> None:
    program.execution_plan[0].chains[0].instructions *= 2


def another_instruction(program: Any, schema: Any) -> None:
    program.execution_plan[0].chains[0].instructions[0].instr_args = schema.FreeCall(1)


def another_backend(program: Any, schema: Any) -> None:
    program.execution_plan[0].delegates[0].id = "XnnpackBackend"


def input_unread(program: Any, schema: Any) -> None:
    program.execution_plan[0].chains[0].instructions[0].instr_args.args = [1, 1]


def no_call(program: Any, schema: Any) -> None:
    program.execution_plan[0].chains[0].instructions.clear()


def second_method(program: Any, schema: Any) -> None:
    program.execution_plan *= 2


@pytest.mark.parametrize(
    "change",
    [
        add_operator,
        add_delegate,
        add_call,
        another_instruction,
        another_backend,
        input_unread,
        no_call,
        second_method,
    ],
)
def test_only_one_delegate_call_is_complete(
    int8: Path, tmp_path: Path, change: Callable[[Any, Any], None]
) -> None:
    from executorch.exir import schema

    program = deserialize(int8).program
    check_complete(program, int8)
    change(program, schema)
    with pytest.raises(ArtifactError, match="not one call of CoreMLBackend and nothing else"):
        check_complete(program, int8)


def node(name: str, kind: int, children: object = None, offset: int = 0, size: int = 0) -> object:
    region = {"offset": offset, "size": size}
    return {"name": name, "kind": kind, "children": children or {}, "dataRegion": region}


HOSTILE_TREES: dict[str, object] = {
    "no nodes": {"nodes": []},
    "no list": {"nodes": {}},
    "nothing": {},
    "out of the directory": {"nodes": [node("..", 0), node("r", 1, {"..": 0})]},
    "absolute": {"nodes": [node("/etc", 0), node("r", 1, {"/etc": 0})]},
    "nested name": {"nodes": [node("a/b", 0), node("r", 1, {"a/b": 0})]},
    "drive": {"nodes": [node("c:", 0), node("r", 1, {"c:": 0})]},
    "two names": {"nodes": [node("a", 0), node("r", 1, {"b": 0})]},
    "loop": {"nodes": [node("r", 1, {"r": 0})]},
    "forward": {"nodes": [node("r", 1, {"a": 1}), node("a", 1, {"r": 0})]},
    "shared": {"nodes": [node("a", 0), node("b", 1, {"a": 0}), node("r", 1, {"a": 0, "b": 1})]},
    "beyond the end": {"nodes": [node("a", 0, None, 1, 4), node("r", 1, {"a": 0})]},
    "negative": {"nodes": [node("a", 0, None, -1, 1), node("r", 1, {"a": 0})]},
    "no number": {"nodes": [node("a", 0, None, 0, True), node("r", 1, {"a": 0})]},
    "larger than itself": {
        "nodes": [
            node("a", 0, None, 0, 3),
            node("b", 0, None, 0, 3),
            node("r", 1, {"a": 0, "b": 1}),
        ]
    },
}


@pytest.mark.parametrize("kind", HOSTILE_TREES)
def test_a_hostile_tree_of_files_is_refused(kind: str) -> None:
    tree = json.dumps(HOSTILE_TREES[kind]).encode()
    with pytest.raises((ValueError, TypeError)):
        unflatten(b"1234" + tree[::-1])


@pytest.mark.parametrize("data", [b"", b"\0" * 9, b"}" * 9, b"{" * 99999, b'"nodes"', b"\xff" * 99])
def test_bytes_without_a_tree_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="no tree of files"):
        unflatten(data)


# --- beside the other targets --------------------------------------------------------------------


def test_the_longest_suffix_says_whose_a_file_is(tmp_path: Path) -> None:
    targets = {str(name): get(name) for name in TargetName}
    for name, target in (
        ("model-int8.coreml.pte", "ios"),
        ("model-int8.pte", "android"),
        ("coreml.pte", "android"),
        ("model-int8.mlpackage", "ios"),
        ("model.ptl", "torchscript"),
    ):
        (tmp_path / name).touch()
        assert target_of(tmp_path / name, targets).info.name == target


def test_the_format_changes_the_name_of_the_ios_artifact_alone() -> None:
    for name in TargetName:
        default = artifact_name(get(name), Precision.INT8, ExportOptions())
        assert artifact_name(get(name), Precision.INT8, PTE) == (
            "model-int8.coreml.pte" if name is TargetName.IOS else default
        )


def test_a_renamed_program_is_sent_back_by_android(int8: Path, tmp_path: Path) -> None:
    path = tmp_path / "renamed.pte"
    shutil.copyfile(int8, path)
    for use in (android.load, android.describe):
        with pytest.raises(ArtifactError, match=r"renamed\.pte: calls the Core ML delegate") as e:
            use(path)
        assert ".coreml.pte" in e.value.hint


@pytest.mark.slow
def test_the_command_line_builds_and_verifies_it(tmp_path: Path) -> None:
    out = tmp_path / "build"
    built = invoke("build", "-t", "ios", "-t", "android", "--format", "pte", "-o", out)
    assert built.exit_code == 0, built.output
    names = {p.name for p in out.iterdir()}
    assert {"model-int8.coreml.pte", "model-int8.pte"} <= names
    assert "model-int8.mlpackage" not in names
    assert json.loads((out / "manifest.json").read_text())["options"]["format"] == "pte"
    verified = invoke("verify", out)
    assert verified.exit_code == 0, verified.output


def test_the_command_line_shows_what_is_inside(int8: Path) -> None:
    shown = invoke("inspect", int8, "--json")
    assert shown.exit_code == 0, shown.output
    inspection = json.loads(shown.stdout)["inspection"]
    assert inspection["target"] == "ios"
    assert inspection["contents"]["ops"]["conv"] == 52


def test_a_format_without_ios_is_refused(tmp_path: Path) -> None:
    result = invoke("build", "-t", "android", "--format", "pte", "-o", tmp_path / "b")
    assert result.exit_code == 5
    assert "--format is an option of ios" in result.stderr
    assert not (tmp_path / "b").exists()
