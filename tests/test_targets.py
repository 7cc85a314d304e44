"""The one suite that every target takes; a new target is in it by its row alone."""

from __future__ import annotations

import hashlib
import importlib.util
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import DemoBuild
from graphs import make_graphs, sample_images

from exporter import golden
from exporter.errors import ArtifactError, ExportError, MissingDependencyError, UnsupportedError
from exporter.files import sha256
from exporter.graph import QuantizedGraph
from exporter.manifest import read_manifest
from exporter.metrics import sqnr_db
from exporter.parity import compare
from exporter.pipeline import artifact_name
from exporter.spec import Precision
from exporter.target import (
    CannotRunError,
    Claim,
    DeploymentTarget,
    Examiner,
    ExportOptions,
    IoType,
    Runner,
)
from exporter.verdicts import TOLERANCES, Outcome
from targets import TARGETS, TargetName, get

CASES = [(name, precision) for name in TargetName for precision in TARGETS[name].precisions]
# Targets whose format has no place for text; their facts are in the manifest alone.
WITHOUT_METADATA = {TargetName.ANDROID}
# Targets whose runtime shows nothing but its results.
WITHOUT_LAYERS = {TargetName.ANDROID, TargetName.TORCHSCRIPT}
# What a machine may be unable to run: integers in ONNX Runtime where they are not established
# (`test_onnx.py` says where that is).
MAY_NOT_RUN = {(TargetName.ONNX, Precision.INT8)}
MIN_LAYER_SQNR_DB = {Precision.FP16: 40.0, Precision.FP32: 90.0}
FLIPPED_VARIANTS = 12


def graph_for(precision: Precision) -> QuantizedGraph:
    graphs = make_graphs()
    return graphs[1] if precision is Precision.INT8 else graphs[0]


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory) -> dict[tuple[TargetName, Precision], Path]:
    """Each target's artifact in each of its precisions."""
    folder = tmp_path_factory.mktemp("artifacts")
    written = {}
    for name, precision in CASES:
        target = get(name)
        written[name, precision] = folder / artifact_name(target, precision, ExportOptions())
        target.backend.emit(
            graph_for(precision), precision, ExportOptions(), written[name, precision]
        )
    return written


def opened(name: TargetName, path: Path, precision: Precision, images: np.ndarray) -> Runner:
    """What gives the logits that are compared; a proof in parts must have passed all of them."""
    target, graph = get(name), graph_for(precision)
    if not isinstance(target.backend, Examiner):
        return target.backend.load(path)
    claim = Claim(
        graph=graph,
        precision=precision,
        images=images,
        expected=golden.run_outputs(graph, images, target.info.rules),
        float_results=golden.run_outputs(graph_for(Precision.FP32), images),
    )
    examination = target.backend.examine(path, claim)
    assert [gate for gate in examination.gates if not gate.passed] == []
    return examination.runner


@pytest.mark.parametrize(("name", "precision"), CASES)
def test_artifact_from_disk_equals_the_golden(artifacts, name, precision) -> None:
    target, graph = get(name), graph_for(precision)
    images = sample_images(graph.spec, 4, seed=21)
    try:
        runner = opened(name, artifacts[name, precision], precision, images)
    except CannotRunError:
        assert (name, precision) in MAY_NOT_RUN
        return
    expected = golden.run(graph, images, target.info.rules)
    qparams = graph.output.qparams
    step = None if qparams is None else qparams.scale
    parity = compare(expected, runner(images), TOLERANCES[precision], step)
    assert parity.outcome is Outcome.SAME, parity


@pytest.mark.parametrize(("name", "precision"), CASES)
def test_layers_that_a_runtime_shows_equal_the_goldens(artifacts, name, precision) -> None:
    """Names are the graph's; int8 layers are equal, float ones near. Who can show, shows."""
    target, graph = get(name), graph_for(precision)
    image = sample_images(graph.spec, 1, seed=22)
    try:
        shown = opened(name, artifacts[name, precision], precision, image).layers(image)
    except CannotRunError:
        assert (name, precision) in MAY_NOT_RUN
        return
    assert shown or name in WITHOUT_LAYERS
    expected: dict[str, np.ndarray] = {}
    golden.run(graph, image, target.info.rules, trace=expected.__setitem__)
    for layer, value in shown.items():
        assert layer in expected
        assert value.shape == expected[layer].shape
        if precision is Precision.INT8:
            assert np.array_equal(value, expected[layer]), layer
        else:
            assert sqnr_db(expected[layer], value) >= MIN_LAYER_SQNR_DB[precision], layer


