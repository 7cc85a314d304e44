"""Sweeps: what they are asked for, which points nothing beats, and a small one from end to end."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import invoke
from fakes import FakeBackend, fake_target
from graphs import ONE_LAYER, TWO_LAYERS, make_spec, random_model
from PIL import Image
from test_preprocess import picture

from exporter.cache.store import VARIABLE, Store
from exporter.checkpoints import load_checkpoint, save_checkpoint
from exporter.errors import UnsupportedError
from exporter.latency.records import Median
from exporter.manifest import read_manifest
from exporter.spec import PaddingStyle, Precision
from exporter.sweep import plot, published
from exporter.sweep.building import Order, build_points
from exporter.sweep.fronts import with_fronts
from exporter.sweep.points import Point, make_points, read_resolutions, read_widths
from exporter.sweep.records import Row, Sweep, to_json
from exporter.sweep.weights import write_random
from exporter.target import ExportOptions, Target
from exporter.tasks import Task
from exporter.verdicts import Outcome
from exporter.worker_process import Sent

INT8 = Precision.INT8


def test_points_are_every_combination() -> None:
    points = make_points((0.5, 0.35), (160, 96), {0.5: Path("half.pt")})
    assert [p.name for p in points] == ["w0.35-r96", "w0.35-r160", "w0.5-r96", "w0.5-r160"]
    assert [p.checkpoint for p in points] == [None, None, Path("half.pt"), Path("half.pt")]


@pytest.mark.parametrize("text", ["", "0.5,", "wide", "0", "-1", "0.5,nan", "11"])
def test_a_bad_width_is_named(text: str) -> None:
    with pytest.raises(UnsupportedError, match="no width multiplier"):
        read_widths(text)


@pytest.mark.parametrize("text", ["", "96,", "96.5", "big", "16", "99999"])
def test_a_bad_resolution_is_named(text: str) -> None:
    with pytest.raises(UnsupportedError, match=r"no number of pixels|is outside"):
        read_resolutions(text, Task.CLASSIFICATION)


def test_what_a_detector_cannot_take_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="not a multiple of 32"):
        read_resolutions("320,330", Task.DETECTION)


def test_no_two_points_share_a_directory() -> None:
    """Widths that look the same at six digits are two networks."""
    points = make_points(read_widths("0.35,0.350,0.35000001,1"), (96,), {})
    assert [point.name for point in points] == ["w0.35-r96", "w0.35000001-r96", "w1-r96"]


def test_published_figures_grow_with_width_and_resolution() -> None:
    assert published.top1(1.0, 224) == 0.718
    assert published.top1(0.35, 96) == 0.455
    assert published.top1(0.6, 96) is None
    for (width, side), value in published.TOP1.items():
        for (wider, larger), other in published.TOP1.items():
            if wider >= width and larger >= side:
                assert other >= value


def row(name: str, accuracy: float | None, ms: float | None, size: int, **more: object) -> Row:
    own: dict[str, object] = {
        "point": name,
        "width": 1.0,
        "resolution": 96,
        "artifact": "model-int8.onnx",
        "target": "onnx",
        "precision": INT8,
        "size_bytes": size,
        "sha256": "",
        "parity": Outcome.SAME,
        "weights": "random",
        "accuracy": accuracy,
        "figure": "top-1",
        "accuracy_of": "evaluated",
        "latency_ms": None if ms is None else Median(value=ms, low=ms, high=ms),
    }
    return Row(**{**own, **more})  # type: ignore[arg-type]


def test_the_fronts_hold_what_nothing_beats() -> None:
    rows = with_fronts(
        [
            row("a", 0.5, 1.0, 300),  # the fastest
            row("b", 0.6, 2.0, 100),  # the smallest, and more right
            row("c", 0.55, 3.0, 200),  # b beats it at all
            row("d", 0.7, 4.0, 400),  # the most right
            row("e", 0.7, 4.0, 400),  # as good as d
            row("f", None, 0.1, 1),  # nobody knows how right
            row("g", 0.9, None, 900),  # nobody knows how fast
        ]
    )
    assert [r.point for r in rows if r.fastest_so_right] == ["a", "b", "d", "e"]
    assert [r.point for r in rows if r.smallest_so_right] == ["b", "d", "e", "g"]


def test_published_accuracies_do_not_compare_precisions() -> None:
    """Of them int8 would always win: it is as right on paper."""
    rows = [
        row("a", 0.5, 1.0, 100, accuracy_of=published.LABEL),
        row("a", 0.5, 2.0, 400, accuracy_of=published.LABEL, precision=Precision.FP32),
        row("a", 0.5, 0.5, 50, accuracy_of=published.LABEL, target="android"),
    ]
    assert all(r.fastest_so_right and r.smallest_so_right for r in with_fronts(rows))
    evaluated = [dataclasses.replace(r, accuracy_of="evaluated", target="onnx") for r in rows]
    assert [r.fastest_so_right for r in with_fronts(evaluated)] == [False, False, True]


def test_random_weights_are_reproducible_and_healthy(tmp_path: Path) -> None:
    for name in "ab":
        write_random(tmp_path / name, 0.35, 64, (), tmp_path / f"{name}-photos")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    photos = sorted((tmp_path / "a-photos").iterdir())
    assert len(photos) == 96
    assert np_shape(photos[0]) == (96, 96)
    spec = load_checkpoint(tmp_path / "a").spec
    assert (spec.width, spec.resolution, spec.classes) == (0.35, 64, 1000)


def np_shape(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def test_the_picture_shows_every_point_and_is_reproducible(tmp_path: Path) -> None:
    rows = with_fronts(
        [
            row("a", 0.5, 1.0, 300, width=0.35),
            row("b", 0.6, 2.0, 500, width=0.5),
            row("c", 0.6, 3.0, 600, width=0.75, target="android"),
        ]
    )
    for name in "ab":
        (tmp_path / name).mkdir()
        drawn = plot.draw(Sweep(rows=rows), tmp_path / name)
        assert [path.name for path in drawn] == ["sweep.svg", "sweep.png"]
    svg = (tmp_path / "a" / "sweep.svg").read_bytes()
    assert svg == (tmp_path / "b" / "sweep.svg").read_bytes()
    text = svg.decode()
    for label in ("0.35 · 96", "0.5 · 96", "0.75 · 96", "onnx int8", "android int8", "latency"):
        assert label in text
    assert "http" not in text.replace("http://www.w3.org", "").replace(
        "http://purl.org", ""
    ).replace("http://creativecommons.org", "").replace("https://matplotlib.org", "")


def test_a_path_is_no_formula(tmp_path: Path) -> None:
    rows = with_fronts([row("a", 0.5, 1.0, 300, accuracy_of=r"evaluated on /data/$\frac{$")])
    plot.draw(Sweep(rows=rows), tmp_path)
    assert r"evaluated on /data/$\frac{$" in (tmp_path / "sweep.svg").read_text()


def test_nothing_is_drawn_of_nothing(tmp_path: Path) -> None:
    assert plot.draw(Sweep(rows=(row("a", None, 1.0, 300),)), tmp_path) == ()
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- building points


@dataclasses.dataclass(frozen=True)
class Dying(FakeBackend):
    def emit(self, graph, precision, options, path):  # type: ignore[no-untyped-def]
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    for width, head in ((0.35, TWO_LAYERS), (0.5, ONE_LAYER)):
        spec = make_spec(width, 64, PaddingStyle.SAME, head)
        save_checkpoint(folder / f"{width}.safetensors", spec, random_model(spec).state_dict())
    (folder / "photos").mkdir()
    for index in range(3):
        picture(200 + 40 * index, 150).save(folder / "photos" / f"{index}.png")
    return folder


def order(inputs: Path, out: Path, store: Store | None, target: Target, side: int = 64) -> Order:
    return Order(
        point=Point(width=0.35, resolution=side, checkpoint=inputs / "0.35.safetensors"),
        jobs=((Sent.of(target), INT8),),
        options=ExportOptions(),
        calibration=(inputs / "photos",),
        out=out,
        command="",
        store=store,
    )


@pytest.mark.slow
def test_points_that_fail_do_not_stop_the_others(inputs: Path, tmp_path: Path) -> None:
    """One process dies, one point cannot be; the third is built, and then comes from the cache."""
    said: list[tuple[str, str]] = []
    dies = dataclasses.replace(fake_target("dies"), backend=Dying())
    store = Store(root=tmp_path / "cache")
    orders = [
        order(inputs, tmp_path / "a", store, fake_target("one")),
        order(inputs, tmp_path / "b", store, dies, side=96),
        order(inputs, tmp_path / "c", store, fake_target("bad", fails=True), side=128),
    ]
    built = build_points(orders, 2, lambda point, what: said.append((point.name, what)))
    assert built.from_cache == 0
    assert [(lost.point, lost.error) for lost in built.lost] == [
        ("w0.35-r96", "its process died (SIGKILL)"),
        ("w0.35-r128", "bad int8: fake cannot do this"),
    ]
    assert {p.name for p in tmp_path.iterdir()} == {"a", "cache"}
    assert ("w0.35-r64", "done") in said
    assert ("w0.35-r96", "failed") in said
    assert not read_manifest(tmp_path / "a").drifted
    again = build_points(orders[:1], 2, lambda *_: None)
    assert again.from_cache == 1
    assert again.lost == ()


# ---------------------------------------------------------------- the command


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--widths", "x"], "--widths x: x is no width multiplier"),
        (["--resolutions", "20"], "resolution 20 px is outside"),
        (["--widths", "0.5", "--data", "."], "there is no checkpoint of width 0.5 to evaluate"),
        (["nothing.pth"], "nothing.pth"),
        (["{0.35}", "{0.35}"], "a sweep takes one checkpoint for each width"),
        (["{0.35}", "--widths", "0.5"], "its width is not among --widths"),
        (["--widths", "0.5", "--out", "{0.35}"], "exists and is not a directory"),
        (["--widths", "0.5", "-t", "android", "-p", "fp16"], "android has no fp16 artifact"),
        (["--widths", "0.5", "--out", "/proc/sweep"], "/proc/sweep: cannot be written to"),
    ],
)
def test_bad_input_is_one_line(inputs: Path, tmp_path, monkeypatch, arguments, message) -> None:
    monkeypatch.chdir(tmp_path)
    given = [a.replace("{0.35}", str(inputs / "0.35.safetensors")) for a in arguments]
    result = invoke("sweep", *given)
    assert result.exit_code not in (0, 1)
    told = " ".join(result.stderr.split())
    assert message in told
    assert "Traceback" not in told
    assert list(tmp_path.iterdir()) == []


def labeled(folder: Path) -> Path:
    for index in range(4):
        place = folder / str(index % 2)
        place.mkdir(parents=True, exist_ok=True)
        picture(80, 80).save(place / f"{index}.png")
    return folder


@pytest.mark.slow
def test_a_sweep_from_end_to_end(inputs: Path, tmp_path: Path, monkeypatch) -> None:
    """Built side by side, measured in turn, drawn; the second time nothing is made."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    arguments = ["sweep", "--widths", "0.35", "--resolutions", "64,96", "-t", "onnx"]
    arguments += ["-t", "litert", "--iterations", "25", "--out", tmp_path / "s", "--json"]
    result = invoke(*arguments)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert len(found["rows"]) == 4
    for one in found["rows"]:
        assert one["parity"] == "same"
        assert one["latency_ms"]["low"] <= one["latency_ms"]["value"] <= one["latency_ms"]["high"]
        assert one["accuracy"] == published.top1(0.35, one["resolution"])
        assert one["weights"] == "random"
    assert found["from_cache"] == 0
    assert json.loads((tmp_path / "s" / "sweep.json").read_text()) == found
    names = {p.name for p in (tmp_path / "s").iterdir()}
    assert {"w0.35-r64", "w0.35-r96", "sweep.json"} <= names
    again = json.loads(invoke(*arguments, "--no-latency").stdout)
    assert again["from_cache"] == 2
    assert [one["latency_ms"] for one in again["rows"]] == [None] * 4
    assert [one["sha256"] for one in again["rows"]] == [one["sha256"] for one in found["rows"]]


