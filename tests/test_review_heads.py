"""Faults of detectors and segmenters that the figure of a whole result would hide."""

import dataclasses

import numpy as np
import pytest
from fakes import fake_target
from graphs import random_network

from exporter import golden
from exporter.ends import with_ends
from exporter.fingerprints import fingerprint
from exporter.fold import fold_core
from exporter.golden import run_outputs
from exporter.graph_file import save_graph
from exporter.outputs import Ends, NmsMode, Outputs
from exporter.parity import compare_results
from exporter.proof import Evidence, prove
from exporter.published import default_spec
from exporter.quantize import quantize
from exporter.quantize.ranges import batch_at
from exporter.spec import Precision, Rules
from exporter.tasks import Task
from exporter.verdicts import EXACT, FP16, FP32, TOLERANCES, Outcome

RNG = np.random.Generator(np.random.PCG64(5))


def outcome(expected, actual, tolerance) -> Outcome:
    return compare_results(expected, actual, tolerance, {}).outcome


def trained_scores() -> np.ndarray:
    """Background nearly everywhere, as a trained detector gives it: (2, 300, 6)."""
    logits = RNG.normal(-7.0, 1.0, (2, 300, 6))
    logits[..., 0] = 5.0
    logits[0, 40, 1], logits[1, 50, 2] = -3.5, -4.0
    return (1.0 / (1.0 + np.exp(-logits))).astype(np.float32)


def test_fp16_noise_in_scores_is_the_same() -> None:
    scores = trained_scores()
    noisy = scores.astype(np.float16).astype(np.float32)
    boxes = np.zeros((2, 300, 4), np.float32)
    assert outcome({"scores": scores}, {"scores": noisy}, FP16) is Outcome.SAME
    results = {"scores": scores, "boxes": boxes}, {"scores": noisy, "boxes": boxes}
    assert outcome(*results, FP16) is Outcome.SAME


@pytest.mark.parametrize("tolerance", [FP16, FP32])
def test_two_rare_classes_in_each_others_place_are_drift(tolerance) -> None:
    """Against the background's scores they weigh nothing: 45 dB and more for the whole."""
    scores = trained_scores()
    swapped = scores[..., [0, 2, 1, 3, 4, 5]]
    parity = compare_results({"scores": scores}, {"scores": swapped}, tolerance, {})
    assert parity.outcome is Outcome.DRIFTED
    if tolerance is FP16:
        assert parity.sqnr_db is not None
        assert parity.sqnr_db > FP16.min_sqnr_db
        assert "class 1 has" in parity.reason


def test_scores_below_what_fp16_holds_are_not_judged() -> None:
    scores = trained_scores()
    scores[..., 4] = 3e-8
    flushed = scores.astype(np.float16).astype(np.float32)
    flushed[..., 4] = 0.0
    assert outcome({"scores": scores}, {"scores": flushed}, FP16) is Outcome.SAME


def test_a_label_that_is_elsewhere_is_drift_however_large_the_background() -> None:
    labels = np.zeros((2, 100, 100), np.uint8)
    labels[0, :10, :10], labels[1, :10, :10] = 1, 2
    swapped = np.array([0, 2, 1], np.uint8)[labels]
    assert (labels == swapped).mean() > FP16.min_agreement
    parity = compare_results({"labels": labels}, {"labels": swapped}, FP16, {})
    assert parity.outcome is Outcome.DRIFTED
    assert "class 1 has 0% of its pixels in common" in parity.reason
    assert outcome({"labels": labels}, {"labels": np.zeros_like(labels)}, FP16) is Outcome.DRIFTED


def test_an_outline_that_moves_by_a_pixel_is_not_a_lost_label() -> None:
    labels = np.zeros((1, 200, 200), np.uint8)
    labels[0, 50:90, 50:90] = 1
    moved = np.roll(labels, 1, 1)
    assert outcome({"labels": labels}, {"labels": moved}, FP16) is Outcome.SAME


