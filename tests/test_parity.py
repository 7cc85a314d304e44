"""Verdicts: what counts as the same, what as drift, and the figures beside them."""

import dataclasses
import math

import numpy as np
import pytest
from graphs import make_graphs, sample_images

from exporter import golden
from exporter.metrics import accuracy, quality, sqnr_db
from exporter.parity import compare, compare_pair, first_divergence
from exporter.spec import Rules
from exporter.verdicts import EXACT, FP32, Outcome

STEP = 0.25
LOGITS = (np.random.default_rng(0).integers(-50, 50, (8, 5)) * STEP).astype(np.float32)


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
    a, b = ("a", LOGITS, LOGITS), ("b", off, LOGITS)
    assert compare_pair(a, b, asked, None).outcome is Outcome.SAME
    assert compare_pair(a, b, FP32, None).outcome is Outcome.DRIFTED


def test_sqnr_is_ten_log_ten_of_powers() -> None:
    assert sqnr_db(np.array([3.0, 4.0]), np.array([3.0, 4.5])) == pytest.approx(20.0)
    assert math.isinf(sqnr_db(LOGITS, LOGITS))


def test_pairs_may_differ_only_as_their_rules_do() -> None:
    other = LOGITS + np.float32(STEP)
    explained = compare_pair(("a", LOGITS, LOGITS), ("b", other, other), EXACT, STEP)
    assert explained.outcome is Outcome.SAME
    assert explained.max_lsb == 1
    assert "rounding rules" in explained.reason
    drifted = compare_pair(("a", LOGITS, LOGITS), ("b", other, LOGITS), EXACT, STEP)
    assert drifted.outcome is Outcome.DRIFTED


def test_quality_against_hand_computed_values() -> None:
    """Two classes, one image: KL of (0.75, 0.25) against (0.5, 0.5) in nats."""
    reference = np.log(np.array([[0.75, 0.25]], np.float32))
    figures = quality(reference, np.zeros((1, 2), np.float32))
    assert figures.kl == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5), rel=1e-6)
    assert figures.top1_agreement == 1.0


def test_accuracy_counts_top_one_and_five() -> None:
    logits = np.tile(np.arange(10, 0, -1, dtype=np.float32), (4, 1))
    figures = accuracy(logits, np.array([0, 4, 5, 0]))
    assert (figures.top1, figures.top5) == (0.5, 0.75)


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
