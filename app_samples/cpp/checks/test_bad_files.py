"""What is damaged, hostile or missing: one line, the documented exit code, and no crash.

All of it runs with the address and undefined behavior sanitizers.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
import subprocess
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SANITIZED, Done, app, manifest_of, model_of, run, vouch_for_golden
from made_images import chunk, header, noise_png, picture

USAGE, IMAGE, MODEL, HASH, RUNTIME, OUTPUT = 2, 3, 4, 5, 6, 7
MUTATIONS = 60
DATA = chunk(b"IDAT", b"")


def look(model: Path, *images: Path) -> Done:
    """Decode and preprocess only."""
    return run(SANITIZED, "--model", model, "--dump-pixels", "/dev/null", *images)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model folder of one's own."""
    return Path(shutil.copytree(model_of("classification"), tmp_path / "model"))


def change(model: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """Edit the manifest."""
    path = model / "manifest.json"
    manifest = json.loads(path.read_text())
    edit(manifest)
    path.write_text(json.dumps(manifest))


def put_artifact(model: Path, data: bytes) -> None:
    """Another artifact, with a manifest that vouches for it."""
    (model / "model-int8.pte").write_bytes(data)

    def vouch(manifest: dict[str, Any]) -> None:
        manifest["artifacts"][0]["sha256"] = hashlib.sha256(data).hexdigest()

    change(model, vouch)


def jpeg_of(tmp_path: Path, **options: Any) -> bytes:
    """A small one."""
    picture(70, 50).save(tmp_path / "whole.jpg", **options)
    return (tmp_path / "whole.jpg").read_bytes()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.jpg", b"", "not a JPEG"),
        ("text.png", b"not an image", "not a JPEG"),
        ("huge.png", header(100000, 100000, 8, 2) + DATA, "too many pixels"),
        ("long.png", header(0x7FFFFFFF, 0x7FFFFFFF, 16, 6) + DATA, "too many pixels"),
        ("header.png", header(6000, 6000, 8, 2) + DATA, "truncated"),
        ("huge.ppm", b"P6 99999 99999 255\n", "too many pixels"),
        ("none.ppm", b"P6 0 5 255\n", "without pixels"),
        ("deep.ppm", b"P6 1 1 65535\nabcdef", "other than 8 bits"),
        ("short.ppm", b"P6 10 10 255\nabc", "truncated"),
        ("number.ppm", b"P6 x", "damaged"),
        ("marker.jpg", b"\xff\xd8\xff", "truncated"),
        ("twelve.jpg", b"\xff\xd8\xff\xc1\0\x0b\x0c\0\x08\0\x08\x01\x01\x11\0" * 2, "damaged"),
    ],
)
def test_images_that_are_none(
    model: Path, tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    """The file is named, and the reason is."""
    (tmp_path / name).write_bytes(content)
    done = look(model, tmp_path / name)
    assert done.code == IMAGE
    assert name in done.error
    assert said in done.error


def test_a_missing_image_and_a_directory(model: Path, tmp_path: Path) -> None:
    """As the system says it."""
    assert "No such file" in look(model, tmp_path / "none.jpg").error
    assert "a directory" in look(model, tmp_path).error
    assert look(model, tmp_path).code == IMAGE


def test_a_huge_jpeg_is_refused_before_it_takes_memory(model: Path, tmp_path: Path) -> None:
    """65500 x 65500 in a few hundred bytes."""
    data = bytearray(jpeg_of(tmp_path))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = (65500).to_bytes(2, "big") * 2
    (tmp_path / "huge.jpg").write_bytes(data)
    done = look(model, tmp_path / "huge.jpg")
    assert (done.code, "too many pixels" in done.error) == (IMAGE, True)


def cuts(data: bytes) -> Iterator[bytes]:
    """What is left of a file at many lengths, most of its pixels gone or few."""
    for length in np.linspace(8, len(data) - 24, 20).astype(int):
        yield data[:length]


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_truncated_jpeg(model: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    """Wherever it is cut."""
    for part in cuts(jpeg_of(tmp_path, **options)):
        (tmp_path / "cut.jpg").write_bytes(part)
        done = look(model, tmp_path / "cut.jpg")
        assert (done.code, "truncated" in done.error) == (IMAGE, True), len(part)


def test_a_jpeg_of_endless_scans(model: Path, tmp_path: Path) -> None:
    """Each takes a dozen bytes of the file and a walk over all of its pixels."""
    data = jpeg_of(tmp_path, progressive=True)
    last = data.rindex(b"\xff\xda")
    (tmp_path / "scans.jpg").write_bytes(data[:last] + data[last:-2] * 600 + data[-2:])
    done = look(model, tmp_path / "scans.jpg")
    assert (done.code, "more than 500 scans" in done.error) == (IMAGE, True), done.error


def test_truncated_png(model: Path, tmp_path: Path) -> None:
    """Wherever it is cut."""
    for part in cuts(noise_png(40, 8, 2)):
        (tmp_path / "cut.png").write_bytes(part)
        done = look(model, tmp_path / "cut.png")
        assert (done.code, "truncated" in done.error) == (IMAGE, True), len(part)


@pytest.mark.parametrize("name", ["image.jpg", "progressive.jpg", "image.png", "image.ppm"])
def test_flipped_bytes(model: Path, tmp_path: Path, name: str) -> None:
    """Read or refused, never worse."""
    options = {"progressive": True} if name.startswith("prog") else {}
    picture(40, 30).save(tmp_path / name, **options)
    whole = (tmp_path / name).read_bytes()
    random = np.random.Generator(np.random.PCG64(1))
    for _ in range(MUTATIONS):
        data = bytearray(whole)
        for place in random.integers(0, len(data), 4):
            data[place] = random.integers(0, 256)
        (tmp_path / name).write_bytes(data)
        assert look(model, tmp_path / name).code in (0, IMAGE)


def test_a_png_of_packed_texts(tmp_path: Path) -> None:
    """Two megabytes that would unfold to two gigabytes."""
    packed = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"a" * 7_900_000, 9))
    whole = noise_png(40, 8, 2)
    start = whole.index(b"IDAT") - 4
    path = tmp_path / "texts.png"
    path.write_bytes(whole[:start] + packed * 270 + whole[start:])
    program = app("classification")  # without the sanitizers' own memory
    process = subprocess.Popen([program, "--dump-pixels", "/dev/null", path])
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    assert usage.ru_maxrss < 1 << 19  # KiB


