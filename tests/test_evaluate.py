"""Accuracy of what is on disk: counted by hand, against float, and where it cannot be counted."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from conftest import invoke
from fakes import FakeBackend, FakeRunner, fake_target
from PIL import Image

from exporter import cli, demo, golden
from exporter.accuracy import FLOAT, Evaluation, Score, Seen, evaluate, objection
from exporter.errors import ArtifactError, DataError, UnsupportedError
from exporter.graph_file import load_graph
from exporter.intervals import Paired, paired, wilson
from exporter.pipeline import BuildRequest, build, jobs_for
from exporter.preprocess import normalize
from exporter.reference import Request
from exporter.spec import Precision
from exporter.target import Runner, Target

COUNT = 40
Targets = Mapping[str, Target]


class BackwardsRunner(FakeRunner):
    """Puts the right class last."""

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return -golden.run(self.graph, images)


class NanRunner(FakeRunner):
    def __call__(self, images: np.ndarray) -> np.ndarray:
        return np.full_like(golden.run(self.graph, images), np.nan)


class BrokenRunner(FakeRunner):
    """Fails on the second batch."""

    def __call__(self, images: np.ndarray) -> np.ndarray:
        if len(images) != 16:
            raise ZeroDivisionError("out of\ncheese")
        return golden.run(self.graph, images)


@dataclasses.dataclass(frozen=True)
class OtherBackend(FakeBackend):
    kind: type[FakeRunner] = FakeRunner

    def load(self, path: Path) -> Runner:
        return self.kind(load_graph(path), 0.0)


def other_target(name: str, kind: type[FakeRunner]) -> Target:
    return dataclasses.replace(fake_target(name), backend=OtherBackend(kind=kind))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("builds") / "build"
    jobs = jobs_for([fake_target("one"), fake_target("two")], [Precision.FP32])
    request = Request(checkpoint=demo.CHECKPOINT)  # a checkpoint like any other, so not judged
    list(build(BuildRequest(request=request, jobs=jobs, out=out)))
    return out


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's first test pictures, a folder per class."""
    root = tmp_path_factory.mktemp("photos")
    for index, (pixels, label) in enumerate(zip(*demo.unseen_images(), strict=True)):
        if index == COUNT:
            break
        folder = root / demo.LABELS[label]
        folder.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{index:02d}.png")
    return root


def fakes(**others: Target) -> Targets:
    return {"one": fake_target("one"), "two": fake_target("two")} | others


def result(path: Path, data: Path, targets: Targets, limit: int | None = None) -> Evaluation:
    *_, last = evaluate(path, data, targets, limit)
    assert isinstance(last, Evaluation)
    return last


def test_accuracy_is_what_the_graph_gives(built: Path, photos: Path) -> None:
    found = result(built, photos, fakes())
    pixels, labels = (part[:COUNT] for part in demo.unseen_images())
    logits = golden.run(
        load_graph(built / "model-fp32.graph"), normalize(pixels, demo.spec().preprocess)
    )
    right = int((logits.argmax(1) == labels).sum())
    assert (found.images, found.of) == (COUNT, COUNT)
    assert found.classes == len(set(labels.tolist()))
    assert [score.path for score in found.scores] == [FLOAT, "model-fp32.one", "model-fp32.two"]
    for score in found.scores:
        assert score.top1 == wilson(right, COUNT)
        assert score.top5 is not None
        assert score.top5.value >= score.top1.value
        assert score.seconds is not None
    assert found.scores[0].against_float is None
    assert found.scores[1].against_float == paired(np.zeros(COUNT, bool), np.zeros(COUNT, bool))
    assert objection(found) is None


def test_progress_comes_before_the_result(built: Path, photos: Path) -> None:
    events = list(evaluate(built, photos, fakes()))
    assert events[:-1] == [Seen(images=n, of=COUNT) for n in (16, 32, 40)]


def test_a_worse_artifact_is_told_from_chance(built: Path, photos: Path) -> None:
    found = result(built, photos, fakes(two=other_target("two", BackwardsRunner)))
    worse = found.scores[2].against_float
    assert worse is not None
    assert worse.high < 0
    assert worse.gained == 0
    assert worse.points == -100 * worse.lost / COUNT


