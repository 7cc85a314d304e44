"""Verdicts: what counts as the same, what as drift, and the figures beside them."""

import dataclasses
import math

import numpy as np
import pytest
from graphs import make_graphs, sample_images

from exporter import golden
from exporter.metrics import accuracy, quality, sqnr_db
from exporter.parity import compare, compare_pair, compare_results, first_divergence
from exporter.spec import Rules
from exporter.verdicts import EXACT, FP32, Outcome

STEP = 0.25
LOGITS = (np.random.default_rng(0).integers(-50, 50, (8, 5)) * STEP).astype(np.float32)


def named(logits: np.ndarray) -> dict[str, np.ndarray]:
    return {"logits": logits}


def test_one_step_is_drift_when_equality_is_demanded() -> None:
    off = LOGITS.copy()
    off[3, 2] += STEP
    parity = compare(LOGITS, off, EXACT, STEP)
    assert parity.outcome is Outcome.DRIFTED
    assert parity.max_lsb == 1


def test_one_bit_is_drift_when_equality_is_demanded() -> None:
    off = LOGITS.copy()
    off[3, 2] = np.nextafter(off[3, 2], np.float32(np.inf))
    assert compare(LOGITS, off, EXACT, STEP).outcome is Outcome.DRIFTED


def test_equal_logits_are_the_same() -> None:
    parity = compare(LOGITS, LOGITS.copy(), EXACT, STEP)
    assert (parity.outcome, parity.max_lsb, parity.max_abs) == (Outcome.SAME, 0, 0.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_logits_are_drift(bad: float) -> None:
    off = LOGITS.copy()
    off[0, 0] = bad
    parity = compare(LOGITS, off, FP32, None)
    assert parity.outcome is Outcome.DRIFTED
    assert "not finite" in parity.reason


def test_wrong_shape_is_drift() -> None:
    assert compare(LOGITS, LOGITS[:, :4], FP32, None).outcome is Outcome.DRIFTED


def test_float_tolerance_is_a_ratio() -> None:
    """A relative error of 1e-5 is 100 dB: just inside; 2e-5 is outside."""
    assert compare(LOGITS, LOGITS * np.float32(1 + 0.9e-5), FP32, None).outcome is Outcome.SAME
    assert compare(LOGITS, LOGITS * np.float32(1 + 2e-5), FP32, None).outcome is Outcome.DRIFTED


def test_the_tolerance_that_is_given_decides() -> None:
    """A network that is hardly trained is asked for less; the reason has the figure."""
    off = LOGITS * np.float32(1 + 2e-5)  # 94 dB
    asked = dataclasses.replace(FP32, min_sqnr_db=77.0)
    assert compare(LOGITS, off, asked, None).outcome is Outcome.SAME
    assert compare(LOGITS, off, FP32, None).reason == "at least 100 dB wanted"
    a, b = ("a", named(LOGITS), named(LOGITS)), ("b", named(off), named(LOGITS))
    assert compare_pair(a, b, asked, {}).outcome is Outcome.SAME
    assert compare_pair(a, b, FP32, {}).outcome is Outcome.DRIFTED


def test_sqnr_is_ten_log_ten_of_powers() -> None:
    assert sqnr_db(np.array([3.0, 4.0]), np.array([3.0, 4.5])) == pytest.approx(20.0)
    assert math.isinf(sqnr_db(LOGITS, LOGITS))


def test_pairs_may_differ_only_as_their_rules_do() -> None:
    ours, other = named(LOGITS), named(LOGITS + np.float32(STEP))
    steps = {"logits": STEP}
    explained = compare_pair(("a", ours, ours), ("b", other, other), EXACT, steps)
    assert explained.outcome is Outcome.SAME
    assert explained.max_lsb == 1
    assert "rounding rules" in explained.reason
    drifted = compare_pair(("a", ours, ours), ("b", other, ours), EXACT, steps)
    assert drifted.outcome is Outcome.DRIFTED


def test_quality_against_hand_computed_values() -> None:
    """Two classes, one image: KL of (0.75, 0.25) against (0.5, 0.5) in nats."""
    reference = np.log(np.array([[0.75, 0.25]], np.float32))
    figures = quality(named(reference), named(np.zeros((1, 2), np.float32)))
    assert figures.kl == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5), rel=1e-6)
    assert figures.top1_agreement == 1.0


