"""`mnv2-export profile`: what a person and a script see of it, and what it leaves on disk."""

from __future__ import annotations

import dataclasses
import errno
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import invoke
from graphs import make_graphs
from rich.console import Console

from exporter.devices.result import objection, place_of
from exporter.errors import ArtifactError
from exporter.files import sha256, size
from exporter.graph_file import save_graph
from exporter.latency.layers import beside_median
from exporter.latency.records import (
    ArtifactProfile,
    Device,
    DeviceKind,
    DeviceProfile,
    Latency,
    LayerTime,
    Measured,
    Median,
    Settings,
    Thermal,
    ThermalStatus,
    read_profile,
    write_profile,
)
from exporter.latency.statistics import summarize
from exporter.manifest import ArtifactRecord, GraphRecord, Manifest, Source, write_manifest
from exporter.spec import PaddingStyle, Precision
from exporter.target import ExportOptions
from exporter.ui.profile import print_profile, telling
from exporter.vectors import FOLDER, make_vectors, write_vectors
from exporter.verdicts import Outcome, Parity
from targets import TargetName, get

QUICK = ("--iterations", "20", "--warmup", "1")


@pytest.fixture(scope="module")
def build(tmp_path_factory) -> Path:
    """Two artifacts of a random model that the runtimes here take, a package that they do not."""
    folder = tmp_path_factory.mktemp("profile") / "build"
    graphs = dict(
        zip((Precision.FP32, Precision.INT8), make_graphs(padding=PaddingStyle.SAME), strict=True)
    )
    records, kept = [], []
    for precision, graph in graphs.items():
        path = folder / f"model-{precision}.graph"
        save_graph(graph, path)
        kept.append(GraphRecord(precision=precision, path=path.name, sha256=sha256(path)))
    for name in (TargetName.ANDROID, TargetName.ONNX, TargetName.IOS):
        path = folder / f"model-int8{get(name).info.suffix}"
        if name is TargetName.IOS:
            path.mkdir()
            (path / "Manifest.json").write_text("{}")
        else:
            get(name).backend.emit(graphs[Precision.INT8], Precision.INT8, ExportOptions(), path)
        records.append(
            ArtifactRecord(
                target=str(name),
                precision=Precision.INT8,
                path=path.name,
                size_bytes=size(path),
                sha256=sha256(path),
                parity=Parity(outcome=Outcome.SAME, tolerance="EXACT"),
            )
        )
    spec = graphs[Precision.FP32].spec
    side = spec.resolution
    vectors = make_vectors(np.zeros((1, side, side, 3), np.uint8))
    logits = np.zeros((5, spec.classes), np.float32)
    write_vectors(folder / FOLDER, vectors, {"fp32": {"logits": logits}})
    manifest = Manifest(
        spec=spec,
        source=Source(name="random", format="none", sha256=""),
        calibration=None,
        graphs=tuple(kept),
        artifacts=tuple(records),
    )
    write_manifest(manifest, folder)
    return folder


def test_every_artifact_is_measured_or_told(build: Path) -> None:
    result = invoke("profile", build, *QUICK, "--json")
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    saved = read_profile(build / "profiles" / "host.json")
    assert [a["artifact"] for a in printed["artifacts"]] == [a.artifact for a in saved.artifacts]
    found = {a.artifact: a for a in saved.artifacts}
    assert list(found) == [
        "model-int8.pte", "model-int8.onnx", "model-int8.mlpackage", "torch eager"
    ]  # fmt: skip
    package = found.pop("model-int8.mlpackage")
    assert package.outcome is Measured.NOT_RUN
    assert "macOS" in package.reason
    for name, artifact in found.items():
        assert artifact.outcome is Measured.MEASURED, (name, artifact.reason)
        assert artifact.latency is not None
        assert len(artifact.latency.samples_ms) == 20
        assert artifact.latency.load_ms > 0 < artifact.latency.first_ms
        assert sum(layer.share for layer in artifact.layers) == pytest.approx(1.0), name
        blocks = {layer.block for layer in artifact.layers}
        assert {"stem", "block 1", "block 17", "head"} <= blocks, name
    assert found["model-int8.pte"].undelegated == 0
    assert found["model-int8.onnx"].undelegated is None
    assert found["torch eager"].precision is Precision.FP32
    assert saved.settings == Settings(iterations=20, warmup=1)
    assert saved.device.kind is DeviceKind.HOST
    assert saved.versions["python"] == sys.version.split()[0]