@pytest.mark.slow
def test_a_sweep_of_checkpoints_is_evaluated(inputs: Path, tmp_path: Path) -> None:
    spec = make_spec(0.35, 64, PaddingStyle.SAME, TWO_LAYERS)
    data = labeled(tmp_path / "data")
    names = [f"thing {i}" for i in range(20)]
    for index in (0, 1):
        (data / str(index)).rename(data / names[index])
    for name in names[2:]:
        (data / name).mkdir()
    result = invoke(
        "sweep", inputs / "0.35.safetensors", "--resolutions", "64", "-t", "onnx", "--data", data,
        "-c", inputs / "photos", "--no-latency", "--no-cache", "--out", tmp_path / "s", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    (one,) = json.loads(result.stdout)["rows"]
    assert one["figure"] == "top-1"
    assert one["accuracy_of"] == f"evaluated on {data}"
    assert 0.0 <= one["accuracy"] <= 1.0
    assert one["weights"] == "0.35.safetensors"
    assert spec.width == one["width"]


def test_a_sweep_is_plain_json() -> None:
    data = to_json(Sweep(rows=(row("a", 0.5, 1.0, 1),)))
    assert data["schema_version"] == 1
    assert data["rows"][0]["latency_ms"] == {"value": 1.0, "low": 1.0, "high": 1.0}


@pytest.mark.slow
def test_an_interrupt_tells_what_stays_and_leaves_no_process(tmp_path: Path) -> None:
    """The points that it ends have not failed, and nothing half-made is left of them."""
    command = [sys.executable, "-m", "exporter", "sweep", "--widths", "0.35,1", "--no-latency"]
    command += ["--resolutions", "96", "-t", "onnx", "--no-cache", "--out", str(tmp_path / "s")]
    environment = {**os.environ, "TMPDIR": str(tmp_path / "temporary")}
    (tmp_path / "temporary").mkdir()
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    ) as process:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not list((tmp_path / "s").glob(".*")):
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert told.splitlines()[-1] == f"interrupted: points that were done stay in {tmp_path / 's'}"
    assert "failed" not in told
    assert "Traceback" not in told
    assert list((tmp_path / "s").glob(".*")) == []
    assert list((tmp_path / "temporary").iterdir()) == []