def test_logits_that_are_no_numbers_are_wrong(built: Path, photos: Path) -> None:
    found = result(built, photos, fakes(two=other_target("two", NanRunner)))
    assert found.scores[2].top1 == found.scores[2].top5 == wilson(0, COUNT)


def test_what_cannot_run_here_says_why_and_is_no_failure(built: Path, photos: Path) -> None:
    found = result(built, photos, fakes(two=fake_target("two", cannot_run=True)))
    assert found.scores[2] == Score(path="model-fp32.two", reason="only fakes run this")
    assert found.scores[1].top1 is not None
    assert objection(found) is None
    one = {"one": fake_target("one", cannot_run=True)}
    assert isinstance(objection(result(built, photos, one)), UnsupportedError)


@pytest.mark.parametrize("early", [True, False])
def test_what_breaks_leaves_the_others(built: Path, photos: Path, early: bool) -> None:
    broken = fake_target("one", run_crashes=True) if early else other_target("one", BrokenRunner)
    found = result(built, photos, fakes(one=broken))
    assert found.scores[1].failed
    assert found.scores[1].reason == "ZeroDivisionError: out of cheese"
    assert found.scores[2].top1 == found.scores[0].top1
    error = objection(found)
    assert isinstance(error, ArtifactError)
    assert "model-fp32.one" in error.message


def test_one_artifact_is_compared_where_its_build_is(built: Path, photos: Path, tmp_path) -> None:
    found = result(built / "model-fp32.one", photos, fakes(), limit=10)
    assert [score.path for score in found.scores] == [FLOAT, "model-fp32.one"]
    shutil.copy(built / "model-fp32.one", tmp_path)
    with pytest.raises(ArtifactError, match="no preprocessing"):
        result(tmp_path / "model-fp32.one", photos, fakes())


def test_a_limit_takes_images_of_every_part(built: Path, photos: Path) -> None:
    found = result(built, photos, fakes(), limit=12)
    assert (found.images, found.of) == (12, COUNT)
    assert found.classes == 12
    assert result(built, photos, fakes(), limit=999).images == COUNT


def test_a_class_that_the_model_lacks_names_both(built: Path, photos: Path, tmp_path) -> None:
    data = Path(shutil.copytree(photos, tmp_path / "data"))
    (data / "car").rename(data / "cars")
    with pytest.raises(DataError, match=r"class 'cars' .* 24 labels: apple, ball") as caught:
        result(built, data, fakes())
    assert caught.value.hint == "did you mean 'car'?"


def test_a_model_without_labels_needs_data_of_every_class(built: Path, photos: Path, tmp_path):
    folder = Path(shutil.copytree(built, tmp_path / "build"))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["spec"]["labels"] = []
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="23 classes for a model of 24"):
        result(folder, photos_of(photos, tmp_path, 23), fakes())


def photos_of(photos: Path, tmp_path: Path, classes: int) -> Path:
    """A picture of each of the first classes."""
    picture = next(photos.rglob("*.png"))
    for label in demo.LABELS[:classes]:
        (tmp_path / "data" / label).mkdir(parents=True)
        shutil.copy(picture, tmp_path / "data" / label)
    return tmp_path / "data"


# --- the command


@pytest.fixture
def only_fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "_all_targets", fakes)


@pytest.mark.usefixtures("only_fakes")
def test_the_command_prints_a_row_per_model(built: Path, photos: Path) -> None:
    shown = invoke("evaluate", built, "--data", photos)
    assert shown.exit_code == 0, shown.output
    for expected in ("float model", "model-fp32.two", "40 images", "+0.0", "+0 -0", " to "):
        assert expected in shown.stdout
    quiet = invoke("evaluate", built, "--data", photos, "--limit", "4", "--quiet")
    assert (quiet.exit_code, quiet.output) == (0, "")


