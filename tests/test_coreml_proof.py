"""Core ML packages are proved in parts: what every gate lets through, and what each one stops."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import graphs
import numpy as np
import pytest
from coreml_mutations import MUTATIONS, Mutant, mutate

from exporter import golden
from exporter.events import Finished
from exporter.files import sha256, size
from exporter.graph import QuantizedGraph, Weight
from exporter.graph_file import save_graph
from exporter.manifest import (
    ArtifactRecord,
    GraphRecord,
    Manifest,
    Source,
    read_manifest,
    write_manifest,
)
from exporter.quantize import quantize
from exporter.spec import PaddingStyle, Precision, Preprocess
from exporter.target import Claim, DeploymentTarget, Examination, ExportOptions, Target, one_result
from exporter.vectors import FOLDER, make_vectors, references, vector_images, write_vectors
from exporter.verdicts import TOLERANCES, Outcome, Parity
from exporter.verify import verify
from targets import TargetName, get, ios

FP32, FP16, INT8 = Precision.FP32, Precision.FP16, Precision.INT8
HOSTILE_SEEDS = 12


def claim_for(graph: QuantizedGraph, floating: QuantizedGraph, precision: Precision) -> Claim:
    images = graphs.sample_images(graph.spec, 3, seed=5)
    return Claim(
        graph=graph,
        precision=precision,
        images=images,
        expected=golden.run_outputs(graph, images),
        float_results=golden.run_outputs(floating, images),
    )


def examined(folder: Path, claim: Claim, target: str = "iOS17") -> Examination:
    path = folder / "model.mlpackage"
    options = ExportOptions(deployment_target=DeploymentTarget(target))
    ios.emit(claim.graph, claim.precision, options, path)
    return ios.examine(path, claim)


def details(examination: Examination) -> dict[str, str]:
    assert [gate for gate in examination.gates if not gate.passed] == []
    return {gate.name: gate.detail for gate in examination.gates}


@pytest.mark.parametrize("padding", list(PaddingStyle))
@pytest.mark.parametrize("target", ["iOS17", "iOS18", "iOS26"])
def test_int8_passes_every_gate(tmp_path: Path, padding: PaddingStyle, target: str) -> None:
    """Also where zero points and scales are odd enough that every clamp matters."""
    floating, graph = graphs.make_graphs(resolution=64, padding=padding, head=graphs.TWO_LAYERS)
    claim = claim_for(graphs.skew_qparams(graph), floating, INT8)
    examination = examined(tmp_path, claim, target)
    found = details(examination)
    assert examination.by == "program and weights, reference evaluator"
    assert found["float32 twin against torch q/dq"] == "every bit equal on 3 of 3 images"
    assert found["twin in integers"] == "0 LSB on 3 images"
    assert np.array_equal(examination.runner(claim.images), claim.expected["logits"])


@pytest.mark.parametrize("target", ["iOS17", "iOS18"])
def test_int8_takes_raw_pixels(tmp_path: Path, target: str) -> None:
    """From 0 to 255 the first weights are too small for fp16 as they stand; nothing is lost."""
    floating = graphs.make_graphs(resolution=64, padding=PaddingStyle.SAME)[0]
    contract = Preprocess(resize_size=64, crop_size=64, value_range=(0.0, 255.0))
    spec = dataclasses.replace(floating.spec, preprocess=contract)
    first = next(iter(floating.weighted()))
    weight = Weight(values=(first.weight.values / 127.5).astype(np.float32))
    raw = graphs.replace_op(
        dataclasses.replace(floating, spec=spec), dataclasses.replace(first, weight=weight)
    )
    images = graphs.sample_images(spec, 32, seed=2)
    claim = claim_for(quantize(raw, images), raw, INT8)
    assert details(examined(tmp_path, claim, target))["static checks"] == "no findings"


@pytest.mark.parametrize("precision", [FP16, FP32])
@pytest.mark.parametrize("target", ["iOS15", "iOS18"])
def test_float_passes_every_gate(tmp_path: Path, precision: Precision, target: str) -> None:
    floating = graphs.make_graphs(resolution=97, padding=PaddingStyle.SAME)[0]
    found = details(examined(tmp_path, claim_for(floating, floating, precision), target))
    assert set(found) == {
        "program and constants are the twin's",
        "files are what the graph gives",
        "float32 twin against the graph",
        f"{precision} end to end",
        "static checks",
    }


@pytest.mark.parametrize("precision", [FP32, FP16])
def test_float_gates_ask_for_what_the_claim_says(tmp_path: Path, precision: Precision) -> None:
    """Both of them: the float32 twin's and the one end to end."""
    floating = graphs.make_graphs(resolution=64)[0]
    claim = claim_for(floating, floating, precision)
    asked = {
        FP32: dataclasses.replace(TOLERANCES[FP32], min_sqnr_db=200.0),
        FP16: dataclasses.replace(TOLERANCES[FP16], min_sqnr_db=30.0),
    }
    given = dataclasses.replace(claim, tolerances={**TOLERANCES, **asked})
    found = {gate.name: gate for gate in examined(tmp_path, given).gates}
    twin, end = found["float32 twin against the graph"], found[f"{precision} end to end"]
    assert not twin.passed
    assert twin.detail.endswith("dB, at least 200 dB wanted")
    assert end.detail.endswith(f"dB, at least {asked[precision].min_sqnr_db:.0f} dB wanted")
    assert end.passed is (precision is FP16)