def test_missing_model(tmp_path: Path) -> None:
    """A folder that is none, one without a manifest, one without the artifact."""
    for folder in (tmp_path / "none", tmp_path):
        done = run(SANITIZED, "--model", folder, "--self-test")
        assert (done.code, "manifest.json" in done.error) == (MODEL, True)
    done = run(SANITIZED, "--self-test", cwd=tmp_path)
    assert (done.code, "--model" in done.error) == (MODEL, True)


def test_missing_artifact(model: Path) -> None:
    """Named, not loaded."""
    (model / "model-int8.pte").unlink()
    done = run(SANITIZED, "--model", model, "--self-test")
    assert (done.code, "model-int8.pte" in done.error) == (MODEL, True)
    done = run(SANITIZED, "--model", model, "--self-test", "--artifact", "other.pte")
    assert (done.code, "other.pte" in done.error) == (MODEL, True)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"null", b'{"schema_version": "x"}'])
def test_damaged_manifest(model: Path, content: bytes) -> None:
    """Said to be damaged."""
    (model / "manifest.json").write_bytes(content)
    done = run(SANITIZED, "--model", model, "--self-test")
    assert (done.code, "manifest.json" in done.error) == (MODEL, True)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place of a JSON document."""
    if path:
        yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list):
        for index in range(min(len(value), 2)):
            yield from places(value[index], (*path, index))


def replaced(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy with something else at one place."""
    found = copy.deepcopy(document)
    inner = found
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return found


