from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import invoke

from exporter.files import sha256
from exporter.manifest import read_manifest, write_manifest
from exporter.sample_constants import constants, source
from exporter.sample_kinds import SAMPLES, SampleKind

ROOT = Path(__file__).parents[1] / "app_samples"
KINDS = list(SampleKind)


@pytest.fixture
def build(demo_build, tmp_path: Path) -> Path:
    """A copy that a test may break."""
    return shutil.copytree(demo_build.folder, tmp_path / "build")


def edit_manifest(folder: Path, **changes: object) -> None:
    write_manifest(dataclasses.replace(read_manifest(folder), **changes), folder)


def with_options(folder: Path, **changes: object) -> None:
    edit_manifest(folder, options=read_manifest(folder).options | changes)


def with_artifact(folder: Path, name: str, **changes: object) -> None:
    artifacts = read_manifest(folder).artifacts
    edit_manifest(
        folder,
        artifacts=tuple(
            dataclasses.replace(a, **changes) if a.path == name else a for a in artifacts
        ),
    )


def refused(*arguments: object, code: int, match: str) -> None:
    result = invoke("sample", *arguments)
    assert result.exit_code == code, result.output
    assert re.search(match, result.stderr), result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize("kind", KINDS)
def test_an_app_has_its_model_and_constants_in_place(demo_build, tmp_path, kind) -> None:
    out, info = tmp_path / "app", SAMPLES[kind]
    result = invoke("sample", kind, "--from", demo_build.folder, "--out", out)
    assert result.exit_code == 0, result.output
    model, built = out / info.model, read_manifest(demo_build.folder)
    held = read_manifest(model)
    (record,) = held.artifacts
    assert (record.target, record.precision) == (info.target, "int8")
    assert sha256(model / record.path) == record.sha256
    assert sha256(model / "golden") == held.golden_sha256
    assert (held.spec, held.normalize) == (built.spec, built.normalize)
    assert (model / "labels.txt").read_text().splitlines() == list(built.spec.labels)
    assert sha256(model / "manifest.json") in (out / info.constants).read_text()
    names = {path.name for path in model.iterdir()}
    assert names == {record.path, "manifest.json", "labels.txt", "golden"}


@pytest.mark.parametrize("kind", KINDS)
def test_an_app_has_the_samples_sources_and_none_of_its_checks(demo_build, tmp_path, kind) -> None:
    out, info = tmp_path / "app", SAMPLES[kind]
    invoke("sample", kind, "--from", demo_build.folder, "--out", out)
    made = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    made = {p for p in made if not p.startswith(info.model) and p != info.constants}
    assert "README.md" in made
    assert len(made) > 5
    assert not {p for p in made if p.startswith("checks/") or p.endswith("check.sh")}
    for name in made:
        assert (out / name).read_bytes() == (ROOT / kind / name).read_bytes()


def test_an_app_is_asked_for_the_bits_of_its_own_runtime(demo_build, tmp_path) -> None:
    """A browser rounds the residual add otherwise than the desktop's ONNX Runtime."""
    expected = {"web": "int8-ort-wasm", "android": "int8-xnnpack", "cpp": "int8-xnnpack"}
    for kind, reference in (*expected.items(), ("ios", "fp32")):
        out = tmp_path / kind
        invoke("sample", kind, "--from", demo_build.folder, "--out", out)
        model = out / SAMPLES[SampleKind(kind)].model
        (record,) = read_manifest(model).artifacts
        assert record.self_test.reference == reference
        assert reference in json.loads((model / "golden" / "expected.json").read_text())["logits"]
    out = tmp_path / "float"
    invoke("sample", "web", "--from", demo_build.folder, "--out", out, "-p", "fp16")
    (record,) = read_manifest(out / SAMPLES[SampleKind.WEB].model).artifacts
    assert record.self_test.reference == "fp32"


@pytest.mark.parametrize("precision", ["int8", "fp16", "fp32"])
def test_a_precision_can_be_chosen(demo_build, tmp_path, precision) -> None:
    arguments = ("--from", demo_build.folder, "--out", tmp_path / "app", "-p", precision, "--json")
    result = invoke("sample", "ios", *arguments)
    assert json.loads(result.stdout)["artifact"] == f"model-{precision}.mlpackage"