def test_a_terminal_shows_a_bar_and_loses_it(built: Path, photos: Path, monkeypatch) -> None:
    import io

    from exporter.ui.accuracy import follow

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    found = follow(stream, evaluate(built, photos, fakes()), quiet=False)
    assert found.images == COUNT
    assert f"/{COUNT}" in stream.getvalue()
    assert follow(Terminal(), evaluate(built, photos, fakes(), 4), quiet=True).images == 4


@pytest.mark.usefixtures("only_fakes")
def test_json_is_one_document(built: Path, photos: Path) -> None:
    found = invoke("evaluate", built, "--data", photos, "--limit", "20", "--json")
    evaluation = json.loads(found.stdout)["evaluation"]
    assert evaluation["images"] == 20
    first, second, _ = evaluation["scores"]
    assert first["path"] == "float model"
    assert second["against_float"]["points"] == 0.0
    assert second["top1"]["low"] < second["top1"]["value"] < second["top1"]["high"]


@pytest.mark.usefixtures("only_fakes")
def test_bad_input_has_its_exit_code(built: Path, photos: Path, tmp_path: Path) -> None:
    for arguments, code, text in [
        ((built, "--data", tmp_path), 4, "an empty folder"),
        ((built, "--data", tmp_path / "nowhere"), 4, "no such file or folder"),
        ((tmp_path, "--data", photos), 9, "no manifest.json here"),
        ((tmp_path / "x.one", "--data", photos), 9, "no such file"),
        ((built, "--data", photos, "--limit", "0"), 2, "limit"),
        ((built,), 2, "data"),
    ]:
        found = invoke("evaluate", *arguments)
        assert found.exit_code == code, found.output
        assert text in found.stderr


def test_a_broken_artifact_is_shown_and_is_an_error(built: Path, photos: Path, monkeypatch) -> None:
    monkeypatch.setattr(
        cli, "_all_targets", lambda: fakes(one=fake_target("one", run_crashes=True))
    )
    found = invoke("evaluate", built, "--data", photos, "--limit", "4")
    assert found.exit_code == 9
    assert "failed model-fp32.one: ZeroDivisionError: out of cheese" in found.stdout
    assert "model-fp32.two" in found.stdout
    document = json.loads(
        invoke("evaluate", built, "--data", photos, "--limit", "4", "--json").stdout
    )
    assert document["exit_code"] == 9
    assert document["evaluation"]["scores"][1]["failed"]


# --- intervals


def test_wilson_has_its_published_values() -> None:
    """Newcombe (1998), table I: 81 of 263, 15 of 148, 0 of 20 and 1 of 29."""
    for right, count, low, high in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ]:
        found = wilson(right, count)
        assert (round(found.low, 4), round(found.high, 4)) == (low, high)
        assert found.value == right / count
    assert wilson(20, 20).high == 1.0


def outcomes(gained: int, lost: int, both: int, neither: int) -> Paired:
    other = [False] * gained + [True] * lost + [True] * both + [False] * neither
    this = [True] * gained + [False] * lost + [True] * both + [False] * neither
    return paired(np.array(other), np.array(this))


def test_a_difference_rests_on_the_images_that_differ() -> None:
    found = outcomes(gained=12, lost=30, both=900, neither=58)
    assert (found.gained, found.lost) == (12, 30)
    assert found.points == pytest.approx(-1.8)
    # By hand: -18 / 1002 and 1.96 sqrt(43 - 324 / 1002) / 1002
    assert found.low == pytest.approx(
        100 * (-18 / 1002 - 1.96 * math.sqrt(42.6766) / 1002), abs=1e-3
    )
    assert found.high < 0
    nothing = outcomes(gained=0, lost=0, both=90, neither=10)
    assert nothing.points == 0.0
    assert nothing.high == -nothing.low == pytest.approx(196 / 102, abs=0.01)


def test_a_difference_is_covered_as_often_as_promised() -> None:
    """Among 2000 draws of 200 images with a true difference of two points."""
    random = np.random.Generator(np.random.PCG64(0))
    covered = 0
    for _ in range(2000):
        drawn = random.multinomial(200, [0.05, 0.07, 0.8, 0.08])
        found = outcomes(*(int(n) for n in drawn))
        covered += found.low <= -2.0 <= found.high
    assert 0.93 < covered / 2000 < 0.975
