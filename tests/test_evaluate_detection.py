"""How right detectors on disk are: COCO's figures, their intervals, and data that does not fit."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import invoke
from evaluated import build_fakes, fakes, result, scripted, with_nan
from fakes import fake_target
from object_data import (
    annotation,
    coco,
    coco_folder,
    save_picture,
    voc_list,
    voc_object,
    voc_xml,
)
from rich.console import Console
from test_average_precision import found, iou, scene, truth

from exporter import golden, run_commands
from exporter.detection.average_precision import mean_ap, per_class_ap
from exporter.detection.matches import average_precision, class_matches
from exporter.detection.records import Found, Objects
from exporter.errors import ArtifactError, DataError, UnsupportedError
from exporter.graph_file import load_graph
from exporter.intervals import RESAMPLES, mean_of_known, resampled, resamples
from exporter.preprocess import normalize
from exporter.rating import Labeled, rated
from exporter.scoring.evaluate import objection
from exporter.scoring.models import Golden
from exporter.scoring.records import FLOAT, Rating
from exporter.tasks import Task
from exporter.training.object_crops import prepare_objects
from exporter.training.objects import open_object_splits
from exporter.ui.scoring import print_scores
from exporter.verdicts import MeanAP

LABELS = ("background", "cat", "dog", "toothbrush")
BOX = (0.1, 0.1, 0.6, 0.6)  # of every object of `coco_folder`
ELSEWHERE = (0.7, 0.7, 0.9, 0.9)
DOG, BRUSH = 2, 3
COUNT = 12


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_fakes(tmp_path_factory.mktemp("builds"), Task.DETECTION, LABELS)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dogs on odd pictures, toothbrushes on even ones; no cat."""
    root = tmp_path_factory.mktemp("coco")
    coco_folder(root, "train2017", 3, seed=100)
    coco_folder(root, "val2017", COUNT)
    return root


def said(*categories: int, box: tuple[float, ...] = BOX) -> dict[str, np.ndarray]:
    """Detections of one picture, all in one place, of falling score."""
    rows = np.zeros((4, 6), np.float32)
    rows[:, 4] = -1.0
    for place, category in enumerate(categories):
        rows[place] = *box, 0.9 - 0.1 * place, category
    return {"detections": rows}


def is_on(index: int) -> int:
    return DOG if index % 2 else BRUSH


RIGHT = [said(is_on(i)) for i in range(COUNT)]
DOGS = [said(DOG) for _ in range(COUNT)]  # right on half of the pictures


# --- figures


def test_the_figures_are_those_of_the_graph_by_cocos_tools(built: Path, photos: Path) -> None:
    found = result(built, photos, fakes())
    assert (found.images, found.of, found.labeled, found.classes) == (COUNT, COUNT, COUNT, 2)
    assert [score.path for score in found.scores] == [FLOAT, "model-fp32.one", "model-fp32.two"]
    graph = load_graph(built / "model-fp32.graph")
    source = open_object_splits(photos, labels=LABELS).val
    seen = [
        prepare_objects(source.image(i), source.objects(i), graph.spec.preprocess, None)
        for i in range(COUNT)
    ]
    images = normalize(np.stack([pixels for pixels, _ in seen]), graph.spec.preprocess)
    labeled = Labeled(images=images, truth=[objects for _, objects in seen])
    expected = rated(lambda batch: golden.run_outputs(graph, batch), labeled, graph.spec)
    assert isinstance(expected, MeanAP)
    assert expected.map50 > 0
    for score in found.scores:
        assert score.figures["map50"].value == pytest.approx(expected.map50, abs=1e-12)
        assert score.figures["map"].value == pytest.approx(expected.map, abs=1e-12)
        assert score.seconds is not None
    assert objection(found) is None


def test_what_is_right_everywhere_is_100_percent_however_it_is_resampled(built, photos) -> None:
    one = result(built, photos, fakes(one=scripted("one", RIGHT))).scores[1]
    for name in ("map50", "map"):
        share = one.figures[name]
        assert (share.value, share.low, share.high) == pytest.approx((1.0, 1.0, 1.0))


