"""What a person or a CI job sees: output, exit codes, files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import DemoBuild, invoke
from test_preprocess import picture

from exporter.errors import ALL_ERRORS
from exporter.manifest import read_manifest
from targets import TARGETS, TargetName

HELP_SECONDS = 3.0  # a generous bound for a loaded machine; benchmarks/ measures the real figure


def test_build_prints_the_proof(demo_build: DemoBuild) -> None:
    out = demo_build.result.stdout
    assert "model-int8.pte" in out
    assert "same, 0 LSB on" in out
    assert "float model" in out
    assert "int8: each target against each other" in out
    assert "not run" in out or sys.platform == "darwin"


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


@pytest.mark.parametrize("name", [n for n in TargetName if n is not TargetName.IOS])
def test_predict_with_every_artifact_that_runs(demo_build: DemoBuild, tmp_path, name) -> None:
    """A picture of the test split is classified, from any format, with the same answer."""
    from PIL import Image

    from exporter import demo

    pixels, labels = demo.test_images()
    manifest = read_manifest(demo_build.folder)
    for index in range(3):
        Image.fromarray(pixels[index]).save(tmp_path / f"{index}.png")
    images = [tmp_path / f"{i}.png" for i in range(3)]
    path = demo_build.folder / f"model-int8{TARGETS[name].suffix}"
    result = invoke("predict", path, *images, "--json", "--top", "3")
    assert result.exit_code == 0, result.output
    predictions = json.loads(result.stdout)
    assert len(predictions) == 3
    for prediction in predictions:
        assert len(prediction["classes"]) == 3
        assert prediction["classes"][0][0] in manifest.spec.labels
    assert len(labels) == len(pixels)
    shown = invoke("predict", path, images[0])
    assert predictions[0]["classes"][0][0] in shown.stdout


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


def test_a_target_that_fails_leaves_the_others_and_exits_with_target(tmp_path: Path) -> None:
    """int8 needs iOS 17; the ONNX artifact is built all the same."""
    out = tmp_path / "b"
    options = ["-t", "ios", "-t", "onnx", "--deployment-target", "iOS16"]
    result = invoke("build", "--out", out, *options)
    assert result.exit_code == 7
    assert "iOS" in result.stderr
    assert (out / "model-int8.onnx").is_file()
    assert [f.target for f in read_manifest(out).failures] == ["ios"]


BAD_INPUT = {
    "missing checkpoint": (["build", "nowhere.pth"], 3, "nowhere.pth"),
    "not a checkpoint": (["build", "{text}"], 3, "notes.pth"),
    "missing photos": (["build", "-c", "nowhere"], 4, "nowhere"),
    "folder without photos": (["build", "-c", "{empty}"], 4, "no images found"),
    "empty labels": (["build", "--labels", "{blank}"], 4, "no labels"),
    "wrong number of labels": (["build", "--labels", "{two}"], 5, "2 labels"),
    "bad contract": (["build", "--preprocess", "{text}"], 4, "not a preprocessing contract"),
    "unknown contract": (["build", "--preprocess", "imagenet"], 4, "neither"),
    "zero batch": (["build", "--batch", "0"], 5, "--batch 0"),
    "unknown target": (["build", "-t", "windows"], 2, "windows"),
    "int8 without photos": (["build", "{own}"], 4, "calibration images"),
    "fp16 for android": (["build", "-t", "android", "-p", "fp16"], 5, "android has no fp16"),
    "no build": (["verify", "{empty}"], 9, "no manifest.json"),
    "unknown suffix": (["inspect", "{text}"], 9, "known suffixes"),
    "missing artifact": (["predict", "nothing.onnx", "cat.jpg"], 9, "no such file"),
    "tiny resolution": (["describe", "--resolution", "16"], 5, "16 px"),
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
    }
    files["text"].write_text("these are notes")
    files["empty"].mkdir()
    files["blank"].write_text("\n\n")
    files["two"].write_text("cat\ndog\n")
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
        started = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "exporter", "--help"], capture_output=True, check=True
        )
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < HELP_SECONDS


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
