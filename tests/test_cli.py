"""What a person or a CI job sees: output, exit codes, files."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import DemoBuild, invoke
from test_preprocess import picture

from exporter.errors import ALL_ERRORS
from exporter.manifest import read_manifest
from exporter.spec import torchvision_preprocess
from targets import TARGETS, TargetName

HELP_CPU_SECONDS = 1.0  # a process that loads torch needs more; benchmarks/ has the real limit


def test_build_prints_the_proof(demo_build: DemoBuild) -> None:
    out = demo_build.result.stdout
    assert "model-int8.pte" in out
    assert "same, 0 LSB on" in out
    assert "float model" in out
    assert "int8: each target against each other" in out
    assert "same (program and weights, reference evaluator)" in out or sys.platform == "darwin"


def test_build_shows_plain_progress_off_a_terminal(demo_build: DemoBuild) -> None:
    lines = demo_build.result.stderr.splitlines()
    assert any(line.startswith("quantize: ") and "dB SQNR" in line for line in lines)
    assert "\x1b[" not in demo_build.result.output


def test_build_leaves_no_noise(demo_build: DemoBuild) -> None:
    """Every line on standard error is one of ours."""
    for noise in ("Warning", "torchao", "cpuinfo", "scikit-learn", "Traceback", "INFO:"):
        assert noise not in demo_build.result.output


def test_verify_says_the_same_again(demo_build: DemoBuild) -> None:
    result = invoke("verify", demo_build.folder)
    assert result.exit_code == 0, result.output
    assert "same, 0 LSB" in result.stdout


def test_verify_of_a_changed_artifact_exits_with_parity(demo_build: DemoBuild, tmp_path) -> None:
    import shutil

    folder = Path(shutil.copytree(demo_build.folder, tmp_path / "build"))
    path = folder / "model-int8.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)
    result = invoke("verify", folder)
    assert result.exit_code == 8
    assert "model-int8.onnx" in result.stderr
    assert "error: parity failed" in result.stderr


@pytest.mark.parametrize("name", list(TargetName))
def test_inspect_every_artifact(demo_build: DemoBuild, name: TargetName) -> None:
    path = demo_build.folder / f"model-int8{TARGETS[name].suffix}"
    result = invoke("inspect", path)
    assert result.exit_code == 0, result.output
    for expected in ("input", "delegation", "preprocessing", "labels", "multiply-adds", "parity"):
        assert expected in result.stdout
    document = json.loads(invoke("inspect", path, "--json").stdout)
    assert document["inspection"]["contents"]["size_bytes"] > 100_000
    assert document["inspection"]["spec"]["preprocess"]["crop_size"] == 96
    assert document["costs"]["multiply_adds"] == 11_934_128 - 1280 * (1000 - 24)


def test_every_artifact_that_runs_gives_the_same_answer(demo_build: DemoBuild, tmp_path) -> None:
    """Pictures of the unseen style through `predict`: equal tables, and mostly right."""
    from PIL import Image

    from exporter import demo

    pixels, labels = demo.unseen_images()
    images = [tmp_path / f"{index}.png" for index in range(12)]
    for image, picture_pixels in zip(images, pixels, strict=False):
        Image.fromarray(picture_pixels).save(image)
    answers = {}
    for record in read_manifest(demo_build.folder).artifacts:
        if record.precision == "int8" and record.parity.outcome == "same":
            result = invoke("predict", demo_build.folder / record.path, *images, "--json")
            assert result.exit_code == 0, result.output
            answers[record.path] = [p["classes"] for p in json.loads(result.stdout)]
    assert {"model-int8.pte", "model-int8.tflite", "model-int8.pt"} <= set(answers)
    # ONNX Runtime rounds by other rules; a Core ML program computes in fp16 between its integers.
    others = (".onnx", ".mlpackage")
    exact = [a for path, a in answers.items() if not path.endswith(others)]
    assert all(answer == exact[0] for answer in exact)
    for answer in answers.values():
        top1 = [classes[0][0] for classes in answer]
        right = sum(demo.LABELS[label] == name for label, name in zip(labels, top1, strict=False))
        assert right >= 8
    shown = invoke("predict", demo_build.folder / "model-int8.pte", images[0])
    assert exact[0][0][0][0] in shown.stdout


def test_targets_lists_every_row() -> None:
    result = invoke("targets", "--json")
    rows = json.loads(result.stdout)
    assert [row["info"]["name"] for row in rows] == [str(n) for n in TargetName]
    assert "ExecuTorch" in invoke("targets").stdout


def test_describe_counts() -> None:
    result = invoke("describe", "--width", "0.75", "--resolution", "160")
    assert "2,636,424" in result.stdout
    assert "107.295 M" in result.stdout
    counted = json.loads(
        invoke("describe", "--width", "0.75", "--resolution", "160", "--json").stdout
    )
    assert round(counted["multiply_adds"] / 1e6, 3) == 107.295


def test_json_is_one_document(tmp_path: Path) -> None:
    result = invoke("build", "--out", tmp_path / "b", "-t", "onnx", "--json")
    document = json.loads(result.stdout)
    assert document["manifest"]["artifacts"][0]["parity"]["outcome"] == "same"
    assert document["seconds"]["model-int8.onnx"]["emit"] > 0
    assert result.stderr == ""


def test_quiet_says_nothing(tmp_path: Path) -> None:
    result = invoke("build", "--out", tmp_path / "b", "-t", "onnx", "--quiet")
    assert (result.exit_code, result.output) == (0, "")


def test_a_target_that_is_not_installed_is_left_out_unless_named(tmp_path, monkeypatch) -> None:
    """Without the extra, the default build says so and goes on; naming the target is an error."""
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if "litert" in name else found(name, *a)
    )
    result = invoke("build", "--out", tmp_path / "b", "-p", "fp32", "-q")
    if "left out litert" not in result.stderr:
        pytest.fail(result.output)
    assert (tmp_path / "b" / "model-fp32.onnx").is_file()
    assert not (tmp_path / "b" / "model-fp32.tflite").exists()
    named = invoke("build", "--out", tmp_path / "c", "-t", "litert")
    assert named.exit_code == 6
    assert "litert" in named.stderr


BAD_INPUT = {
    "missing checkpoint": (["build", "nowhere.pth"], 3, "nowhere.pth"),
    "not a checkpoint": (["build", "{text}"], 3, "notes.pth"),
    "missing photos": (["build", "-c", "nowhere"], 4, "nowhere"),
    "folder without photos": (["build", "-c", "{empty}"], 4, "no images found"),
    "empty labels": (["build", "--labels", "{blank}"], 4, "no labels"),
    "wrong number of labels": (["build", "--labels", "{two}"], 5, "2 labels"),
    "bad contract": (["build", "--preprocess", "{text}"], 4, "not a preprocessing contract"),
    "unknown contract": (["build", "--preprocess", "imagenet"], 4, "neither"),
    "int8 below iOS 17": (
        ["build", "-t", "ios", "--deployment-target", "iOS16"],
        5,
        "iOS",
    ),
    "uint8 for a float model": (["build", "-t", "litert", "-p", "fp32", "--io", "uint8"], 5, "io"),
    "an option of another target": (["build", "-t", "onnx", "--softmax"], 5, "option of litert"),
    "contract with NaN": (["build", "--preprocess", "{nan}"], 5, "not finite"),
    "zero batch": (["build", "--batch", "0"], 5, "--batch 0"),
    "unknown target": (["build", "-t", "windows"], 2, "windows"),
    "int8 without photos": (["build", "{own}"], 4, "calibration images"),
    "fp16 for android": (["build", "-t", "android", "-p", "fp16"], 5, "android has no fp16"),
    "no build": (["verify", "{empty}"], 9, "no manifest.json"),
    "unknown suffix": (["inspect", "{text}"], 9, "known suffixes"),
    "missing artifact": (["predict", "nothing.onnx", "cat.jpg"], 9, "no such file"),
    "tiny resolution": (["describe", "--resolution", "16"], 5, "16 px"),
    "build of a tiny resolution": (["build", "--resolution", "16"], 5, "16 px is outside 32..2048"),
    "build of no resolution": (["build", "--resolution", "0"], 5, "0 px is outside 32..2048"),
    "build of a huge resolution": (["build", "--resolution", "4096"], 5, "outside 32..2048"),
    "zero width": (["describe", "--width", "0"], 5, "width"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_gets_one_clear_error(tmp_path: Path, case: str) -> None:
    """The documented exit code, a line that names the cause, no traceback, nothing written."""
    arguments, code, message = BAD_INPUT[case]
    folder = tmp_path / "inputs"
    folder.mkdir()
    files = {
        "text": folder / "notes.pth",
        "empty": folder / "empty",
        "blank": folder / "blank.txt",
        "two": folder / "two.txt",
        "own": folder / "own.safetensors",
        "nan": folder / "nan.json",
    }
    files["text"].write_text("these are notes")
    files["empty"].mkdir()
    files["blank"].write_text("\n\n")
    files["two"].write_text("cat\ndog\n")
    contract = torchvision_preprocess(96).to_json() | {"std": [float("nan"), 1.0, 1.0]}
    files["nan"].write_text(json.dumps(contract))
    if "{own}" in arguments:
        from exporter import demo

        files["own"].write_bytes(demo.CHECKPOINT.read_bytes())
    filled = [a.format(**files) for a in arguments]
    out = tmp_path / "out" / "build"
    if arguments[0] == "build":
        filled += ["--out", str(out)]
    result = invoke(*filled)
    assert result.exit_code == code, result.output
    flat = " ".join(result.stderr.split())
    assert message in flat.replace("│ ", "")
    assert "Traceback" not in result.output
    assert not out.exists()
    assert not out.parent.exists() or list(out.parent.iterdir()) == []


def test_predict_with_a_bad_image(demo_build: DemoBuild, tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(b"nope")
    result = invoke("predict", demo_build.folder / "model-int8.onnx", tmp_path / "x.jpg")
    assert result.exit_code == 4
    assert "x.jpg" in result.stderr


def test_predict_without_preprocessing_says_where_it_is(demo_build: DemoBuild, tmp_path) -> None:
    """A .pte alone, away from its manifest."""
    path = tmp_path / "model.pte"
    path.write_bytes((demo_build.folder / "model-int8.pte").read_bytes())
    picture(50, 50).save(tmp_path / "x.png")
    result = invoke("predict", path, tmp_path / "x.png")
    assert result.exit_code == 9
    assert "manifest.json" in result.stderr


COMMANDS = [
    "build",
    "verify",
    "inspect",
    "predict",
    "targets",
    "describe",
    "coreml-run",
    "evaluate",
    "train",
    "profile",
    "report",
    "compare",
    "sweep",
    "cache",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_takes_the_common_options(command: str) -> None:
    text = invoke(command, "--help").stdout
    for option in ("--json", "--verbose", "--help"):
        assert option in text


def test_drift_is_one_json_document(demo_build: DemoBuild, tmp_path: Path) -> None:
    import shutil

    folder = Path(shutil.copytree(demo_build.folder, tmp_path / "build"))
    with (folder / "model-fp32.onnx").open("ab") as file:
        file.write(b"\0")
    result = invoke("verify", folder, "--json")
    assert result.exit_code == 8
    document = json.loads(result.stdout)
    assert document["exit_code"] == 8
    assert document["manifest"]["artifacts"]


def test_a_failed_target_is_one_json_document(tmp_path: Path, monkeypatch) -> None:
    from targets import onnx

    def broken(*_: object) -> tuple[str, ...]:
        raise ZeroDivisionError("out of cheese")

    monkeypatch.setattr(onnx, "emit", broken)
    options = ["-t", "onnx", "-t", "android", "-p", "fp32", "--json"]
    result = invoke("build", "--out", tmp_path / "b", *options)
    assert result.exit_code == 7
    document = json.loads(result.stdout)
    assert document["exit_code"] == 7
    assert [a["target"] for a in document["manifest"]["artifacts"]] == ["android"]


def test_repeated_options_are_one_job(tmp_path: Path) -> None:
    options = ["-t", "onnx", "-t", "onnx", "-p", "fp32", "-p", "fp32"]
    assert invoke("build", "--out", tmp_path / "b", *options).exit_code == 0
    assert len(read_manifest(tmp_path / "b").artifacts) == 1


def test_the_demo_at_another_resolution(tmp_path: Path) -> None:
    options = ["--resolution", "64", "-t", "android", "-t", "onnx", "-p", "fp32"]
    result = invoke("build", "--out", tmp_path / "b", *options)
    assert result.exit_code == 0, result.output
    assert read_manifest(tmp_path / "b").spec.resolution == 64


def test_the_current_directory_is_not_replaced(tmp_path: Path, monkeypatch) -> None:
    inside = tmp_path / "deep"
    inside.mkdir()
    monkeypatch.chdir(inside)
    for out in (".", ".."):
        result = invoke("build", "--out", out, "-t", "onnx", "-p", "fp32")
        assert result.exit_code == 9
        assert "current directory" in result.stderr
    assert Path.cwd() == inside


def test_a_json_error_is_json(tmp_path: Path) -> None:
    result = invoke("build", "nowhere.pth", "--json", "--out", tmp_path / "b")
    assert json.loads(result.stdout)["exit_code"] == 3


def test_exit_codes_are_distinct_and_documented() -> None:
    codes = [error.exit_code for error in ALL_ERRORS]
    assert len(set(codes)) == len(codes)
    text = " ".join(invoke("--help").stdout.split())
    for error in ALL_ERRORS:
        assert f"{error.exit_code} {error.meaning}" in text


def test_help_loads_no_torch_and_is_quick() -> None:
    """In a fresh interpreter; the best of three, since the machine may be busy."""
    code = (
        "import sys, exporter.cli\n"
        "print([m for m in ('torch', 'numpy', 'PIL', 'coremltools') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command = [sys.executable, "-m", "exporter", "--help"]
        subprocess.run(command, capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < HELP_CPU_SECONDS


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_cancelled_build_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "exporter", "build", "--out", str(tmp_path / "b")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith(b"images"):  # the temporary folder exists by now
                break
        assert [p.name[:3] for p in tmp_path.iterdir()] == [".b."]
        process.send_signal(number)
        rest = process.stderr.read()
        process.wait(timeout=60)
    assert process.returncode == 128 + number
    assert b"Traceback" not in rest
    assert list(tmp_path.iterdir()) == []


def test_completion_is_offered() -> None:
    environment = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "exporter", "--show-completion", "bash"],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    assert "complete" in done.stdout


def test_a_bug_shows_what_libraries_said() -> None:
    """Swallowed output comes back with an error that is not ours."""
    code = (
        "import os, sys\n"
        "from exporter.quiet import quiet\n"
        "with quiet((KeyError,)):\n"
        "    os.write(2, b'native library: out of cheese\\n')\n"
        "    raise ZeroDivisionError('boom')\n"
    )
    unexpected, ours = code, code.replace("ZeroDivisionError('boom')", "KeyError('mine')")
    for script, shown in ((unexpected, True), (ours, False)):
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ("out of cheese" in done.stderr) is shown
        assert "Error" in done.stderr