def test_accuracy_counts_top_one_and_five() -> None:
    logits = np.tile(np.arange(10, 0, -1, dtype=np.float32), (4, 1))
    figures = accuracy(logits, np.array([0, 4, 5, 0]))
    assert (figures.top1, figures.top5) == (0.5, 0.75)


SCORES = np.array([[[0.25, 0.75], [0.5, 0.5]]], np.float32)
CORNERS = np.array([[[0.1, 0.2, 0.5, 0.6], [0.0, 0.0, 1.0, 1.0]]], np.float32)


def test_boxes_may_differ_by_the_last_digit_and_scores_may_not() -> None:
    """e to a power is no integer arithmetic; all else of an int8 detector is."""
    expected = {"scores": SCORES, "boxes": CORNERS}
    near = {"scores": SCORES, "boxes": CORNERS * np.float32(1 + 1e-6)}
    parity = compare_results(expected, near, EXACT, {})
    assert (parity.outcome, parity.max_lsb) == (Outcome.SAME, 0)
    assert parity.outputs["boxes"].tolerance == "EXACT_BOXES"
    far = {"scores": SCORES, "boxes": CORNERS * np.float32(1 + 1e-4)}
    assert compare_results(expected, far, EXACT, {}).outcome is Outcome.DRIFTED
    other = {"scores": np.nextafter(SCORES, np.float32(1)), "boxes": CORNERS}
    drifted = compare_results(expected, other, EXACT, {})
    assert drifted.outcome is Outcome.DRIFTED
    assert [name for name, p in drifted.outputs.items() if p.outcome is Outcome.DRIFTED] == [
        "scores"
    ]


def test_results_of_other_names_or_shapes_are_drift() -> None:
    found = compare_results({"scores": SCORES}, {"logits": SCORES}, FP32, {})
    assert (found.outcome, found.reason) == (Outcome.DRIFTED, "gives logits, not scores")
    found = compare_results({"scores": SCORES}, {"scores": SCORES[:, :1]}, FP32, {})
    assert found.reason == "scores are (1, 1, 2), not (1, 2, 2)"


def test_labels_are_counted() -> None:
    """Every pixel of an int8 segmenter; of a float one 999 in 1000."""
    labels = np.arange(4000, dtype=np.uint8).reshape(1, 40, 100) % 3
    other = labels.copy()
    other[0, 0, :4] += 1
    exact = compare_results({"labels": labels}, {"labels": other}, EXACT, {})
    assert exact.outcome is Outcome.DRIFTED
    assert "99.90% agree" in exact.reason
    assert compare_results({"labels": labels}, {"labels": other}, FP32, {}).outcome is Outcome.SAME
    other[0, 1, :4] += 1
    assert (
        compare_results({"labels": labels}, {"labels": other}, FP32, {}).outcome is Outcome.DRIFTED
    )
    same = compare_results({"labels": labels}, {"labels": labels.copy()}, EXACT, {})
    assert (same.outcome, same.max_lsb, same.agreement) == (Outcome.SAME, 0, 1.0)


def detections(*rows: tuple[float, ...]) -> dict[str, np.ndarray]:
    nothing = (0.0, 0.0, 0.0, 0.0, -1.0, 0.0)
    return {"detections": np.array([[*rows, *[nothing] * (4 - len(rows))]], np.float32)}


FIRST, SECOND = (0.1, 0.1, 0.5, 0.5, 0.9, 1.0), (0.2, 0.2, 0.9, 0.9, 0.8, 2.0)