@pytest.mark.parametrize("task", ["classification", "detection"])
@pytest.mark.parametrize("value", [None, -1, "x", 1e300])
def test_any_damage_of_the_manifest(tmp_path: Path, task: str, value: Any) -> None:
    """Each value exchanged in turn: used where nothing depends on it, refused where something does.

    Only the preprocessing runs, so what damage there leads to would be seen.
    """
    manifest = manifest_of(task)
    for key in ("parity", "quality", "accuracy", "notes"):
        manifest["artifacts"][0].pop(key)
    for key in ("source", "versions", "calibration", "float_accuracy", "command"):
        manifest.pop(key)
    picture(20, 30).save(tmp_path / "image.png")
    for path in places(manifest):
        (tmp_path / "manifest.json").write_text(json.dumps(replaced(manifest, path, value)))
        assert look(tmp_path, tmp_path / "image.png").code in (0, MODEL), path


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("schema_version",), 2, "schema_version"),
        (("options", "batch"), 4, "batch"),
        (("options", "io"), "uint8", "float32"),
        (("spec", "task"), "depth", "depth"),
        (("spec", "preprocess", "layout"), "nhwc", "nchw"),
        (("spec", "preprocess", "resize_filter"), "lanczos", "lanczos"),
        (("artifacts", 0, "self_test", "outputs", 0, "name"), "features", "features"),
        (("artifacts", 0, "path"), "../model.pte", "not a name"),
        (("artifacts", 0, "self_test"), None, "build again"),
        (("artifacts", 0, "self_test", "outputs", 0, "exact"), False, "neither exact nor"),
    ],
)
def test_what_this_program_cannot_do(
    model: Path, path: tuple[Any, ...], value: Any, said: str
) -> None:
    """Said as such."""
    manifest = replaced(manifest_of("classification"), path, value)
    (model / "manifest.json").write_text(json.dumps(manifest))
    done = run(SANITIZED, "--model", model, "--self-test")
    assert (done.code, said in done.error) == (MODEL, True), done.error


def test_changed_artifact(model: Path) -> None:
    """One bit."""
    path = model / "model-int8.pte"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    done = run(SANITIZED, "--model", model, "--self-test")
    assert (done.code, "model-int8.pte" in done.error) == (HASH, True)


@pytest.mark.parametrize("name", ["03-noise.png", "expected.json", "more.png"])
def test_changed_golden_vectors(model: Path, name: str) -> None:
    """One bit of an image or of a result, or a file more: no verdict on the model."""
    path = model / "golden" / name
    data = bytearray(path.read_bytes() if path.exists() else b"more")
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    for mode in ("--self-test", "--benchmark"):
        done = run(SANITIZED, "--model", model, mode)
        assert (done.code, "golden: wrong SHA-256" in done.error) == (HASH, True), done.error


def test_an_app_refuses_another_manifest(model: Path) -> None:
    """It was made for one model, whatever another manifest says."""
    change(model, lambda manifest: manifest["options"].update(softmax=True))
    done = run(app("classification"), "--model", model, "--self-test")
    assert (done.code, "--update" in done.error) == (HASH, True)


@pytest.mark.parametrize(
    ("keep", "code"), [(0, "0x12"), (8, "0x12"), (1000, "0x23"), (-1000, "0x23")]
)
def test_truncated_program(model: Path, keep: int, code: str) -> None:
    """ExecuTorch's own code and what to do."""
    put_artifact(model, (model / "model-int8.pte").read_bytes()[:keep])
    done = run(SANITIZED, "--model", model, "--self-test")
    assert done.code == RUNTIME
    assert f"error {code}: truncated" in done.error


