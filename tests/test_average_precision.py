"""COCO's mean average precision, by hand and against an implementation of a few lines."""

from __future__ import annotations

import numpy as np
import pytest

from exporter.detection.average_precision import mean_ap, per_class_ap
from exporter.detection.records import Found, Objects
from exporter.errors import MissingDependencyError

LEFT, RIGHT = (0.1, 0.1, 0.4, 0.4), (0.6, 0.6, 0.9, 0.9)
Truth = tuple[tuple[float, ...], int]
Guess = tuple[tuple[float, ...], int, float]


def truth(*items: Truth, ignored: tuple[bool, ...] = ()) -> Objects:
    return Objects(
        boxes=np.array([box for box, _ in items], np.float32).reshape(-1, 4),
        classes=np.array([category for _, category in items], np.int64),
        ignored=np.array(ignored or [False] * len(items), np.bool_),
    )


def found(*items: Guess) -> Found:
    return Found(
        boxes=np.array([box for box, _, _ in items], np.float32).reshape(-1, 4),
        scores=np.array([score for _, _, score in items], np.float32),
        classes=np.array([category for _, category, _ in items], np.int64),
    )


def test_everything_found_and_nothing_else_is_1() -> None:
    score = mean_ap([found((LEFT, 1, 0.9), (RIGHT, 2, 0.8))], [truth((LEFT, 1), (RIGHT, 2))], 3)
    assert (score.images, score.map50, score.map) == (1, pytest.approx(1.0), pytest.approx(1.0))


def test_one_of_two_missed_is_51_of_101_recalls() -> None:
    """COCO asks at 0, 0.01 to 1: 51 of these recalls are reached."""
    score = mean_ap([found((LEFT, 1, 0.9))], [truth((LEFT, 1), (RIGHT, 1))], 2)
    assert score.map50 == pytest.approx(51 / 101)


def test_a_false_positive_ahead_halves_and_one_behind_costs_nothing() -> None:
    ahead = mean_ap([found((RIGHT, 1, 0.9), (LEFT, 1, 0.8))], [truth((LEFT, 1))], 2)
    assert ahead.map50 == pytest.approx(0.5)
    behind = mean_ap([found((RIGHT, 1, 0.7), (LEFT, 1, 0.8))], [truth((LEFT, 1))], 2)
    assert behind.map50 == pytest.approx(1.0)


def test_a_second_box_on_an_object_is_a_false_positive() -> None:
    guesses = found((LEFT, 1, 0.9), (LEFT, 1, 0.8), (RIGHT, 1, 0.7))
    score = mean_ap([guesses], [truth((LEFT, 1), (RIGHT, 1))], 2)
    assert score.map50 == pytest.approx((51 * 1 + 50 * 2 / 3) / 101)


def test_the_wrong_class_is_a_miss() -> None:
    """And classes without truth do not count."""
    score = mean_ap([found((LEFT, 2, 0.9))], [truth((LEFT, 1))], 4)
    assert (score.map50, score.map) == (0.0, 0.0)


def test_an_iou_of_0_64_counts_at_three_of_ten_thresholds() -> None:
    """A box of 80 % of each side: above 0.5, 0.55 and 0.6."""
    part = (0.1, 0.1, 0.34, 0.34)
    score = mean_ap([found((part, 1, 0.9))], [truth((LEFT, 1))], 2)
    assert score.map50 == pytest.approx(1.0)
    assert score.map == pytest.approx(0.3)


def test_what_lies_in_a_crowd_is_neither_right_nor_wrong() -> None:
    crowd = truth((LEFT, 1), ((0.5, 0.5, 1.0, 1.0), 1), ignored=(False, True))
    inside = found((RIGHT, 1, 0.95), ((0.5, 0.5, 0.7, 0.7), 1, 0.94), (LEFT, 1, 0.9))
    assert mean_ap([inside], [crowd], 2).map50 == pytest.approx(1.0)
    missed = found((RIGHT, 1, 0.95))
    assert mean_ap([missed], [crowd], 2).map50 == 0.0


def test_size_does_not_matter() -> None:
    """Of COCO's ranges of areas none is asked for."""
    tiny, huge = (0.5, 0.5, 0.501, 0.501), (0.0, 0.0, 1.0, 1.0)
    score = mean_ap([found((tiny, 1, 0.9), (huge, 1, 0.8))], [truth((tiny, 1), (huge, 1))], 2)
    assert score.map == pytest.approx(1.0)


def test_boxes_are_clipped_to_the_picture() -> None:
    score = mean_ap([found(((-0.5, -0.2, 0.5, 1.4), 1, 0.9))], [truth(((0, 0, 0.5, 1), 1))], 2)
    assert score.map == pytest.approx(1.0)