def test_the_constants_are_the_manifests(demo_build, tmp_path) -> None:
    """Each language's file, read back without its compiler."""
    manifest = read_manifest(demo_build.folder)
    values = constants(manifest, manifest.artifacts[0], "0" * 64)
    contract = manifest.spec.preprocess
    for kind in KINDS:
        text = source(kind, values)
        strings = set(re.findall(r"""["']([\w.-]+)["']""", text))
        assert {"0" * 64, manifest.artifacts[0].path, manifest.artifacts[0].sha256} <= strings
        assert {contract.resize_rule, contract.resize_filter, contract.channel_order} <= strings
        lists = re.findall(r"[\[({]((?:-?[\d.e-]+f?(?:, )?){3})[\])}]", text)
        assert len(lists) == 2, text
        for found, expected in zip(lists, contract.affine(), strict=True):
            numbers = [np.float32(number.strip("f")) for number in found.split(", ")]
            assert np.array_equal(numbers, expected)


def test_constants_cannot_smuggle_code(demo_build) -> None:
    manifest = read_manifest(demo_build.folder)
    record = dataclasses.replace(manifest.artifacts[0], path='a"; evil()//.pte')
    with pytest.raises(Exception, match="odd characters in artifact"):
        constants(manifest, record, "0" * 64)


def test_an_update_exchanges_the_model_and_leaves_the_rest(demo_build, build, tmp_path) -> None:
    out = tmp_path / "app"
    invoke("sample", "cpp", "--from", build, "--out", out)
    (out / "src" / "mine.cpp").write_text("int mine;")
    (out / "README.md").write_text("ours")
    old = (out / "src" / "model_contract.h").read_text()
    result = invoke("sample", "cpp", "--from", build, "--out", out, "-p", "fp32", "--update")
    assert result.exit_code == 0, result.output
    assert (out / "src" / "mine.cpp").read_text() == "int mine;"
    assert (out / "README.md").read_text() == "ours"
    assert not (out / "model" / "model-int8.pte").exists()
    assert (out / "model" / "model-fp32.pte").exists()
    assert (out / "src" / "model_contract.h").read_text() != old


def test_an_app_is_never_overwritten(demo_build, tmp_path) -> None:
    (tmp_path / "work.txt").write_text("mine")
    arguments = ("web", "--from", demo_build.folder, "--out", tmp_path)
    refused(*arguments, code=9, match="not empty, and may be an app with changes of yours")
    refused(*arguments, "--update", code=9, match="no app that .* made")
    assert [p.name for p in tmp_path.iterdir()] == ["work.txt"]


@pytest.mark.parametrize("update", [False, True])
@pytest.mark.parametrize("inside", ["app", "golden/app", "model-int8.mlpackage/app", "."])
def test_an_app_does_not_lie_in_its_build(build, inside, update) -> None:
    before = {p: p.read_bytes() for p in build.rglob("*") if p.is_file()}
    more = ["--update"] if update else []
    arguments = ("cpp", "--from", build, "--out", build / inside, *more)
    refused(*arguments, code=9, match="would lie among those")
    assert before == {p: p.read_bytes() for p in build.rglob("*") if p.is_file()}


def test_an_update_does_not_take_a_build_for_an_app(build) -> None:
    """`--out .` beside a build that is called as the app's model folder."""
    named = build.rename(build.parent / "model")
    arguments = ("cpp", "--from", named, "--out", named.parent, "--update")
    refused(*arguments, code=9, match="would lie among those")
    other = shutil.copytree(named, named.parent / "other")
    arguments = ("cpp", "--from", other, "--out", named.parent, "--update")
    refused(*arguments, code=9, match=r"src/model_contract\.h is missing")
    assert (named / "model-int8.graph").exists()


