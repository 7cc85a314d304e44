"""Core ML's own tools on Apple devices, up to where they begin: no Mac was there.

`tests/apple/fake_xcrun.py` stands in for Xcode's command-line tools, and `FakeProxy` below for
Core ML; everything between them is coremltools' real code, which only macOS runs otherwise.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import DemoBuild, invoke

from exporter.devices import apple, apple_devices
from exporter.devices.apple_arrays import arrays_only
from exporter.devices.apple_benchmark import Operation, inputs
from exporter.devices.apple_layers import layers
from exporter.devices.apple_sdk import coremltools
from exporter.devices.request import ProfileRequest
from exporter.errors import ArtifactError, DeviceError
from exporter.graph_file import load_graph
from exporter.latency.blocks import layers_in
from exporter.latency.records import (
    DeviceKind,
    DeviceProfile,
    Measured,
    Settings,
    ThermalStatus,
    read_profile,
    write_profile,
)

STAND_IN = Path(__file__).parent / "apple" / "fake_xcrun.py"
PACKAGE, FLOAT = "model-int8.mlpackage", "model-fp32.mlpackage"
ID = "7A3B2C1D-0E9F-4A5B-8C7D-6E5F4A3B2C1D"  # as CoreDevice makes them
UDID = "00008130-001A2B3C4D5E6F70"
FEW = Settings(iterations=3, warmup=1)


def listed(name: str, **changes: Any) -> dict[str, Any]:
    """A device as `devicectl list devices --json-output` has it, of the keys that are read."""
    state = changes.get("state", "connected")
    return {
        "identifier": ID,
        "deviceProperties": {
            "name": name,
            "osVersionNumber": "18.1",
            "osBuildUpdate": "22B83",
            "developerModeStatus": changes.get("developer", "enabled"),
        },
        "hardwareProperties": {"deviceType": "iPhone", "udid": UDID},
        "connectionProperties": {"tunnelState": state, "transportType": "wired"},
    }


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python says that this is a Mac; nothing else does."""
    coremltools()
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(platform, "mac_ver", lambda: ("15.1", ("", "", ""), "arm64"))