def test_a_foreign_file_fails_and_the_others_are_saved(build: Path, tmp_path: Path) -> None:
    path, out = build / "model-int8.pte", tmp_path / "deep" / "out.json"
    data = path.read_bytes()
    try:
        path.write_bytes(data + b"\0")
        names = ("-a", path.name, "-a", "model-int8.onnx")
        result = invoke("profile", build, *QUICK, *names, "--no-layers", "--out", out)
    finally:
        path.write_bytes(data)
    assert result.exit_code == 9
    assert "not measured: model-int8.pte: not the bytes that were built" in result.stderr
    assert "failed model-int8.pte" in result.stdout
    foreign, measured = read_profile(out).artifacts
    assert foreign.outcome is Measured.FAILED
    assert measured.outcome is Measured.MEASURED
    assert not measured.layers


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--device", "moon"], 5, "there is no such device"),
        (["--device", "host:1"], 5, "there is no such device"),
        (["--runner", "x"], 5, "--runner is for --device adb"),
        (["-a", "b.pte"], 9, "holds no artifact b.pte"),
        (["-a", "model-int8.mlpackage"], 5, "nothing in it runs on this machine"),
        (["--out", "."], 9, "is a directory"),
        (["--threads", "0"], 2, "threads"),
        (["--iterations", "0"], 2, "iterations"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(build, arguments, code, said) -> None:
    kept = build / "profiles"
    before = {path: path.read_bytes() for path in kept.glob("*")}
    result = invoke("profile", build, *arguments)
    assert result.exit_code == code
    assert said in " ".join(result.stderr.split())
    assert "Traceback" not in result.output
    assert {path: path.read_bytes() for path in kept.glob("*")} == before


def test_a_place_that_cannot_be_written_is_told_before_anything_is_measured(build) -> None:
    for out in (Path("/proc/profile.json"), Path("/dev/null/profile.json")):
        result = invoke("profile", build, *QUICK, "--out", out)
        assert result.exit_code == 9
        assert str(out.parent) in result.stderr
        assert "Traceback" not in result.output
        assert "round" not in result.stderr


def test_a_disk_that_fills_up_while_measuring_is_told(tmp_path: Path, monkeypatch) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("exporter.latency.records.write_atomic", full)
    with pytest.raises(ArtifactError, match=r"host\.json: cannot be written \(No space left"):
        write_profile(profiles(), tmp_path / "host.json")


def test_a_profiler_that_slowed_the_runtime_down_is_told() -> None:
    found = profiles()
    traced = [a for a in found.artifacts if a.layers and a.latency is not None]
    assert any(beside_median(a.layers, a.latency.p50_ms) for a in traced)
    layers = traced[0].layers
    total = sum(layer.ms for layer in layers)
    assert beside_median(layers, total / 1.2) == beside_median(layers, total * 1.2) == ""
    assert "2.0 times the median" in beside_median(layers, total / 2)
    stream = io.StringIO()
    print_profile(Console(file=stream, width=140), found, Path("x.json"))
    assert "they rank layers" in stream.getvalue()


def test_a_folder_that_is_no_build_is_told(tmp_path: Path) -> None:
    result = invoke("profile", tmp_path, "--json")
    assert result.exit_code == 9
    assert json.loads(result.stdout)["exit_code"] == 9


def test_the_workers_command_is_not_for_people() -> None:
    assert invoke("host-worker", "--help").exit_code == 0
    assert "host-worker" not in invoke("--help").stdout


def profiles() -> DeviceProfile:
    def artifact(name: str, ms: float, outcome=Measured.MEASURED, **more) -> ArtifactProfile:
        samples = [ms] * 30
        measured = outcome is Measured.MEASURED
        return ArtifactProfile(
            artifact=name,
            target="android",
            precision=Precision.INT8,
            sha256="0",
            size_bytes=1,
            outcome=outcome,
            latency=summarize(samples, load_ms=1.0, first_ms=2.0) if measured else None,
            peak_rss_bytes=64_000_000 if measured else None,
            **more,
        )

    layers = tuple(
        LayerTime(
            name=f"features.{i}", block=f"block {i}", kind="conv 1x1", ms=i / 10, share=i / 28,
            multiply_adds=1000, gmacs_per_s=1.0 / i,
        )
        for i in range(1, 8)
    )  # fmt: skip
    return DeviceProfile(
        device=Device(kind=DeviceKind.ADB, name="Pixel [8]", serial="a:5555"),
        settings=Settings(),
        thermal_before=Thermal(status=ThermalStatus.NONE),
        thermal_after=Thermal(status=ThermalStatus.LIGHT),
        artifacts=(
            artifact("slow.pte", 150.0, layers=layers[:2], undelegated=1),
            artifact("fast.pte", 0.5, layers=layers, same_results=True, comparison="0 LSB"),
            artifact("other.pte", 3.0, same_results=False),
            artifact("a.mlpackage", 1.0, Measured.NOT_RUN, reason="needs macOS"),
            artifact("b.mlpackage", 1.0, Measured.NOT_RUN, reason="needs macOS"),
            artifact("bad.onnx", 1.0, Measured.FAILED, reason="died of [cheese]"),
        ),
        notes=("a note",),
    )


@pytest.mark.parametrize("width", [80, 140])
def test_tables_fit_and_name_the_slowest_layers(width: int) -> None:
    stream = io.StringIO()
    print_profile(Console(file=stream, width=width), profiles(), Path("x.json"))
    text = stream.getvalue()
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    assert "Pixel [8]" in text
    assert "thermal status none before, light after" in " ".join(text.split())
    order = [text.index(name) for name in ("fast.pte", "other.pte", "slow.pte")]
    assert order == sorted(order), "fastest first"
    named = [line for line in lines if "conv 1x1" in line]
    assert [line.split("features.")[1][0] for line in named] == list("765432")
    assert ("wider terminals" in text) == (width == 80)
    assert "not run a.mlpackage, b.mlpackage: needs macOS" in text
    assert "failed bad.onnx: died of [cheese]" in text
    assert "fast.pte: same results as on this machine (0 LSB)" in text
    assert "other.pte: other results" in text
    assert "slow.pte: 1 operation outside the delegate" in text


def test_what_did_not_run_is_never_green() -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=140, force_terminal=True, color_system="standard")
    print_profile(console, profiles(), Path("x.json"))
    (line,) = (line for line in stream.getvalue().splitlines() if "needs macOS" in line)
    assert "\x1b[33mnot run" in line
    assert "\x1b[32m" not in line


def test_rounds_are_no_lines_of_a_log() -> None:
    stream = io.StringIO()
    with telling(stream, quiet=False) as tell:
        for line in ("loading [x]", "round 1 of 25", "round 2 of 25"):
            tell(line)
    assert stream.getvalue().splitlines() == ["loading [x]", "round 1 of 25"]
    with telling(stream, quiet=True) as tell:
        tell("loading y")
    assert "loading y" not in stream.getvalue()


def test_devices_have_files_of_their_own() -> None:
    found = profiles()
    assert place_of(found, Path("b")) == Path("b/profiles/adb-a-5555.json")
    problem = objection(found)
    assert problem is not None
    assert "bad.onnx" in problem.message
    assert "mlpackage" not in problem.message


def test_the_document_names_every_field() -> None:
    text = (Path(__file__).parents[1] / "docs" / "profile.md").read_text()
    records = (
        DeviceProfile, Device, Settings, Thermal, ArtifactProfile, Latency, Median, LayerTime
    )  # fmt: skip
    for record in records:
        for field in dataclasses.fields(record):
            assert f"`{field.name}`" in text, (record.__name__, field.name)