def test_half_an_update_is_none(build, tmp_path, monkeypatch) -> None:
    """The constants cannot be moved into place: the old model comes back."""
    out = tmp_path / "app"
    invoke("sample", "cpp", "--from", build, "--out", out)
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    move = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.parent.parent.name == "new" and self.name == "model_contract.h":
            raise OSError(28, "No space left on device", str(self))
        return move(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    arguments = ("cpp", "--from", build, "--out", out, "-p", "fp32", "--update")
    refused(*arguments, code=9, match="No space left on device")
    assert before == {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    assert not [p for p in out.iterdir() if p.name.startswith(".update")]


def test_what_the_file_system_refuses_is_one_line(build, tmp_path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    refused("cpp", "--from", build, "--out", loop, code=9, match="loop")
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "nowhere")
    refused("cpp", "--from", build, "--out", dangling, code=9, match="dangling")
    assert not (tmp_path / "nowhere").exists()


def test_labels_are_utf8_wherever_they_are_written(build, tmp_path) -> None:
    spec = read_manifest(build).spec
    labels = ("🐶 dog", "a\nb", *spec.labels[2:])
    edit_manifest(build, spec=dataclasses.replace(spec, labels=labels))
    command = [sys.executable, "-X", "utf8=0", "-m", "exporter", "sample", "cpp"]
    command += ["--from", str(build), "--out", str(tmp_path / "app")]
    environment = os.environ | {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "app/model/labels.txt").read_text(encoding="utf-8").splitlines()
    assert lines[:2] == ["🐶 dog", "a b"]
    assert len(lines) == spec.classes


def test_a_build_without_the_targets_artifact_is_refused(build, tmp_path) -> None:
    kept = tuple(a for a in read_manifest(build).artifacts if a.target != "onnx")
    edit_manifest(build, artifacts=kept)
    out = tmp_path / "app"
    refused("web", "--from", build, "--out", out, code=5, match=r"has no \.onnx file")
    refused("cpp", "--from", build, "--out", out, "-p", "fp16", code=5, match="has no fp16 .pte")
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"outputs": "raw"}, "gives raw, which an app would have to finish"),
        ({"outputs": "lowres_logits"}, "gives lowres_logits"),
        ({"nms": "native"}, "own suppression"),
        ({"batch": 4}, "takes 4 images at once"),
        ({"io": "uint8"}, "as uint8"),
    ],
)
def test_results_that_no_sample_shows_are_refused(build, tmp_path, options, match) -> None:
    with_options(build, **options)
    refused("ios", "--from", build, "--out", tmp_path / "app", code=5, match=match)


def test_bytes_that_were_not_proved_are_refused(build, tmp_path) -> None:
    out = tmp_path / "app"
    with (build / "model-int8.pte").open("ab") as file:
        file.write(b"x")
    refused("cpp", "--from", build, "--out", out, code=9, match="not the bytes that were built")
    (build / "golden" / "expected.json").write_text("{}")
    refused("web", "--from", build, "--out", out, code=9, match="golden: not the bytes")
    shutil.rmtree(build / "golden")
    refused("web", "--from", build, "--out", out, code=9, match="golden: missing")
    assert not out.exists()


def test_a_drifted_artifact_is_refused(build, tmp_path) -> None:
    record = next(a for a in read_manifest(build).artifacts if a.path == "model-int8.onnx")
    parity = dataclasses.replace(record.parity, outcome="drifted", reason="features.3 by 2 LSB")
    with_artifact(build, "model-int8.onnx", parity=parity)
    arguments = ("web", "--from", build, "--out", tmp_path / "app")
    refused(*arguments, code=5, match="drifted: features.3 by 2 LSB")


def test_a_manifest_cannot_name_files_elsewhere(build, tmp_path) -> None:
    outside = tmp_path / "secret.pte"
    outside.write_bytes(b"secret")
    with_artifact(build, "model-int8.pte", path="../secret.pte", sha256=sha256(outside))
    refused("cpp", "--from", build, "--out", tmp_path / "app", code=9, match="not a file name")


def test_no_build_and_no_self_test(build, tmp_path) -> None:
    out = tmp_path / "app"
    refused("cpp", "--from", tmp_path / "none", "--out", out, code=9, match="no manifest.json here")
    with_artifact(build, "model-int8.pte", self_test=None)
    refused("cpp", "--from", build, "--out", out, code=9, match="nothing of a self-test")
    refused("tv", "--from", build, "--out", out, code=2, match="tv")