def test_detections_of_integers_come_in_one_order_with_equal_scores() -> None:
    expected = detections(FIRST, SECOND)
    near = detections((0.1, 0.1, 0.5, 0.5000001, 0.9, 1.0), SECOND)
    assert compare_results(expected, near, EXACT, {}).outcome is Outcome.SAME
    for wrong in (
        detections(SECOND, FIRST),
        detections(FIRST),
        detections((0.1, 0.1, 0.5, 0.5, 0.9000001, 1.0), SECOND),
        detections((0.1, 0.1, 0.5, 0.501, 0.9, 1.0), SECOND),
        detections((0.1, 0.1, 0.5, 0.5, 0.9, 2.0), SECOND),
    ):
        assert compare_results(expected, wrong, EXACT, {}).outcome is Outcome.DRIFTED


def test_detections_of_real_numbers_are_matched() -> None:
    """In any order; by class, score and overlap."""
    expected = detections(FIRST, SECOND)
    swapped = detections(SECOND, (0.1, 0.1, 0.5, 0.501, 0.9001, 1.0))
    found = compare_results(expected, swapped, FP32, {})
    assert (found.outcome, found.agreement) == (Outcome.SAME, 1.0)
    assert compare_results(expected, detections(FIRST), FP32, {}).agreement == pytest.approx(2 / 3)
    moved = detections(FIRST, (0.3, 0.3, 0.9, 0.9, 0.8, 2.0))
    assert compare_results(expected, moved, FP32, {}).agreement == 0.5
    assert compare_results(detections(), detections(), FP32, {}).outcome is Outcome.SAME


def test_quality_of_several_outputs_is_that_of_their_mean_noise() -> None:
    """20 dB and 40 dB: mean noise 0.00505, 22.97 dB."""
    reference = {"scores": np.ones((1, 2, 2), np.float32), "boxes": np.ones((1, 2, 4), np.float32)}
    noisy = {"scores": reference["scores"] * 1.1, "boxes": reference["boxes"] * 1.01}
    figures = quality(reference, noisy)
    assert figures.sqnr_db == pytest.approx(-10 * math.log10(0.00505), abs=1e-3)
    assert figures.kl is None
    labels = quality({"labels": np.zeros((1, 2, 2))}, {"labels": np.eye(2)[None]})
    assert (labels.sqnr_db, labels.top1_agreement) == (None, 0.5)


class Layered:
    """A runner that shows the golden's own layers with one of them changed."""

    def __init__(self, changed: str, *, floating: bool = False, change: float = 1) -> None:
        self.graph, self.changed = make_graphs()[0 if floating else 1], changed
        self.change = change

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return golden.run(self.graph, images)

    def layers(self, images: np.ndarray) -> dict[str, np.ndarray]:
        values: dict[str, np.ndarray] = {}
        golden.run(self.graph, images, trace=values.__setitem__)
        values[self.changed] = values[self.changed] + np.asarray(
            self.change, values[self.changed].dtype
        )
        return values


def test_layers_of_a_float_artifact_are_judged_by_its_tolerance() -> None:
    graph = make_graphs()[0]
    image = sample_images(graph.spec, 1, seed=1)
    runner = Layered("features.9.conv.1", floating=True, change=1e-4)
    found = first_divergence(graph, Rules.XNNPACK, FP32, runner, image)
    assert found == "first diverging layer: features.9.conv.1"
    asked = dataclasses.replace(FP32, min_sqnr_db=60.0)
    found = first_divergence(graph, Rules.XNNPACK, asked, runner, image)
    assert found.startswith("all ")


@pytest.mark.parametrize("layer", ["input", "features.3.add", "features.9.conv.1", "classifier"])
def test_first_divergence_names_the_layer(layer: str) -> None:
    graph = make_graphs()[1]
    image = sample_images(graph.spec, 1, seed=1)
    found = first_divergence(graph, Rules.XNNPACK, EXACT, Layered(layer), image)
    assert found.endswith(f" {layer}")