@pytest.mark.parametrize(("name", "precision"), CASES)
def test_equal_graphs_give_equal_bytes(artifacts, tmp_path, name, precision) -> None:
    """A second emission under another name."""
    path = tmp_path / f"another name{TARGETS[name].suffix}"
    get(name).backend.emit(graph_for(precision), precision, ExportOptions(), path)
    assert sha256(path) == sha256(artifacts[name, precision]) or path.is_dir()
    if path.is_dir():
        files = sorted(p.relative_to(path) for p in path.rglob("*") if p.is_file())
        for file in files:
            there = artifacts[name, precision] / file
            assert (path / file).read_bytes() == there.read_bytes(), file


@pytest.mark.parametrize(("name", "precision"), CASES)
def test_description_tells_the_contract(artifacts, name, precision) -> None:
    contents = get(name).backend.describe(artifacts[name, precision])
    graph = graph_for(precision)
    assert contents.inputs
    assert contents.outputs
    assert contents.delegation
    assert sum(contents.ops.values()) >= len(graph.ops) - 2
    if name not in WITHOUT_METADATA:
        assert contents.spec == graph.spec
    weights = sum(op.weight.values.size for op in graph.weighted())
    bytes_per_weight = {Precision.INT8: 1, Precision.FP16: 2, Precision.FP32: 4}[precision]
    constants = sum(layer.size_bytes for layer in contents.layers)
    assert constants >= 0.95 * weights * bytes_per_weight
    assert contents.size_bytes >= constants * 0.9


@pytest.mark.parametrize(("name", "precision"), CASES)
def test_nothing_of_this_machine_is_inside(artifacts, name, precision) -> None:
    """No path of the repository or of the temporary folder, in any file of the artifact."""
    path = artifacts[name, precision]
    files = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
    here = [str(Path(__file__).parents[1]), str(path.parent), Path.home().as_posix() + "/"]
    for file in files:
        data = file.read_bytes()
        for text in here:
            assert text.encode() not in data, (file, text)


