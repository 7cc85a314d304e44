"""How right segmenters on disk are: mean IoU, right pixels, their intervals, and other data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from conftest import invoke
from evaluated import build_fakes, fakes, result, scripted, with_nan
from object_data import HEIGHT, WIDTH, annotation, coco, save_mask, save_picture, voc_list
from PIL import Image

from exporter import golden, run_commands
from exporter.errors import DataError
from exporter.graph_file import load_graph
from exporter.intervals import mean_of_known, resampled, resamples
from exporter.outputs import Outputs
from exporter.preprocess import normalize
from exporter.rating import Labeled, rated
from exporter.scoring.evaluate import objection
from exporter.scoring.judge import batch_of
from exporter.scoring.models import Golden
from exporter.scoring.records import FLOAT, Rating
from exporter.scoring.regions import intersection_over_union, resampled_pixels, right_pixels
from exporter.segmentation import IGNORED, Confusion
from exporter.tasks import Task
from exporter.training.object_crops import prepare_mask
from exporter.verdicts import MeanIoU

LABELS = ("background", "cat", "dog", "toothbrush")
CAT, DOG = 1, 2
COUNT, SIDE = 10, 65


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_fakes(tmp_path_factory.mktemp("builds"), Task.SEGMENTATION, LABELS)


def half_and_half(index: int, left: int = 0) -> np.ndarray:
    """Right of the middle a cat on even pictures, a dog on odd ones."""
    mask = np.full((HEIGHT, WIDTH), left, np.uint8)
    mask[:, WIDTH // 2 :] = DOG if index % 2 else CAT
    return mask


def mask_folder(root: Path, part: str = "", count: int = COUNT, names: str = "") -> Path:
    for index in range(count):
        save_picture(root / part / "images" / f"{index}.png", index)
        save_mask(root / part / "masks" / f"{index}.png", half_and_half(index), palette=False)
    if names:
        (root / "labels.txt").write_text(names)
    return root


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mask_folder(tmp_path_factory.mktemp("masks"), names="background\ncat\ndog\n")


def shown(photos: Path, index: int, built: Path) -> tuple[np.ndarray, np.ndarray]:
    """By the contract."""
    contract = load_graph(built / "model-fp32.graph").spec.preprocess
    image = Image.open(photos / "images" / f"{index}.png").convert("RGB")
    return prepare_mask(image, half_and_half(index), contract, None)


def saying(labels: np.ndarray) -> Mapping[str, np.ndarray]:
    return {"labels": labels.astype(np.uint8)}


@pytest.fixture(scope="module")
def right(built: Path, photos: Path) -> list[Mapping[str, np.ndarray]]:
    return [saying(shown(photos, i, built)[1]) for i in range(COUNT)]


# --- figures


@pytest.mark.parametrize("outputs", [Outputs.LOGITS, Outputs.LOWRES_LOGITS, Outputs.LABELS])
def test_the_figures_are_those_of_the_graph(photos, tmp_path, outputs) -> None:
    built = build_fakes(tmp_path, Task.SEGMENTATION, LABELS, outputs)
    found = result(built, photos, fakes())
    graph = load_graph(built / "model-fp32.graph")
    pixels, masks = zip(*(shown(photos, i, built) for i in range(COUNT)), strict=True)
    labeled = Labeled(
        images=normalize(np.stack(pixels), graph.spec.preprocess), truth=np.stack(masks)
    )
    expected = rated(lambda batch: golden.run_outputs(graph, batch), labeled, graph.spec)
    assert isinstance(expected, MeanIoU)
    assert 0 < expected.miou < 1
    for score in found.scores:
        assert score.figures["miou"].value == pytest.approx(expected.miou, abs=1e-12)
        assert score.figures["pixels"].value == pytest.approx(expected.pixels, abs=1e-12)
    assert (found.images, found.classes, found.labeled) == (COUNT, 3, COUNT * SIDE * SIDE)
    assert objection(found) is None


def test_what_is_right_everywhere_is_100_percent_however_it_is_resampled(built, photos, right):
    one = result(built, photos, fakes(one=scripted("one", right))).scores[1]
    for name in ("miou", "pixels"):
        share = one.figures[name]
        assert (share.value, share.low, share.high) == (1.0, 1.0, 1.0)


def test_the_difference_is_taken_on_the_same_resamples(built, photos, right, monkeypatch) -> None:
    """Of one that takes a single dog for a cat it is for the worse, but not surely."""
    wrong = [*right[:-1], saying(np.where(right[-1]["labels"] == DOG, CAT, 0))]
    one, two = scripted("one", right), scripted("two", wrong)
    monkeypatch.setattr(Golden, "results", one.backend.load(built / "model-fp32.one").results)
    _, same, other = result(built, photos, fakes(one=one, two=two)).scores
    for name in ("miou", "pixels"):
        unmoved, worse = same.against_float[name], other.against_float[name]
        assert (unmoved.points, unmoved.low, unmoved.high) == (0.0, 0.0, 0.0)
        assert worse.low < worse.points < min(0, worse.high)
        assert worse.points == pytest.approx(100 * (other.figures[name].value - 1))


def test_a_resample_has_the_figures_of_the_pictures_it_is_made_of() -> None:
    """Counted by one confusion matrix of pictures that are really there so often."""
    rng = np.random.default_rng(0)
    truths, guesses = rng.integers(0, 5, (2, 6, 9, 9))
    truths[rng.random(truths.shape) < 0.1] = IGNORED
    truths[truths == 4] = 3  # a class that is only predicted
    of_images = []
    for truth, guess in zip(truths, guesses, strict=True):
        one = Confusion(6)
        one.add(guess, truth)
        of_images.append(np.stack([one.counts.diagonal(), one.counts.sum(1), one.counts.sum(0)]))
    drawn = np.concatenate([np.ones((1, 6), int), rng.multinomial(6, [1 / 6] * 6, 5)])
    sums = resampled_pixels(of_images, drawn)
    for row, times in enumerate(drawn):
        together = Confusion(6)
        for index in np.repeat(np.arange(6), times):
            together.add(guesses[index], truths[index])
        np.testing.assert_array_equal(intersection_over_union(sums)[row], together.iou())
        assert mean_of_known(intersection_over_union(sums))[row] == together.mean_iou()
        assert right_pixels(sums)[row] == together.pixel_accuracy()


def test_intervals_hold_what_far_more_pictures_give() -> None:
    """Of 300 sets of 40 pictures at least 260: resamples of so few fall a little short of 95 %."""
    rng = np.random.default_rng(0)

    def pictures(count: int) -> list[np.ndarray]:
        """A rare class and a frequent one; how well they are told differs between pictures."""
        true = np.stack([rng.integers(1, 90, count), np.full(count, 400)], 1)
        hits = (true * rng.beta([2, 6], [2, 2], (count, 2))).astype(np.int64)
        said = hits + (true - hits)[:, ::-1]
        return list(np.stack([hits, true, said], 1))

    def figures(count: int, counts: np.ndarray) -> list[np.ndarray]:
        sums = resampled_pixels(pictures(count), counts)
        return [mean_of_known(intersection_over_union(sums)), right_pixels(sums)]

    true = [float(values[0]) for values in figures(100_000, np.ones((1, 100_000)))]
    counts, held = resamples(40), np.zeros(2)
    for _ in range(300):
        intervals = [resampled(values) for values in figures(40, counts)]
        held += [i.low <= t <= i.high for i, t in zip(intervals, true, strict=True)]
    assert (held >= 260).all(), held


def test_pictures_without_labels_count_for_nothing() -> None:
    blank, full = np.zeros((3, 2), np.int64), np.array([[1, 0], [2, 0], [1, 1]])
    counts = resamples(2)
    values = right_pixels(resampled_pixels([blank, full], counts))
    assert np.isnan(values[counts[:, 1] == 0]).all()
    assert (values[counts[:, 1] > 0] == 0.5).all()


@pytest.mark.parametrize(("side", "images"), [(65, 16), (225, 15), (513, 3), (2017, 1)])
def test_larger_images_go_through_in_smaller_batches(side: int, images: int) -> None:
    assert batch_of(side) == images


# --- the worst classes


def test_the_lowest_iou_comes_first_and_names_what_it_was_taken_for(
    built, photos, right, monkeypatch
) -> None:
    """Every dog is a toothbrush, which the masks do not show."""
    brushes = [saying(np.where(one["labels"] == DOG, 3, one["labels"])) for one in right]
    one = scripted("one", brushes)
    monkeypatch.setattr(Golden, "results", one.backend.load(built / "model-fp32.one").results)
    found = result(built, photos, fakes(one=one, two=scripted("two", right)), worst=3)
    assert [each.label for each in found.worst] == ["dog", "toothbrush", "background"]
    dog, brush, _ = found.worst
    assert (dog.images, dog.labeled) == (COUNT // 2, COUNT // 2 * SIDE * (SIDE // 2 + 1))
    first, _, last = dog.scores
    assert (first.path, first.value) == (FLOAT, 0.0)
    assert first.taken_for is not None
    assert (first.taken_for.label, first.taken_for.share) == ("toothbrush", 1.0)
    assert (last.value, last.taken_for) == (1.0, None)
    assert (brush.images, brush.labeled) == (0, 0)
    assert [score.value for score in brush.scores] == [0.0, 0.0, None]


# --- which data


def test_the_validation_part_is_used_and_a_note_says_so(built, tmp_path) -> None:
    mask_folder(tmp_path, "train", 4)
    mask_folder(tmp_path, "val", 3)
    found = result(built, tmp_path, fakes())
    assert found.images == 3
    assert found.notes[0] == f"evaluated on the validation part of {tmp_path}"
    assert result(built, tmp_path / "train", fakes()).images == 4


def test_the_folders_may_hold_the_parts(built, tmp_path) -> None:
    for part, count in (("train", 3), ("test", 2)):
        for index in range(count):
            save_picture(tmp_path / "images" / part / f"{index}.png", index)
            save_mask(tmp_path / "masks" / part / f"{index}.png", half_and_half(index))
    found = result(built, tmp_path, fakes())
    assert (found.images, found.notes[0]) == (2, f"evaluated on the test part of {tmp_path}")


def test_pascal_voc_is_evaluated_on_its_validation_list(built, tmp_path) -> None:
    """VOC's own values: 8 is a cat there; what its border is, nobody says."""
    root = tmp_path / "VOC2012"
    for part, names in (("train", ["a", "b"]), ("val", ["c"])):
        voc_list(root, "Segmentation", part, names)
        for name in names:
            save_picture(root / "JPEGImages" / f"{name}.jpg", ord(name))
            mask = np.zeros((HEIGHT, WIDTH), np.uint8)
            mask[:, : WIDTH // 2], mask[:, -WIDTH // 4 :] = 8, IGNORED
            save_mask(root / "SegmentationClass" / f"{name}.png", mask)
    cats = np.zeros((SIDE, SIDE), np.uint8)
    cats[:, : SIDE // 2] = CAT
    found = result(built, root, fakes(one=scripted("one", [saying(cats)])))
    assert (found.images, found.classes) == (1, 2)
    assert 0.7 * SIDE**2 < found.labeled < 0.8 * SIDE**2
    assert found.scores[1].figures["pixels"].value > 0.95


def test_coco_polygons_are_painted(built, tmp_path) -> None:
    names = [save_picture(tmp_path / "0.png").name]
    polygon = [[0, 0, WIDTH, 0, WIDTH, HEIGHT, 0, HEIGHT]]
    shape = annotation(1, 0, (0, 0, WIDTH, HEIGHT), segmentation=polygon)
    file = coco(tmp_path / "a.json", names, [shape])
    dogs = saying(np.full((SIDE, SIDE), DOG))
    found = result(built, file, fakes(one=scripted("one", [dogs])))
    assert found.classes == 1
    assert found.scores[1].figures["miou"].value == 1.0


def test_a_class_that_the_model_lacks_names_both(built, tmp_path) -> None:
    folder = mask_folder(tmp_path, count=2, names="background\ncat\ndogs\n")
    with pytest.raises(DataError, match=r"class 'dogs' is none of .* 3 labels: cat, dog") as caught:
        result(built, folder, fakes())
    assert caught.value.hint == "did you mean 'dog'?"
    (tmp_path / "labels.txt").write_text("background\ncat\ndog\nzebra\n")
    assert result(built, folder, fakes()).classes == 3  # no mask shows a zebra


def test_values_without_names_are_the_models_classes(built, tmp_path, right) -> None:
    folder = mask_folder(tmp_path, count=2)
    found = result(built, folder, fakes(one=scripted("one", right)))
    assert found.scores[1].figures["miou"].value == 1.0
    save_mask(tmp_path / "masks" / "1.png", np.full((HEIGHT, WIDTH), 9), palette=False)
    with pytest.raises(DataError, match=r"1\.png: value 9 is no class, there are 0 to 3"):
        result(built, folder, fakes())


# --- what does not run, and the command


def test_results_that_are_no_numbers_are_a_failure_of_their_file(built, photos) -> None:
    found = result(built, photos, fakes(two=with_nan("two")))
    assert found.scores[2] == Rating(
        path="model-fp32.two", reason="gives logits that are no numbers (NaN)", failed=True
    )
    assert found.scores[1].figures == found.scores[0].figures


def test_labels_of_another_size_are_a_failure_of_their_file(built, photos) -> None:
    small = scripted("one", [saying(np.zeros((9, 9)))] * COUNT)
    row = result(built, photos, fakes(one=small)).scores[1]
    assert (row.failed, row.reason) == (True, "gives labels (10, 9, 9) for 10 images of 65 px")


def test_the_command_prints_a_row_per_model(built, photos, right, monkeypatch) -> None:
    monkeypatch.setattr(run_commands, "all_targets", lambda: fakes(one=scripted("one", right)))
    found = invoke("evaluate", built, "--data", photos, "--worst", "2")
    assert found.exit_code == 0, found.output
    for expected in (
        f"{COUNT} images of 3 classes",
        "mIoU, 95 %",
        "pixels, 95 %",
        "(100.0 to 100.0)",
        "The 2 classes with the lowest IoU of the float model",
        "most often taken for",
    ):
        assert expected in found.stdout
    document = json.loads(
        invoke("evaluate", built, "--data", photos, "--worst", "4", "--json").stdout,
        parse_constant=lambda name: pytest.fail(name),
    )
    evaluation = document["evaluation"]
    assert evaluation["task"] == "segmentation"
    assert evaluation["scores"][1]["figures"]["miou"]["value"] == 1.0
    assert evaluation["scores"][1]["against_float"]["pixels"]["points"] > 0


def test_bad_data_has_its_exit_code(built, photos, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(run_commands, "all_targets", fakes)
    colors, blank, sizes = (mask_folder(tmp_path / n, count=1) for n in ("c", "b", "s"))
    Image.new("RGB", (WIDTH, HEIGHT)).save(colors / "masks" / "0.png")
    save_mask(blank / "masks" / "0.png", np.zeros((HEIGHT, WIDTH)), palette=False)
    save_mask(sizes / "masks" / "0.png", np.ones((9, 9)), palette=False)
    for data, text in [
        (tmp_path / "nowhere", "no such file or folder"),
        (tmp_path, "not a data set of labeled pictures"),
        (colors, "a mask of mode RGB"),
        (blank, "no mask to evaluate on shows anything but the background"),
        (sizes, "annotated at 9 x 9 pixels"),
    ]:
        found = invoke("evaluate", built, "--data", data)
        assert found.exit_code == 4, found.output
        assert text in found.stderr
        assert "Traceback" not in found.output