@pytest.mark.parametrize("seed", range(HOSTILE_SEEDS))
def test_integers_equal_the_golden_where_everything_ties(tmp_path: Path, seed: int) -> None:
    """Scales are powers of two or a step apart, so sums, means and bounds fall between codes."""
    graph = graphs.make_tiny_graph(seed)
    claim = claim_for(graph, graph, INT8)
    found = {gate.name: gate for gate in examined(tmp_path, claim).gates}
    failed = [name for name, gate in found.items() if not gate.passed]
    assert set(failed) <= {"int8 end to end"}  # fp16 decides ties its own way


@dataclasses.dataclass(frozen=True)
class Off:
    """Core ML's place is taken by the golden, with an error; this machine need be no Mac."""

    claim: Claim
    error: float

    def results(self, images: np.ndarray) -> dict[str, np.ndarray]:
        return {k: v * np.float32(1 + self.error) for k, v in self.claim.expected.items()}

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return one_result(self.results(images))

    def layers(self, images: np.ndarray) -> dict[str, np.ndarray]:
        return {}


@pytest.mark.parametrize(("error", "passed"), [(0.0, True), (0.5, False)])
@pytest.mark.parametrize("precision", list(Precision))
def test_on_a_mac_core_ml_is_one_more_gate(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    precision: Precision,
    error: float,
    passed: bool,
) -> None:
    floating, graph = graphs.make_graphs(resolution=64)
    claim = claim_for(graph if precision is INT8 else floating, floating, precision)
    monkeypatch.setattr(ios, "_has_core_ml", lambda _package: True)
    monkeypatch.setattr(ios, "_core_ml", lambda _path, _spec: Off(claim, error))
    examination = examined(tmp_path, claim)
    assert examination.by == "Core ML"
    assert examination.gates[-1].name == "Core ML"
    assert examination.gates[-1].passed is passed
    assert all(gate.passed for gate in examination.gates[:-1])


# --- what verify catches ---------------------------------------------------------------------


def write_build(folder: Path, precision: Precision) -> Manifest:
    """A build directory of one Core ML package, as `build` leaves it."""
    pair = graphs.make_graphs(resolution=64, padding=PaddingStyle.SAME)
    held = dict(zip((FP32, INT8), pair, strict=True))
    folder.mkdir()
    path = folder / f"model-{precision}.mlpackage"
    ios.emit(held[precision.graph], precision, ExportOptions(), path)
    for key, graph in held.items():
        save_graph(graph, folder / f"model-{key}.graph")
    rng = np.random.default_rng(3)
    vectors = make_vectors(rng.integers(0, 256, (2, 64, 64, 3), dtype=np.uint8))
    write_vectors(folder / FOLDER, vectors, references(held, vector_images(vectors, held[FP32])))
    record = ArtifactRecord(
        target="ios",
        precision=precision,
        path=path.name,
        size_bytes=size(path),
        sha256=sha256(path),
        parity=Parity(outcome=Outcome.SAME, tolerance="EXACT"),
    )
    manifest = Manifest(
        spec=held[FP32].spec,
        source=Source(name="test", format="test", sha256=""),
        calibration=None,
        graphs=tuple(
            GraphRecord(precision=key, path=f"model-{key}.graph", sha256=sha256(folder / name))
            for key in held
            for name in [f"model-{key}.graph"]
        ),
        artifacts=(record,),
        golden_sha256=sha256(folder / FOLDER),
    )
    write_manifest(manifest, folder)
    return manifest


@pytest.fixture(scope="module", params=[INT8, pytest.param(FP16, marks=pytest.mark.slow)], ids=str)
def build(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mutations") / "build"
    write_build(folder, request.param)
    return folder


def package_of(folder: Path) -> Path:
    return next(folder.glob("*.mlpackage"))


def verdict(folder: Path) -> Parity:
    """What `verify` says once the manifest vouches for the bytes, as after a bug in the emitter."""
    manifest = read_manifest(folder)
    (record,) = manifest.artifacts
    path = folder / record.path
    vouched = dataclasses.replace(record, sha256=sha256(path), size_bytes=size(path))
    write_manifest(dataclasses.replace(manifest, artifacts=(vouched,)), folder)
    (finished,) = (e for e in verify(folder, all_targets()) if isinstance(e, Finished))
    return finished.manifest.artifacts[0].parity


def all_targets() -> dict[str, Target]:
    return {str(name): get(name) for name in TargetName}


def test_verify_passes_what_was_built(build: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(build, tmp_path / "build"))
    parity = verdict(folder)
    assert parity.outcome is Outcome.SAME, parity
    assert all(gate.passed for gate in parity.gates)


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_verify_catches(build: Path, tmp_path: Path, mutation: Callable[[Mutant], None]) -> None:
    """Though the manifest has the hash of what is on disk."""
    folder = Path(shutil.copytree(build, tmp_path / "build"))
    mutate(package_of(folder), mutation)
    parity = verdict(folder)
    assert parity.outcome is Outcome.DRIFTED
    assert parity.reason
    sys.stdout.write(f"{mutation.__name__}: {parity.reason}")  # the table: pytest -rP shows it


def test_the_readme_counts_them() -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    assert f"in {len(MUTATIONS)} ways" in readme