@pytest.mark.parametrize("keep", [0, 50, 0.6])
@pytest.mark.parametrize("name", list(TargetName))
def test_damaged_artifacts_are_refused(artifacts, tmp_path, name, keep) -> None:
    """Cut off anywhere: one clear error from `load` and from `describe`, never a crash."""
    source = artifacts[name, Precision.INT8]
    path = tmp_path / source.name
    if source.is_dir():
        shutil.copytree(source, path)
        victim = max((p for p in path.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    else:
        shutil.copy(source, path)
        victim = path
    data = victim.read_bytes()
    victim.write_bytes(data[: int(len(data) * keep) if isinstance(keep, float) else keep])
    for use in (get(name).backend.load, get(name).backend.describe):
        with pytest.raises(ArtifactError, match=path.name):
            use(path)


@pytest.mark.parametrize("variant", range(FLIPPED_VARIANTS))
@pytest.mark.parametrize("name", list(TargetName))
def test_changed_bytes_never_crash(artifacts, tmp_path, name, variant) -> None:
    """One to four bytes at the start, anywhere or at the end: our error, or nothing to notice."""
    source, seeded = artifacts[name, Precision.INT8], random.Random(variant)
    path = tmp_path / source.name
    if source.is_dir():
        shutil.copytree(source, path)
        files = sorted(p for p in path.rglob("*") if p.is_file())
        victim = files[variant % len(files)]
    else:
        shutil.copy(source, path)
        victim = path
    data = bytearray(victim.read_bytes())
    ends = [(0, min(len(data), 3000)), (0, len(data)), (max(0, len(data) - 3000), len(data))]
    for _ in range(1 + variant % 4):
        data[seeded.randrange(*ends[variant // 4])] ^= seeded.randrange(1, 256)
    victim.write_bytes(data)
    for use in (get(name).backend.load, get(name).backend.describe):
        try:
            use(path)
        except ExportError as error:
            assert path.name in error.message or isinstance(error, CannotRunError)  # noqa: PT017


@pytest.mark.parametrize("name", list(TargetName))
def test_missing_artifacts_are_refused(tmp_path, name) -> None:
    path = tmp_path / f"missing{TARGETS[name].suffix}"
    for use in (get(name).backend.load, get(name).backend.describe):
        with pytest.raises(ArtifactError, match="missing"):
            use(path)


def test_importing_targets_loads_no_sdk() -> None:
    """The table and every module, in a fresh interpreter."""
    code = (
        "import sys, targets\n"
        "for name in targets.TargetName: targets.get(name)\n"
        "heavy = {'torch', 'executorch', 'coremltools', 'onnx', 'onnxruntime', 'ai_edge_litert'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "precision"), CASES)
def test_another_process_gives_the_same_bytes(artifacts, tmp_path, name, precision) -> None:
    """Hash seeds and addresses differ there; the artifact may not."""
    from exporter.graph_file import save_graph

    save_graph(graph_for(precision), tmp_path / "g.graph")
    path = tmp_path / f"m{TARGETS[name].suffix}"
    code = (
        "from pathlib import Path\n"
        "from exporter.graph_file import load_graph\n"
        "from exporter.target import ExportOptions\n"
        "from exporter.spec import Precision\n"
        "from targets import TargetName, get\n"
        f"graph = load_graph(Path({str(tmp_path / 'g.graph')!r}))\n"
        f"get(TargetName({str(name)!r})).backend.emit(\n"
        f"    graph, Precision({str(precision)!r}), ExportOptions(), Path({str(path)!r}))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert digest(path) == digest(artifacts[name, precision])


def digest(path: Path) -> dict[str, str]:
    files = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
    return {
        p.relative_to(path).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files
    }


def test_demo_build_proves_every_artifact(demo_build: DemoBuild) -> None:
    """All targets and precisions of the embedded default; what cannot run says why."""
    assert demo_build.result.exit_code == 0, demo_build.result.output
    manifest = read_manifest(demo_build.folder)
    assert manifest.failures == ()
    companions = sum(len(TARGETS[name].companions) for name, _ in CASES)
    assert len(manifest.artifacts) == len(CASES) + companions
    for record in manifest.artifacts:
        if record.parity.outcome is Outcome.NOT_RUN:
            with pytest.raises(CannotRunError) as caught:
                get(TargetName(record.target)).backend.load(demo_build.folder / record.path)
            assert (record.target, record.precision) in MAY_NOT_RUN
            assert record.parity.reason == caught.value.message
            continue
        assert record.parity.outcome is Outcome.SAME, record
        assert record.accuracy is not None
        if record.precision is Precision.INT8:
            assert record.parity.max_lsb == 0
    assert all(p.outcome is not Outcome.DRIFTED for p in manifest.pairs)


@pytest.mark.parametrize("name", list(TargetName))
def test_a_missing_sdk_is_named_with_its_cure(monkeypatch, name: TargetName) -> None:
    get(name).backend.check()  # all are installed here: the artifacts above were written
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(MissingDependencyError, match=f"the {name} target needs") as caught:
        get(name).backend.check()
    assert "install" in caught.value.hint


@pytest.mark.parametrize(("name", "precision"), CASES)
def test_offered_precisions_pass_the_check(name: TargetName, precision: Precision) -> None:
    get(name).backend.check_options(precision, ExportOptions())


REFUSED = [
    *((name, p, {}) for name in TargetName for p in Precision if (name, p) not in CASES),
    (TargetName.IOS, Precision.INT8, {"deployment_target": DeploymentTarget.IOS15}),
    (TargetName.IOS, Precision.INT8, {"deployment_target": DeploymentTarget.IOS16}),
    (TargetName.LITERT, Precision.FP32, {"io": IoType.INT8}),
    (TargetName.LITERT, Precision.FP16, {"io": IoType.UINT8}),
    (TargetName.ONNX, Precision.FP32, {"batch": 0}),
]


@pytest.mark.parametrize(("name", "precision", "choices"), REFUSED)
def test_impossible_options_are_refused_before_and_by_emit(
    tmp_path, name: TargetName, precision: Precision, choices: dict
) -> None:
    """The pipeline asks before any work; a direct call is as safe."""
    backend, options = get(name).backend, ExportOptions(**choices)
    path = tmp_path / f"refused{TARGETS[name].suffix}"
    with pytest.raises(UnsupportedError) as asked:
        backend.check_options(precision, options)
    with pytest.raises(UnsupportedError) as emitted:
        backend.emit(graph_for(precision), precision, options, path)
    assert asked.value.message == emitted.value.message
    assert list(tmp_path.iterdir()) == []