def test_pictures_are_matched_by_place_and_scores_across_all() -> None:
    guesses = [found((LEFT, 1, 0.6)), found((LEFT, 1, 0.9)), found()]
    truths = [truth((LEFT, 1)), truth((RIGHT, 1)), truth((LEFT, 1))]
    score = mean_ap(guesses, truths, 2)
    assert score.images == 3
    # Wrong at 0.9, then right: precision 1/2 up to a recall of 1/3.
    assert score.map50 == pytest.approx(34 / 101 * 0.5)
    with pytest.raises(ValueError, match="argument 2 is longer"):
        mean_ap(guesses[:2], truths, 2)


@pytest.mark.parametrize("guesses", [found(), found((LEFT, 1, 0.9))])
def test_without_truth_there_is_no_figure(guesses: Found) -> None:
    score = mean_ap([guesses], [truth()], 3)
    assert np.isnan([score.map, score.map50]).all()
    assert np.isnan(per_class_ap([guesses], [truth()], 3)).all()
    assert np.isnan(mean_ap([], [], 3).map)


def test_classes_apart() -> None:
    guesses = found((LEFT, 1, 0.9), (RIGHT, 2, 0.9), (LEFT, 2, 0.8))
    values = per_class_ap([guesses], [truth((LEFT, 1), (LEFT, 2))], 4)
    np.testing.assert_allclose(values, [np.nan, 1.0, 0.5, np.nan])


def test_it_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    mean_ap([found((LEFT, 1, 0.9))], [truth((LEFT, 1))], 2)
    assert capsys.readouterr() == ("", "")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingDependencyError, match="pycocotools") as caught:
        mean_ap([found()], [truth()], 2)
    assert caught.value.hint == "pip install 'mnv2-export[coco]'"


# --- against another implementation


def iou(a: np.ndarray, b: np.ndarray) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return float(width * height / (sum(areas) - width * height))


def simple_ap(
    guesses: list[Found], truths: list[Objects], category: int, threshold: float
) -> float:
    """Precision at 101 recalls, made monotonous, of one class; NaN without truth."""
    hits, scores, total = [], [], 0
    for guess, objects in zip(guesses, truths, strict=True):
        boxes = objects.boxes[objects.classes == category].astype(np.float64)
        total += len(boxes)
        taken: set[int] = set()
        mine = np.flatnonzero(guess.classes == category)
        for index in mine[np.argsort(-guess.scores[mine], kind="stable")]:
            overlaps = [
                -1.0 if i in taken else iou(guess.boxes[index].astype(np.float64), box)
                for i, box in enumerate(boxes)
            ]
            best = int(np.argmax(overlaps)) if overlaps else -1
            hit = best >= 0 and overlaps[best] >= threshold
            taken |= {best} if hit else set()
            hits.append(hit)
            scores.append(float(guess.scores[index]))
    if total == 0:
        return float("nan")
    order = np.argsort(-np.array(scores), kind="stable")
    right = np.cumsum(np.array(hits, float)[order])
    precision = right / np.arange(1, len(right) + 1)
    recall = right / total
    asked = np.linspace(0, 1, 101)
    return float(np.mean([precision[recall >= r].max(initial=0.0) for r in asked]))


def scene(rng: np.random.Generator, classes: int) -> tuple[Found, Objects]:
    count = int(rng.integers(0, 6))
    low = rng.uniform(0, 0.7, (count, 2))
    boxes = np.concatenate([low, low + rng.uniform(0.05, 0.3, (count, 2))], 1)
    labels = rng.integers(1, classes, count)
    objects = truth(*[(tuple(b), int(c)) for b, c in zip(boxes, labels, strict=True)])
    seen = np.repeat(np.arange(count), rng.integers(0, 3, count))
    moved = (boxes[seen] + rng.normal(0, 0.02, (len(seen), 4))).clip(0, 1)
    guessed = np.where(
        rng.random(len(seen)) < 0.8, labels[seen], rng.integers(1, classes, len(seen))
    )
    items = [
        (tuple(b), int(c), float(s))
        for b, c, s in zip(moved, guessed, rng.random(len(seen)), strict=True)
        if b[2] > b[0] and b[3] > b[1]
    ]
    return found(*items), objects


@pytest.mark.parametrize("seed", range(8))
def test_it_is_what_a_plain_implementation_gives(seed: int) -> None:
    rng = np.random.default_rng(seed)
    classes = 4
    pairs = [scene(rng, classes) for _ in range(12)]
    guesses, truths = [g for g, _ in pairs], [t for _, t in pairs]
    at_50 = [simple_ap(guesses, truths, c, 0.5) for c in range(1, classes)]
    np.testing.assert_allclose(
        per_class_ap(guesses, truths, classes)[1:], at_50, atol=1e-9, equal_nan=True
    )
    thresholds = np.linspace(0.5, 0.95, 10)
    every = [[simple_ap(guesses, truths, c, t) for c in range(1, classes)] for t in thresholds]
    score = mean_ap(guesses, truths, classes)
    assert score.map50 == pytest.approx(np.nanmean(at_50))
    assert score.map == pytest.approx(np.nanmean(every))
