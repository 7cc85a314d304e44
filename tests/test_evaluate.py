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
from odd_images import write_odd_images, write_turned
from PIL import Image

from exporter import demo, golden, run_commands
from exporter.errors import ArtifactError, DataError, UnsupportedError
from exporter.graph_file import load_graph
from exporter.intervals import Paired, paired, wilson
from exporter.pipeline import BuildRequest, build, jobs_for
from exporter.preprocess import normalize
from exporter.reference import Request
from exporter.scoring.evaluate import evaluate, objection
from exporter.scoring.records import FLOAT, ClassEvaluation, Score, Seen
from exporter.spec import Precision
from exporter.target import Runner, Target
from exporter.worst import NO_GUESS, ClassScore, Mistake, worst_classes

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


def result(
    path: Path, data: Path, targets: Targets, limit: int | None = None, worst: int = 0
) -> ClassEvaluation:
    *_, last = evaluate(path, data, targets, limit, worst)
    assert isinstance(last, ClassEvaluation)
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


def with_labels(built: Path, folder: Path, labels: list[str]) -> Path:
    """The build as it would be of a model that came with other labels, or with none."""
    shutil.copytree(built, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["spec"]["labels"] = labels
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_a_model_without_labels_needs_data_of_every_class(built: Path, photos: Path, tmp_path):
    folder = with_labels(built, tmp_path / "build", [])
    with pytest.raises(DataError, match="23 classes for a model of 24, which came without labels"):
        result(folder, photos_of(photos, tmp_path, 23), fakes())
    for label in ("zebra", "zoo"):
        shutil.copytree(tmp_path / "data" / demo.LABELS[0], tmp_path / "data" / label)
    with pytest.raises(DataError, match="25 classes for a model of 24"):
        result(folder, tmp_path / "data", fakes())


def test_more_folders_than_classes_names_the_first_that_is_none(built, photos, tmp_path) -> None:
    data = photos_of(photos, tmp_path, 24)
    shutil.copytree(data / demo.LABELS[0], data / "zebra")
    with pytest.raises(DataError, match=r"class 'zebra' .* 24 labels"):
        result(built, data, fakes())


def test_one_class_is_enough_to_be_counted(built: Path, photos: Path, tmp_path: Path) -> None:
    label = demo.LABELS[3]
    shutil.copytree(photos / label, tmp_path / "data" / label)
    found = result(built, tmp_path / "data", fakes(), worst=5)
    assert found.classes == len(found.worst) == 1
    assert found.worst[0].label == label


def test_a_label_of_two_outputs_is_refused_unless_named_by_number(built, photos, tmp_path) -> None:
    labels = [*demo.LABELS[:-1], demo.LABELS[0]]
    folder = with_labels(built, tmp_path / "build", labels)
    data = photos_of(photos, tmp_path, 1)
    with pytest.raises(DataError, match=r"class 'apple' may be any of .* outputs 0, 23") as caught:
        result(folder, data, fakes())
    assert "number of the output" in caught.value.hint
    (data / "apple").rename(data / "23")
    assert result(folder, data, fakes(), worst=1).worst[0].index == 23


def test_two_names_of_one_output_are_refused(built: Path, photos: Path, tmp_path: Path) -> None:
    data = photos_of(photos, tmp_path, 2)
    shutil.copytree(data / "ball", data / "0")
    with pytest.raises(DataError, match=r"classes '0' and 'apple' are the same output .* 'apple'"):
        result(built, data, fakes())


class SeeingRunner(FakeRunner):
    """Keeps what it was given."""

    def __call__(self, images: np.ndarray) -> np.ndarray:
        seen.extend(images)
        return super().__call__(images)


seen: list[np.ndarray] = []


def test_odd_images_are_read_in_their_colors_and_upright(built: Path, tmp_path: Path) -> None:
    colors = write_odd_images(tmp_path / "apple")
    twins = write_turned(tmp_path / "ball")
    seen.clear()
    found = result(built, tmp_path, fakes(one=other_target("one", SeeingRunner)))
    assert found.notes == ()
    contract = demo.spec().preprocess
    names = [*sorted(colors), *sorted(twins)]
    images = dict(zip(names, seen, strict=True))
    for name, color in colors.items():
        even = np.full((1, contract.crop_size, contract.crop_size, 3), color, np.uint8)
        assert np.array_equal(images[name], normalize(even, contract)[0]), name
    assert np.array_equal(images["turned.png"], images["upright.png"])
    above, below = images["upright.png"][:, 5, 48], images["upright.png"][:, -5, 48]
    assert above[2] > below[2]  # blue
    assert above[0] < below[0]  # red


def photos_of(photos: Path, tmp_path: Path, classes: int) -> Path:
    """A picture of each of the first classes."""
    picture = next(photos.rglob("*.png"))
    for label in demo.LABELS[:classes]:
        (tmp_path / "data" / label).mkdir(parents=True)
        shutil.copy(picture, tmp_path / "data" / label)
    return tmp_path / "data"


# --- the worst classes


def answers(*pairs: tuple[int, int]) -> np.ndarray:
    """So many answers of each class."""
    return np.concatenate([np.full(count, index) for index, count in pairs])


def test_the_lowest_top1_comes_first_and_names_what_it_was_taken_for() -> None:
    """Counted by hand: class 2 is never right, 0 half, 3 also but on fewer images, 1 always."""
    labels = answers((0, 8), (1, 3), (2, 4), (3, 2))
    first = answers((0, 4), (1, 1), (3, 3), (1, 3), (NO_GUESS, 3), (0, 1), (3, 1), (0, 1))
    second = labels.copy()
    found = worst_classes({"first": first, "second": second}, labels, demo.spec(), 3)
    assert [(one.index, one.label, one.images) for one in found] == [
        (2, demo.LABELS[2], 4),
        (0, demo.LABELS[0], 8),
        (3, demo.LABELS[3], 2),
    ]
    assert [one.scores[0] for one in found] == [
        ClassScore(
            path="first",
            top1=wilson(0, 4),
            taken_for=Mistake(index=None, label="no number", images=3),
        ),
        ClassScore(
            path="first",
            top1=wilson(4, 8),
            taken_for=Mistake(index=3, label=demo.LABELS[3], images=3),
        ),
        ClassScore(
            path="first",
            top1=wilson(1, 2),
            taken_for=Mistake(index=0, label=demo.LABELS[0], images=1),
        ),
    ]
    perfect = ClassScore(path="second", top1=wilson(4, 4), taken_for=None)
    assert found[0].scores[1] == perfect
    everything = worst_classes({"first": first}, labels, demo.spec(), 99)
    assert [one.index for one in everything] == [2, 0, 3, 1]


def test_the_worst_add_up_to_the_accuracy(built: Path, photos: Path) -> None:
    found = result(built, photos, fakes(two=other_target("two", BackwardsRunner)), worst=99)
    assert len(found.worst) == found.classes
    assert sum(one.images for one in found.worst) == found.images
    shares = [one.scores[0].top1.value for one in found.worst]
    assert shares == sorted(shares)
    for position, score in enumerate(found.scores):
        assert [one.scores[position].path for one in found.worst] == [score.path] * found.classes
        right = sum(one.images * one.scores[position].top1.value for one in found.worst)
        assert score.top1 is not None
        assert round(right) == round(found.images * score.top1.value)
    assert result(built, photos, fakes()).worst == ()


def test_the_worst_leave_out_what_does_not_run(built: Path, photos: Path) -> None:
    found = result(built, photos, fakes(one=other_target("one", BrokenRunner)), worst=1)
    assert [score.path for score in found.worst[0].scores] == [FLOAT, "model-fp32.two"]


def test_the_worst_of_a_model_without_labels_are_numbered(built, photos, tmp_path) -> None:
    """One picture in every class: all but one class are wrong, and taken for that one."""
    folder = with_labels(built, tmp_path / "build", [])
    found = result(folder, photos_of(photos, tmp_path, 24), fakes(), worst=23)
    assert {one.label for one in found.worst} == {f"class {one.index}" for one in found.worst}
    (taken,) = {one.scores[0].taken_for for one in found.worst}
    assert taken is not None
    assert (taken.label, taken.images) == (f"class {taken.index}", 1)
    assert taken.index not in {one.index for one in found.worst}


# --- the command


@pytest.fixture
def only_fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_commands, "all_targets", fakes)


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

    from exporter.ui.scoring import follow

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
def test_the_command_shows_the_worst_classes_when_asked(built: Path, photos, tmp_path) -> None:
    data = photos_of(photos, tmp_path, 3)
    plain = invoke("evaluate", built, "--data", data)
    assert "lowest top-1" not in plain.stdout
    shown = invoke("evaluate", built, "--data", data, "--worst", "2")
    assert shown.exit_code == 0, shown.output
    for expected in (
        "The 2 classes with the lowest top-1 of the float model",
        "most often taken for",
        "0.0% (0.0 to 79.3)",
        "(1)",
    ):
        assert expected in shown.stdout
    document = json.loads(invoke("evaluate", built, "-d", data, "--worst", "2", "--json").stdout)
    worst = document["evaluation"]["worst"]
    assert [one["images"] for one in worst] == [1, 1]
    first = worst[0]["scores"][0]
    assert first["path"] == FLOAT
    assert first["top1"]["value"] == 0.0
    assert first["taken_for"]["label"] in demo.LABELS
    assert (
        json.loads(invoke("evaluate", built, "-d", data, "--json").stdout)["evaluation"]["worst"]
        == []
    )