@pytest.fixture
def tools(mac: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stand-in on PATH as every tool of Xcode; the folder of what it answers."""
    from coremltools.models.ml_program.experimental import remote_device

    folder = tmp_path / "stand_in"
    (folder / "bin").mkdir(parents=True)
    # devicectl is where Xcode has it: not on PATH, but `xcrun --find` knows.
    for place in (tmp_path / "path" / "xcrun", tmp_path / "path" / "xcodebuild",
                  folder / "bin" / "devicectl"):  # fmt: skip
        place.parent.mkdir(exist_ok=True)
        place.write_text(f"#!{sys.executable} -SE\n{STAND_IN.read_text()}")
        place.chmod(0o755)
    (folder / "devices.json").write_text(json.dumps([listed("Ada's iPhone")]))
    monkeypatch.setenv("APPLE_STAND_IN", str(folder))
    monkeypatch.setenv("PATH", f"{tmp_path / 'path'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(remote_device._DeviceCtl, "_validation_done", False)
    return folder


def called(tools: Path) -> list[str]:
    return (tools / "calls.log").read_text().splitlines()


def profile(build: Path, device: str = "", **options: Any) -> DeviceProfile:
    request = ProfileRequest(build=build, settings=FEW, **options)
    return apple.profile(request, device, lambda _: None)


def test_elsewhere_nothing_is_run(demo_build: DemoBuild) -> None:
    if platform.system() == "Darwin":
        pytest.fail("these tests are of machines that are no Mac")
    result = invoke("profile", demo_build.folder, "--device", "apple")
    assert result.exit_code == 12
    assert "error: not run: needs macOS" in result.stderr
    assert not (demo_build.folder / "profiles").exists()


class FakeProxy:
    """Stands in for Core ML under coremltools: 3 ms to load, and 1, 2, 3, ... ms to predict."""

    def __init__(self, path: str, *_: object) -> None:
        self.path, self.predicted = path, 0

    @staticmethod
    def maximum_supported_specification_version() -> int:
        return 10

    def predict(self, given: dict[str, Any], state: None) -> dict[str, Any]:
        (picture,) = given.values()
        assert picture.size == (96, 96)
        self.predicted += 1
        return {"logits": np.zeros((1, 24), np.float32)}

    def get_load_duration_in_nano_seconds(self) -> int:
        return 3_000_000

    def get_last_predict_duration_in_nano_seconds(self) -> int:
        return self.predicted * 1_000_000

    def get_compiled_model_path(self) -> str:
        return self.path


class MLNeuralEngineComputeDevice:
    """Named as coremltools' own, of which only macOS can make one."""


def fake_plan(path: str, units: str) -> Any:
    """Every convolution and clamp costs the same, on the Neural Engine; nothing else does."""
    from coremltools.models import compute_plan as plans

    assert units == "ALL"
    spec = coremltools().utils.load_spec(path)
    main = spec.mlProgram.functions["main"]
    operations = [
        plans.MLModelStructureProgramOperation(
            inputs={},
            operator_name=op.type,
            outputs=[plans.MLModelStructureProgramNamedValueType(o.name, None) for o in op.outputs],
            blocks=[],
            __proxy__=None,
        )
        for op in main.block_specializations[main.opset].operations
    ]
    block = plans.MLModelStructureProgramBlock([], operations, [])
    program = plans.MLModelStructureProgram(
        {"main": plans.MLModelStructureProgramFunction([], block)}
    )
    costly = [op for op in operations if op.operator_name in ("conv", "relu6")]

    class Plan:
        model_structure = plans.MLModelStructure(None, program, None)

        def get_estimated_cost_for_mlprogram_operation(self, op: Any) -> Any:
            found = any(op is one for one in costly)
            return plans.MLComputePlanCost(1.0 / len(costly)) if found else None

        def get_compute_device_usage_for_mlprogram_operation(self, op: Any) -> Any:
            return plans.MLComputePlanDeviceUsage(MLNeuralEngineComputeDevice(), [])

    return Plan()


@pytest.fixture
def core_ml(mac: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from coremltools.models import compute_plan, model

    class Plans(FakeProxy):
        get_compute_plan = staticmethod(fake_plan)

    monkeypatch.setattr(model, "_MLModelProxy", FakeProxy)
    monkeypatch.setattr(compute_plan, "_MLModelProxy", Plans)


def test_this_mac(demo_build: DemoBuild, core_ml: None, tmp_path: Path) -> None:
    """Load, first inference, warm-up and samples are told apart; the plan's shares are layers."""
    found = profile(demo_build.folder, artifacts=(PACKAGE,))
    assert found.device.kind is DeviceKind.APPLE
    assert found.device.facts["os"] == "macOS 15.1"
    (row,) = found.artifacts
    assert row.outcome is Measured.MEASURED, row.reason
    assert row.latency is not None
    assert (row.latency.load_ms, row.latency.first_ms) == (3.0, 1.0)
    assert row.latency.samples_ms == (3.0, 4.0, 5.0)  # after the first and one to warm up
    assert not row.latency.stable  # of three samples nobody knows
    by_name = {layer.name: layer for layer in row.layers}
    assert len(by_name) == 52
    assert by_name["features.1.conv.0"].kind == "depthwise 3x3"
    clamped, plain = by_name["features.1.conv.0"], by_name["features.1.conv.1"]
    assert clamped.ms == pytest.approx(2 * plain.ms)  # a convolution with its clamp, and one alone
    assert clamped.operations == ("conv on the Neural Engine", "relu6 on the Neural Engine")
    assert sum(layer.share for layer in row.layers) == pytest.approx(1.0)
    assert sum(layer.ms for layer in row.layers) == pytest.approx(row.latency.p50_ms)
    assert row.notes == ("operations by Core ML's plan: 87 on the Neural Engine",)
    write_profile(found, tmp_path / "apple.json")
    assert read_profile(tmp_path / "apple.json") == found


def test_what_is_no_package_is_not_run(demo_build: DemoBuild, core_ml: None) -> None:
    found = profile(demo_build.folder, artifacts=("model-int8.pte", PACKAGE))
    assert [row.outcome for row in found.artifacts] == [Measured.NOT_RUN, Measured.MEASURED]
    with pytest.raises(ArtifactError, match=r"no .mlpackage among"):
        profile(demo_build.folder, artifacts=("model-int8.pte",))
    with pytest.raises(ArtifactError, match=r"no artifact 'model\.mlpackage'"):
        profile(demo_build.folder, artifacts=("model.mlpackage",))


def test_a_package_that_core_ml_refuses_is_a_row(
    demo_build: DemoBuild, core_ml: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: FakeProxy, *_: object) -> None:
        raise RuntimeError("Error reading protobuf spec.\nmore")

    monkeypatch.setattr(FakeProxy, "__init__", refused)
    with pytest.warns(RuntimeWarning, match="not be able to run predict"):
        found = profile(demo_build.folder, artifacts=(PACKAGE,))
    assert found.artifacts[0].outcome is Measured.FAILED
    assert found.artifacts[0].reason == "Failed to load model"


def test_a_package_that_was_changed_is_not_measured(
    demo_build: DemoBuild, core_ml: None, tmp_path: Path
) -> None:
    build = Path(shutil.copytree(demo_build.folder, tmp_path / "build"))
    (build / PACKAGE / "extra").write_text("x")
    first, second = profile(build, artifacts=(PACKAGE, FLOAT)).artifacts
    assert (first.outcome, second.outcome) == (Measured.FAILED, Measured.MEASURED)
    assert "not the bytes that were built" in first.reason


def test_latencies_do_not_need_a_plan(
    demo_build: DemoBuild, core_ml: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plans came with macOS 14.4."""
    from coremltools.models import compute_plan

    monkeypatch.setattr(compute_plan, "_MLModelProxy", None)
    (row,) = profile(demo_build.folder, artifacts=(PACKAGE,)).artifacts
    assert row.outcome is Measured.MEASURED
    assert row.layers == ()
    assert row.notes == ("no times of layers: MLComputePlan is not supported.",)


@pytest.fixture
def iphone(tools: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Xcode's build and Core ML's compiler are skipped: both are macOS's own."""
    from coremltools.models.ml_program.experimental import async_wrapper, remote_device

    def compiled(model: str, destination_path: str) -> None:
        assert Path(model).is_dir()
        Path(destination_path).mkdir()

    def built(device: Any, build_directory: Path, **_: Any) -> Path:
        return build_directory / "ModelRunner.app"

    monkeypatch.setattr(remote_device._ModelRunnerAppBuilder, "build", staticmethod(built))
    monkeypatch.setattr(async_wrapper, "compile_model", compiled)
    return tools


def test_an_iphone(demo_build: DemoBuild, iphone: Path) -> None:
    """Listed, app installed, package sent, predictions asked for, app removed."""
    path = os.environ["PATH"]
    found = profile(demo_build.folder, "Ada's iPhone", artifacts=(PACKAGE,))
    assert os.environ["PATH"] == path
    assert (found.device.name, found.device.serial) == ("Ada's iPhone", ID)
    assert found.device.facts["os"] == "18.1 (22B83)"
    (row,) = found.artifacts
    assert row.outcome is Measured.MEASURED, row.reason
    assert row.latency is not None
    assert row.latency.load_ms == 12.5
    assert row.latency.samples_ms == (2.0, 2.0, 2.0)
    assert row.notes[0].startswith("no times of layers: ")  # the plan's reader is macOS's
    assert "without image decoding and labels" in " ".join(found.notes)
    log = called(iphone)
    assert log[0].startswith("devicectl list devices")
    assert log[-1] == f"devicectl device uninstall app --device {ID} {apple.APP}"


def test_an_app_that_is_there_after_all_is_removed(
    demo_build: DemoBuild, iphone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while Xcode builds: the thread that waits for it goes on to install the app."""
    from coremltools.models.ml_program.experimental import remote_device

    def built(device: Any, build_directory: Path, **_: Any) -> Path:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.2)
        return build_directory / "ModelRunner.app"

    monkeypatch.setattr(remote_device._ModelRunnerAppBuilder, "build", staticmethod(built))
    with pytest.raises(KeyboardInterrupt):
        profile(demo_build.folder, "Ada's iPhone", artifacts=(PACKAGE,))
    log = called(iphone)
    assert any("device install app" in line for line in log)
    assert log[-1] == f"devicectl device uninstall app --device {ID} {apple.APP}"


def test_xcodes_app_builder_is_asked_where_it_is_missing(
    demo_build: DemoBuild, tools: Path
) -> None:
    """coremltools ships its app's project in its macOS wheel only."""
    with pytest.raises(DeviceError, match="app cannot be put on it: Model runner") as caught:
        profile(demo_build.folder, "Ada's iPhone")
    assert "MNV2_APPLE_TEAM" in caught.value.hint


NOT_THERE = {
    "no device": ([], "Ada's iPhone", "no Apple device is called .* lists none"),
    "another name": ([listed("Bob")], "Ada", r"called 'Ada'; devicectl lists 'Bob' \(connected\)"),
    "not connected": ([listed("P", state="unavailable")], "P", "P: unavailable, not connected"),
    "no tunnel yet": ([listed("P", state="disconnected")], "P", "P: disconnected"),
    "no Developer Mode": ([listed("P", developer="disabled")], "P", "Developer Mode is disabled"),
    "one name twice": ([listed("P"), listed("P") | {"identifier": "ID-2"}], "P", "2 Apple devices"),
}


@pytest.mark.parametrize("case", NOT_THERE)
def test_a_device_that_cannot_be_used(demo_build: DemoBuild, tools: Path, case: str) -> None:
    devices, name, message = NOT_THERE[case]
    (tools / "devices.json").write_text(json.dumps(devices))
    with pytest.raises(DeviceError, match=message) as caught:
        profile(demo_build.folder, name)
    assert caught.value.hint
    assert not any("install" in line for line in called(tools))


@pytest.mark.parametrize("name", [ID, UDID])
def test_a_device_is_found_by_its_identifiers(tools: Path, name: str) -> None:
    with apple_devices.devicectl_on_path():
        assert apple_devices.find(name).name == "Ada's iPhone"


def test_without_xcode(demo_build: DemoBuild, mac: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(DeviceError, match="xcrun finds no devicectl") as caught:
        profile(demo_build.folder, "Ada's iPhone")
    assert "xcode-select" in caught.value.hint


def test_devicectl_that_answers_nonsense(demo_build: DemoBuild, tools: Path) -> None:
    (tools / "gone").touch()
    with pytest.raises(DeviceError, match="lists no devices: ERROR: The device is not connected"):
        profile(demo_build.folder, "Ada's iPhone")


def test_a_device_that_goes_away(
    demo_build: DemoBuild, iphone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The app on it ends with it, which is told instead of a row for each artifact."""
    asked: list[Path] = []

    async def interrupted(package: Path, settings: Settings, device: Any) -> None:
        asked.append(package)
        (iphone / "gone").touch()
        device.session.stop()
        device.session._process.wait()
        raise RuntimeError("the tunnel is down")

    monkeypatch.setattr(apple, "benchmark", interrupted)
    with pytest.raises(DeviceError, match="app stopped, or the device went away"):
        profile(demo_build.folder, "Ada's iPhone", artifacts=(PACKAGE, FLOAT))
    assert len(asked) == 1
    assert "uninstall" in called(iphone)[-1]  # asked for, in case that it is back


THERMAL = {
    "Note: No thermal warning level has been recorded\n": ThermalStatus.NONE,
    "CPU_Scheduler_Limit \t= 100\nCPU_Available_CPUs = 8\nCPU_Speed_Limit = 100\n": (
        ThermalStatus.NONE
    ),
    "CPU_Speed_Limit = 99\n": ThermalStatus.LIGHT,
    "CPU_Speed_Limit = 80\n": ThermalStatus.MODERATE,
    "CPU_Speed_Limit = 42\n": ThermalStatus.SEVERE,
    "": ThermalStatus.UNKNOWN,
}


@pytest.mark.parametrize("text", THERMAL)
def test_how_hot_a_mac_is(text: str) -> None:
    assert apple_devices.parse_thermal(text).status is THERMAL[text]


@pytest.mark.parametrize("name", [PACKAGE, FLOAT])
def test_the_package_for_a_device_computes_the_same(
    demo_build: DemoBuild, tmp_path: Path, name: str
) -> None:
    """By the reference evaluator: pixels as an array, logits bit for bit, no label."""
    from targets.mil.package import read_package
    from targets.mil.program import Program

    source = demo_build.folder / name
    model = coremltools().models.MLModel(str(source), skip_model_load=True)
    spec = arrays_only(model.get_spec())
    twin = coremltools().models.MLModel(spec, weights_dir=model.weights_dir, skip_model_load=True)
    twin.save(str(tmp_path / "twin.mlpackage"))
    picture = inputs(model.get_spec().description)["image"]
    pixels = np.asarray(picture)
    whole = Program(read_package(source))(image=pixels)
    arrays = pixels.transpose(2, 0, 1)[None].astype(np.float32)
    alone = Program(read_package(tmp_path / "twin.mlpackage"))(image=arrays)
    assert set(whole) == {"logits", "classLabel", "classLabel_probs"}
    assert set(alone) == {"logits"}
    assert np.array_equal(whole["logits"], alone["logits"])
    given = inputs(twin.get_spec().description)["image"]
    assert (given.shape, given.dtype) == (arrays.shape, np.float32)


@pytest.mark.parametrize("name", ["int8", "fp32"])
def test_every_operation_of_a_program_belongs_to_a_layer(demo_build: DemoBuild, name: str) -> None:
    """By name; what is left over is the picture's normalization and the label's."""
    spec = coremltools().utils.load_spec(str(demo_build.folder / f"model-{name}.mlpackage"))
    main = spec.mlProgram.functions["main"]
    kinds = [
        (op.outputs[0].name, op.type)
        for op in main.block_specializations[main.opset].operations
        if op.type != "const" and not op.type.startswith("constexpr")
    ]
    operations = [Operation(output=o, kind=k, share=1 / len(kinds), unit="") for o, k in kinds]
    graph = load_graph(demo_build.folder / f"model-{name}.graph")
    rows = {row.name: row for row in layers(operations, 1.0, graph)}
    computed = {op.output for op in layers_in(graph)}
    assert set(rows) - {"convert", "other"} == computed
    assert set(rows["other"].operations) <= {"mul", "add", "softmax", "classify"}