@pytest.mark.parametrize("tolerance", [EXACT, FP32, FP16])
def test_a_huge_box_hides_no_wrong_one(tolerance) -> None:
    boxes = RNG.uniform(0.0, 1.0, (1, 50, 4)).astype(np.float32)
    boxes[0, 7] = (-4e6, -4e6, 4e6, 4e6)
    nearly = boxes * np.float32(1.0 + 1e-6)
    wrong = boxes.copy()
    wrong[0, 20:30] = wrong[0, 20:30, [1, 0, 3, 2]].T
    assert outcome({"boxes": boxes}, {"boxes": nearly}, tolerance) is Outcome.SAME
    parity = compare_results({"boxes": boxes}, {"boxes": wrong}, tolerance, {})
    assert parity.outcome is Outcome.DRIFTED
    assert "near the image" in parity.reason


def test_labels_of_another_type_are_drift() -> None:
    """An app reads bytes."""
    labels = np.zeros((1, 4, 4), np.uint8)
    parity = compare_results({"labels": labels}, {"labels": labels.astype(np.int64)}, EXACT, {})
    assert parity.outcome is Outcome.DRIFTED
    assert parity.reason == "labels are int64, not uint8"


@pytest.mark.parametrize(
    ("task", "ends", "told"),
    [
        (
            Task.DETECTION,
            Ends(outputs=Outputs.DECODED, nms=NmsMode.GRAPH),
            "nothing is detected on any golden vector",
        ),
        (Task.SEGMENTATION, Ends(outputs=Outputs.LABELS), "has one label"),
    ],
)
def test_a_proof_on_nothing_says_so(task, ends, told, tmp_path) -> None:
    side = {Task.DETECTION: 32, Task.SEGMENTATION: 33}[task]
    spec = default_spec(task, width=0.1, resolution=side, classes=2)
    graph = with_ends(fold_core(random_network(spec)), ends)
    path = tmp_path / "model.fake"
    save_graph(graph, path)
    images = np.zeros((1, 3, side, side), np.float32)
    expected = {name: np.array(v) for name, v in run_outputs(graph, images).items()}
    evidence = Evidence(
        graph=graph,
        precision=Precision.FP32,
        rules=Rules.XNNPACK,
        images=images,
        expected=expected,
        float_expected=expected,
        tolerances=TOLERANCES,
    )
    for value in expected.values():
        value[...] = -1.0 if value.dtype == np.float32 else 0
    assert any(told in note for note in prove(fake_target(), path, evidence).record.notes)
    for value in expected.values():
        value.flat[4] = 1
    assert prove(fake_target(), path, dataclasses.replace(evidence)).record.notes == ()


@pytest.mark.parametrize("rules", Rules)
def test_large_images_give_the_same_integers_a_few_at_a_time(rules, monkeypatch) -> None:
    spec = default_spec(Task.SEGMENTATION, width=0.1, resolution=33, classes=3)
    images = RNG.uniform(-1.0, 1.0, (5, 3, 33, 33)).astype(np.float32)
    graph = quantize(fold_core(random_network(spec)), images)
    whole = run_outputs(graph, images, rules)
    monkeypatch.setattr(golden, "AT_ONCE", 2 * 33 * 33)
    parts = run_outputs(graph, images, rules)
    assert all(np.array_equal(whole[name], parts[name]) for name in whole)


def test_batches_shrink_as_images_grow() -> None:
    assert [batch_at(side) for side in (96, 224, 320, 513, 2048)] == [16, 16, 7, 3, 1]


@pytest.mark.parametrize("shape", [(100, 6), (2034, 4), (2034, 81), (513, 513), (21, 33, 33)])
def test_every_column_of_a_result_is_sampled(shape) -> None:
    """Of detections a class as well as a score."""
    columns = np.broadcast_to(np.arange(shape[-1], dtype=np.float32), (1, *shape))
    kept = fingerprint(columns)
    seen = min(shape[-1], kept.samples.size)
    assert len(np.unique(kept.samples)) == seen
    assert kept.is_near(columns, EXACT)


def test_samples_that_were_taken_elsewhere_are_compared_there() -> None:
    values = RNG.uniform(0.0, 1.0, (1, 100, 6)).astype(np.float32)
    kept = dataclasses.replace(fingerprint(values), stride=3, samples=values.reshape(1, -1)[:, ::3])
    assert kept.is_near(values, EXACT)
    assert not kept.is_near(values[:, ::-1], EXACT)