@pytest.mark.usefixtures("only_fakes")
def test_bad_input_has_its_exit_code(built: Path, photos: Path, tmp_path_factory) -> None:
    tmp_path, loose, foreign, damaged = (tmp_path_factory.mktemp("data") for _ in range(4))
    picture = next(photos.rglob("*.png"))
    shutil.copy(picture, loose)
    (foreign / "zebra").mkdir()
    shutil.copy(picture, foreign / "zebra")
    (damaged / "apple").mkdir()
    (damaged / "apple" / "a.png").write_bytes(picture.read_bytes()[:99])
    for arguments, code, text in [
        ((built, "--data", tmp_path), 4, "an empty folder"),
        ((built, "--data", tmp_path / "nowhere"), 4, "no such file or folder"),
        ((tmp_path, "--data", photos), 9, "no manifest.json here"),
        ((tmp_path / "x.one", "--data", photos), 9, "no such file"),
        ((built, "--data", photos, "--limit", "0"), 2, "limit"),
        ((built, "--data", photos, "--worst", "0"), 2, "worst"),
        ((built, "--data", loose), 4, "1 images lie in the folder itself"),
        ((built, "--data", foreign), 4, "class 'zebra'"),
        ((built, "--data", damaged), 4, "1 of 1 images cannot be read"),
        ((built,), 2, "data"),
    ]:
        found = invoke("evaluate", *arguments)
        assert found.exit_code == code, found.output
        assert text in found.stderr
        assert "Traceback" not in found.output


def test_a_broken_artifact_is_shown_and_is_an_error(built: Path, photos: Path, monkeypatch) -> None:
    monkeypatch.setattr(
        run_commands, "all_targets", lambda: fakes(one=fake_target("one", run_crashes=True))
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