def test_a_class_that_is_never_found_halves_the_mean(built, photos) -> None:
    found = result(built, photos, fakes(one=scripted("one", DOGS), two=scripted("two", RIGHT)))
    one = found.scores[1].figures["map50"]
    # Every picture has a dog by this, with equal scores in the pictures' order, the first wrong.
    dogs = np.mean([(i + 1) / (2 * i + 2) for i in range(COUNT // 2)])
    assert one.value == pytest.approx(dogs / 2, abs=0.01)
    assert 0 < one.low < one.value < one.high < 0.5


def test_the_difference_is_taken_on_the_same_resamples(built, photos, monkeypatch) -> None:
    """Of two models that say the same it is nothing, surely; of a worse one it is surely less."""
    one, two = scripted("one", DOGS), scripted("two", [*DOGS[:-1], said(DOG, box=ELSEWHERE)])
    monkeypatch.setattr(Golden, "results", one.backend.load(built / "model-fp32.one").results)
    found = result(built, photos, fakes(one=one, two=two))
    first, same, other = found.scores
    assert first.against_float == {}
    for name in ("map50", "map"):
        assert same.figures[name] == first.figures[name]
        unmoved = same.against_float[name]
        assert (unmoved.points, unmoved.low, unmoved.high) == (0.0, 0.0, 0.0)
        worse = other.against_float[name]
        assert worse.low < worse.points < min(0, worse.high)
        assert worse.points == pytest.approx(
            100 * (other.figures[name].value - first.figures[name].value)
        )
        spread = other.figures[name].high - other.figures[name].low
        assert worse.high - worse.low < 100 * spread


def test_equal_detections_are_matched_once(built, photos, monkeypatch) -> None:
    from exporter.scoring import objects

    matched = []
    monkeypatch.setattr(
        objects, "class_matches", lambda *given: matched.append(given) or class_matches(*given)
    )
    result(built, photos, fakes(one=scripted("one", RIGHT), two=scripted("two", RIGHT)))
    assert len(matched) == 2  # of the float model, and of both files


def test_the_same_data_gives_the_same_intervals(built, photos) -> None:
    first, again = (result(built, photos, fakes()) for _ in range(2))
    assert [s.figures for s in first.scores] == [s.figures for s in again.scores]


def test_a_limit_takes_images_of_every_part(built, photos) -> None:
    found = result(built, photos, fakes(one=scripted("one", RIGHT[::3])), limit=4)
    assert (found.images, found.of, found.labeled) == (4, COUNT, 4)
    assert found.scores[1].figures["map50"].value == pytest.approx(1.0)
    assert "intervals from 4 images are rough" in found.notes


def test_one_artifact_is_compared_where_its_build_is(built, photos) -> None:
    found = result(built / "model-fp32.two", photos, fakes(), limit=2)
    assert [score.path for score in found.scores] == [FLOAT, "model-fp32.two"]


# --- resampling


@pytest.mark.parametrize("seed", range(4))
def test_a_resample_has_the_figures_of_the_pictures_it_is_made_of(seed: int) -> None:
    """Computed by COCO's tools for pictures that are really there so often."""
    rng = np.random.default_rng(seed)
    classes, count = 4, 10
    guesses, truths = map(list, zip(*(scene(rng, classes) for _ in range(count)), strict=True))
    crowd = rng.random(count) < 0.4
    for index in np.flatnonzero(crowd):
        truths[index].ignored[: len(truths[index].ignored) // 2] = True
    drawn = np.concatenate(
        [np.ones((1, count), int), rng.multinomial(count, [1 / count] * count, 5)]
    )
    matches = class_matches(guesses, truths, classes)
    values = np.stack([average_precision(match, drawn) for match in matches], 1)
    for row, times in enumerate(drawn):
        chosen = np.repeat(np.arange(count), times)
        said, there = [guesses[i] for i in chosen], [truths[i] for i in chosen]
        expected = per_class_ap(said, there, classes)[1:]
        np.testing.assert_allclose(values[row, :, 0], expected, atol=1e-9, equal_nan=True)
        score = mean_ap(said, there, classes)
        assert mean_of_known(values[row].mean(1)) == pytest.approx(score.map, nan_ok=True)
        assert mean_of_known(values[row, :, 0]) == pytest.approx(score.map50, nan_ok=True)


def test_large_sets_are_resampled_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    guesses, truths = map(list, zip(*(scene(rng, 3) for _ in range(20)), strict=True))
    match, counts = class_matches(guesses, truths, 3)[0], resamples(20)
    whole = average_precision(match, counts)
    monkeypatch.setattr("exporter.detection.matches.MOST_CELLS", 100)
    np.testing.assert_array_equal(average_precision(match, counts), whole)


def test_a_class_without_objects_has_no_precision_and_one_without_detections_has_none() -> None:
    guesses, truths = [found((BOX, 1, 0.9))], [truth((BOX, 2))]
    matches = class_matches(guesses, truths, 4)
    counts = resamples(1)
    assert np.isnan(average_precision(matches[0], counts)).all()
    assert (average_precision(matches[1], counts) == 0.0).all()
    assert np.isnan(average_precision(matches[2], counts)).all()


def test_resamples_begin_with_the_set_itself() -> None:
    counts = resamples(7)
    assert counts.shape == (1 + RESAMPLES, 7)
    assert (counts[0] == 1).all()
    assert (counts.sum(1) == 7).all()
    assert np.array_equal(counts, resamples(7))


def scored(rng: np.random.Generator) -> tuple[Found, Objects]:
    """A scene whose detections score the higher the better they fit, more or less."""
    guess, there = scene(rng, 4)
    fits = [
        max(
            (iou(a, b) for b, c in zip(there.boxes, there.classes, strict=True) if c == k),
            default=0,
        )
        for a, k in zip(guess.boxes, guess.classes, strict=True)
    ]
    scores = np.array(fits, np.float32) + rng.normal(0, 0.25, len(fits)).astype(np.float32)
    return Found(boxes=guess.boxes, scores=scores, classes=guess.classes), there


@pytest.mark.slow
def test_intervals_hold_what_far_more_pictures_give() -> None:
    """Of 100 sets of 40 pictures at least 85: resamples of so few fall a little short of 95 %."""
    rng = np.random.default_rng(0)

    def figures(count: int, counts: np.ndarray) -> list[np.ndarray]:
        guesses, truths = map(list, zip(*(scored(rng) for _ in range(count)), strict=True))
        matches = class_matches(guesses, truths, 4)
        values = np.stack([average_precision(match, counts) for match in matches], 1)
        return [mean_of_known(values[..., 0]), mean_of_known(values.mean(2))]

    true = [float(values[0]) for values in figures(4000, np.ones((1, 4000), np.int32))]
    counts, held = resamples(40), np.zeros(2)
    for _ in range(100):
        intervals = [resampled(values) for values in figures(40, counts)]
        held += [i.low <= t <= i.high for i, t in zip(intervals, true, strict=True)]
    assert (held >= 85).all(), held


# --- the worst classes


def test_the_lowest_ap50_comes_first_with_every_artifacts_figure(built, photos, monkeypatch):
    brushes = [said(BRUSH if i % 2 == 0 and i < 6 else DOG) for i in range(COUNT)]
    perfect = scripted("two", RIGHT)
    backend = scripted("one", brushes).backend
    monkeypatch.setattr(Golden, "results", backend.load(built / "model-fp32.one").results)
    found = result(built, photos, fakes(two=perfect), worst=9)
    assert [one.label for one in found.worst] == ["toothbrush", "dog"]  # no cat to be judged by
    first = found.worst[0]
    assert (first.index, first.images, first.labeled) == (BRUSH, COUNT // 2, COUNT // 2)
    assert [score.path for score in first.scores] == [FLOAT, "model-fp32.one", "model-fp32.two"]
    assert first.scores[0].value == pytest.approx(51 / 101)  # half of them, none wrong
    assert first.scores[2].value == pytest.approx(1.0)
    assert len(result(built, photos, fakes(two=scripted("two", RIGHT)), worst=1).worst) == 1
    assert result(built, photos, fakes()).worst == ()


# --- which data


def test_the_validation_part_is_used_and_a_note_says_so(built, photos) -> None:
    assert f"evaluated on the validation part of {photos}" in result(built, photos, fakes()).notes
    file = photos / "annotations" / "instances_train2017.json"
    trained = result(built, file, fakes())
    assert (trained.images, trained.notes) == (3, ("intervals from 3 images are rough",))


@pytest.mark.parametrize(
    ("parts", "count", "word"),
    [(("train", "test"), 2, "test"), (("train", "valid", "test"), 3, "validation")],
)
def test_a_part_is_found_by_its_folder(built, tmp_path, parts, count, word) -> None:
    """As Roboflow exports; the test part where there is no other."""
    sizes = {"train": 4, "test": 2, "valid": 3}
    for part in parts:
        names = [save_picture(tmp_path / part / f"{i}.png", i).name for i in range(sizes[part])]
        boxes = [annotation(i, i, (4, 3, 20, 15)) for i in range(sizes[part])]
        coco(tmp_path / part / "_annotations.coco.json", names, boxes)
    found = result(built, tmp_path, fakes())
    assert found.images == count
    assert found.notes[0] == f"evaluated on the {word} part of {tmp_path}"
    assert result(built, tmp_path / "train", fakes()).images == 4


def test_a_validation_set_alone_is_enough(built, tmp_path) -> None:
    """COCO's annotations without the large training part."""
    coco_folder(tmp_path, "val2017", 2)
    assert result(built, tmp_path, fakes()).images == 2


def test_two_validation_sets_are_not_guessed_between(built, tmp_path) -> None:
    coco_folder(tmp_path, "val2014", 2)
    coco_folder(tmp_path, "val2017", 2)
    with pytest.raises(DataError, match=r"holds instances_val2014\.json, instances_val2017\.json"):
        result(built, tmp_path, fakes())


def voc(root: Path, lists: dict[str, list[str]], name: str = "dog") -> Path:
    """One object per picture that the lists name."""
    (root / "Annotations").mkdir(parents=True)
    for part, names in lists.items():
        voc_list(root, "Main", part, names)
        for number, picture in enumerate(names):
            save_picture(root / "JPEGImages" / f"{picture}.jpg", number)
            text = voc_xml(voc_object(name, (5, 4, 24, 18)))
            (root / "Annotations" / f"{picture}.xml").write_text(text)
    return root


@pytest.mark.parametrize("held", ["val", "test"])
def test_pascal_voc_is_evaluated_on_the_list_that_is_held_out(built, tmp_path, held) -> None:
    root = voc(tmp_path / "VOC2007", {"train": ["a", "b", "c"], held: ["d", "e"]})
    for path in (root, tmp_path):
        found = result(built, path, fakes(one=scripted("one", [said(DOG), said(DOG)])))
        assert (found.images, found.labeled) == (2, 2)
        assert found.scores[1].figures["map50"].value == pytest.approx(1.0)
    listed = root / "ImageSets" / "Main" / "train.txt"
    assert result(built, listed, fakes()).images == 3


def test_without_lists_all_of_voc_is_evaluated(built, tmp_path) -> None:
    root = voc(tmp_path / "VOC2007", {"train": ["a", "b"]})
    shutil.rmtree(root / "ImageSets")
    assert result(built, root, fakes()).images == 2


# --- classes


def test_a_class_that_the_model_lacks_names_both(built, photos, tmp_path) -> None:
    names = [save_picture(tmp_path / f"{i}.png", i).name for i in range(2)]
    boxes = [annotation(i, i, (4, 3, 20, 15), 7) for i in range(2)]
    file = coco(tmp_path / "a.json", names, boxes, categories=[{"id": 7, "name": "dogs"}])
    with pytest.raises(DataError, match=r"class 'dogs' is none of .* 3 labels: cat, dog") as caught:
        result(built, file, fakes())
    assert caught.value.hint == "did you mean 'dog'?"
    unused = [{"id": 7, "name": "dogs"}, {"id": 18, "name": "dog"}]
    boxes = [annotation(i, i, (4, 3, 20, 15), 18) for i in range(2)]
    file = coco(tmp_path / "b.json", names, boxes, categories=unused)
    assert result(built, file, fakes()).classes == 1


def with_labels(built: Path, folder: Path, labels: list[str]) -> Path:
    """The build as it would be of a model that came with other labels, or with none."""
    shutil.copytree(built, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["spec"]["labels"] = labels
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_a_label_of_two_classes_is_refused(built, photos, tmp_path) -> None:
    folder = with_labels(built, tmp_path / "build", ["background", "dog", "dog", "toothbrush"])
    with pytest.raises(DataError, match=r"class 'dog' may be any of the model's classes 1, 2"):
        result(folder, photos, fakes())


def test_a_model_without_labels_needs_data_of_every_class(built, photos, tmp_path) -> None:
    folder = with_labels(built, tmp_path / "build", [])
    with pytest.raises(DataError, match="2 classes for a model of 3, which came without labels"):
        result(folder, photos, fakes())
    names = [save_picture(tmp_path / f"{i}.png", i).name for i in range(2)]
    boxes = [annotation(i, i, (4, 3, 20, 15), 2) for i in range(2)]
    three = [{"id": i, "name": name} for i, name in enumerate(("ant", "bee", "cow"), 1)]
    file = coco(tmp_path / "a.json", names, boxes, categories=three)
    found = result(folder, file, fakes(one=scripted("one", [said(2), said(2)])), worst=1)
    assert found.scores[1].figures["map50"].value == pytest.approx(1.0)
    assert found.worst[0].label == "class 2"


# --- what does not run


def test_results_that_are_no_numbers_are_a_failure_of_their_file(built, photos) -> None:
    found = result(built, photos, fakes(two=with_nan("two")))
    broken = found.scores[2]
    assert broken == Rating(
        path="model-fp32.two", reason="gives scores that are no numbers (NaN)", failed=True
    )
    assert found.scores[1].figures == found.scores[0].figures
    error = objection(found)
    assert isinstance(error, ArtifactError)
    assert "model-fp32.two" in error.message


def test_what_cannot_run_here_says_why_and_is_no_failure(built, photos) -> None:
    silent = {name: fake_target(name, cannot_run=True) for name in ("one", "two")}
    found = result(built, photos, fakes(two=silent["two"]), limit=2)
    assert found.scores[2] == Rating(path="model-fp32.two", reason="only fakes run this")
    assert objection(found) is None
    assert isinstance(objection(result(built, photos, silent, limit=2)), UnsupportedError)


def test_an_artifact_that_is_of_another_task_breaks_alone(built, photos) -> None:
    other = scripted("one", [{"logits": np.zeros(4, np.float32)}] * COUNT)
    row = result(built, photos, fakes(one=other)).scores[1]
    assert (row.failed, row.reason) == (True, "no detections in the outputs logits")


# --- the command


@pytest.fixture
def only_fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_commands, "all_targets", lambda: fakes(one=scripted("one", RIGHT)))


@pytest.mark.usefixtures("only_fakes")
def test_the_command_prints_a_row_per_model(built, photos) -> None:
    shown = invoke("evaluate", built, "--data", photos, "--worst", "1")
    assert shown.exit_code == 0, shown.output
    for expected in (
        f"{COUNT} images, {COUNT} objects of 2 classes",
        "mAP50, 95 %",
        "mAP, 95 %",
        "ms/image",
        "(100.0 to 100.0)",
        "1000 resamples",
        "The 1 class with the lowest AP50 of the float model",
    ):
        assert expected in shown.stdout
    quiet = invoke("evaluate", built, "--data", photos, "--limit", "4", "--quiet")
    assert (quiet.exit_code, quiet.output) == (0, "")


@pytest.mark.parametrize(("width", "below"), [(200, False), (79, True)])
def test_an_interval_goes_below_its_figure_where_there_is_no_room(
    built, photos, width, below
) -> None:
    found = result(built, photos, fakes(one=scripted("one", RIGHT)))
    console = Console(file=io.StringIO(), width=width)
    print_scores(console, found)
    shown = console.file.getvalue()
    assert ("100.0% (100.0 to 100.0)" in shown) is not below
    assert "(100.0 to 100.0)" in shown
    assert "…" not in shown


@pytest.mark.usefixtures("only_fakes")
def test_json_is_one_document_of_numbers(built, photos) -> None:
    shown = invoke("evaluate", built, "--data", photos, "--worst", "2", "--json")
    document = json.loads(shown.stdout, parse_constant=lambda name: pytest.fail(name))
    evaluation = document["evaluation"]
    assert (evaluation["task"], evaluation["labeled"]) == ("detection", COUNT)
    first, second, _ = evaluation["scores"]
    assert (first["path"], first["against_float"]) == (FLOAT, {})
    assert second["figures"]["map"]["value"] == pytest.approx(1.0)
    assert second["against_float"]["map50"]["points"] > 0
    assert len(evaluation["worst"]) == 2


def test_without_cocos_tools_it_is_one_line(built, photos, monkeypatch) -> None:
    import exporter.coco_tools

    monkeypatch.setattr(run_commands, "all_targets", fakes)
    monkeypatch.setattr(exporter.coco_tools.importlib.util, "find_spec", lambda _: None)
    found = invoke("evaluate", built, "--data", photos)
    assert found.exit_code == 6
    assert "COCO's mean average precision needs the package pycocotools" in found.stderr
    assert "pip install 'mnv2-export[coco]'" in found.stderr
    assert "Traceback" not in found.output


@pytest.mark.usefixtures("only_fakes")
def test_bad_data_has_its_exit_code(built, photos, tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "yolo").mkdir()
    (tmp_path / "yolo" / "data.yaml").write_text("names: [dog]")
    picture = save_picture(tmp_path / "0.png")
    nothing = coco(tmp_path / "nothing.json", [picture.name])
    outside = coco(tmp_path / "far.json", [picture.name], [annotation(1, 0, (90, 90, 5, 5))])
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    for data, text in [
        (tmp_path / "empty", "not a data set of labeled pictures"),
        (tmp_path / "nowhere", "no such file or folder"),
        (tmp_path / "yolo", "YOLO's text format is not read"),
        (nothing, "no labeled object to evaluate on"),
        (outside, "no labeled object to evaluate on"),
        (broken, "not JSON"),
    ]:
        shown = invoke("evaluate", built, "--data", data)
        assert shown.exit_code == 4, shown.output
        assert text in shown.stderr
        assert "Traceback" not in shown.output