def test_program_for_another_backend(model: Path) -> None:
    """A delegate that is not linked in."""
    data = (model / "model-int8.pte").read_bytes()
    assert data.count(b"XnnpackBackend") == 1
    put_artifact(model, data.replace(b"XnnpackBackend", b"UnknownBackend"))
    done = run(SANITIZED, "--model", model, "--self-test")
    assert (done.code, "0x20" in done.error) == (RUNTIME, True), done.error


def test_another_models_program(model: Path) -> None:
    """Its outputs are not the manifest's."""
    put_artifact(model, (model_of("detection") / "model-int8.pte").read_bytes())
    done = run(SANITIZED, "--model", model, "--self-test")
    assert (done.code, "not the manifest's" in done.error) == (RUNTIME, True)


@pytest.mark.parametrize("content", ["", "{}", '{"format_version": 1, "inputs": []}'])
def test_damaged_golden_vectors(model: Path, content: str) -> None:
    """Neither passed nor failed."""
    (model / "golden" / "expected.json").write_text(content)
    done = run(SANITIZED, "--model", vouch_for_golden(model), "--self-test")
    assert (done.code, "expected.json" in done.error) == (MODEL, True)


def test_any_damage_of_the_golden_vectors(tmp_path: Path) -> None:
    """Shapes, strides and samples that do not fit are refused before anything is read by them."""
    model = Path(shutil.copytree(model_of("segmentation_labels"), tmp_path / "model"))
    path = model / "golden" / "expected.json"
    expected = json.loads(path.read_text())
    expected["outputs"] = {"int8-xnnpack": expected["outputs"]["int8-xnnpack"]}
    for place in places(expected):
        for value in (None, 10**9):
            path.write_text(json.dumps(replaced(expected, place, value)))
            done = run(SANITIZED, "--model", vouch_for_golden(model), "--self-test", "--images", 1)
            assert done.code in (0, 1, IMAGE, MODEL), place


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--unknown"],
        ["--top"],
        ["--top", "0", "x.png"],
        ["--top", "5x", "x.png"],
        ["--threshold", "2", "x.png"],
        ["--threads", "-1", "x.png"],
        ["--threads", "100000", "x.png"],
        ["--self-test", "x.png"],
        ["--benchmark", "x.png", "y.png"],
        ["--benchmark", "--iterations", "0"],
        ["--out", "x.gif", "x.png"],
        ["--out", "x.png", "a.png", "b.png"],
        ["--self-test", "--dump-pixels", "x"],
    ],
)
def test_usage(words: list[str]) -> None:
    """Points to --help."""
    done = run(SANITIZED, *words)
    assert (done.code, "--help" in done.error) == (USAGE, True)


def test_results_that_cannot_be_written(tmp_path: Path) -> None:
    """A folder that does not exist, and a full device."""
    picture(20, 20).save(tmp_path / "image.png")
    model, image = model_of("detection"), tmp_path / "image.png"
    for target in (tmp_path / "none" / "out.ppm", Path("/dev/full/x.ppm")):
        done = run(SANITIZED, "--model", model, "--out", target, image)
        assert done.code == OUTPUT, done.error
    done = run(SANITIZED, "--model", model, "--dump-pixels", "/dev/full", image)
    assert (done.code, "No space left" in done.error) == (OUTPUT, True)


@pytest.mark.parametrize("task", ["classification", "detection"])
def test_a_full_standard_output(task: str) -> None:
    """Whether all of it is lost at the end or, of a long one, a part on the way."""
    with Path("/dev/full").open("w") as full:
        code = subprocess.run(
            [SANITIZED, "--model", model_of(task), "--self-test", "--json"],
            stdout=full,
            stderr=subprocess.DEVNULL,
            check=False,
        ).returncode
    assert code == OUTPUT


def test_a_classifier_draws_nothing(tmp_path: Path) -> None:
    """Said before anything runs."""
    picture(20, 20).save(tmp_path / "image.png")
    model = model_of("classification")
    done = run(SANITIZED, "--model", model, "--out", tmp_path / "x.png", tmp_path / "image.png")
    assert done.code == USAGE
