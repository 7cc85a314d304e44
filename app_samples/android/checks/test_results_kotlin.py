"""What the app makes of a model's outputs, against the exporter."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from driver import Driver, contract_json

from exporter.detection.greedy import greedy_nms
from exporter.framing import Framing
from exporter.predictions import classes_of, regions_of
from exporter.spec import HeadLayer, ModelSpec, Preprocess, ResizeRule
from exporter.tasks import DetectionSpec

SETTINGS = DetectionSpec()
SCENES = {
    "crowded": {},
    "few candidates": {"candidates": 40},
    "few places": {"max_detections": 7},
    "few per class": {"max_per_class": 2},
    "low threshold": {"score_threshold": 0.0001, "candidates": 10000},
    "wide overlap": {"iou_threshold": 0.05},
}
PHOTOS = [(640, 480), (480, 640), (97, 31), (1, 40), (33, 33)]
CONTRACTS = [
    Preprocess(resize_size=40, crop_size=33),
    Preprocess(resize_size=33, crop_size=33),
    Preprocess(resize_rule=ResizeRule.STRETCH, resize_size=33, crop_size=33),
]


def scene(seed: int, levels: int) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (a, 4) around few places, scores (a, 5) of few levels: overlaps and ties."""
    random = np.random.Generator(np.random.PCG64(seed))
    centers = random.random((4, 2))[random.integers(0, 4, 150)]
    corner = centers + random.normal(0, 0.02, (150, 2))
    side = random.choice([0.0, 0.1, 0.25], (150, 2))  # some without area
    boxes = np.concatenate([corner, corner + side], 1).astype(np.float32)
    boxes[::10] = boxes[0]
    scores = random.integers(0, levels, (150, 5)) / np.float32(levels)
    return boxes, scores.astype(np.float32)


@pytest.mark.parametrize("changes", SCENES.values(), ids=SCENES.keys())
@pytest.mark.parametrize("levels", [3, 60, 1 << 20])
@pytest.mark.parametrize("seed", range(3))
def test_suppresses_as_the_exporter(
    driver: Driver, tmp_path: Path, changes: dict[str, float], levels: int, seed: int
) -> None:
    """The same rows in the same order."""
    settings = dataclasses.replace(SETTINGS, **changes)  # type: ignore[arg-type]
    boxes, scores = scene(seed, levels)
    (tmp_path / "boxes").write_bytes(boxes.tobytes())
    (tmp_path / "scores").write_bytes(scores.tobytes())
    answer = driver.ask(
        "suppress",
        boxes=tmp_path / "boxes",
        scores=tmp_path / "scores",
        classes=scores.shape[1],
        candidates=settings.candidates,
        iou_threshold=settings.iou_threshold,
        max_detections=settings.max_detections,
        max_per_class=settings.max_per_class,
        score_threshold=settings.score_threshold,
    )
    expected = [
        [*map(float, boxes[anchor]), score, category]
        for score, anchor, category in greedy_nms(boxes, scores, settings)
    ]
    np.testing.assert_array_equal(
        np.array(answer["rows"], np.float32), np.array(expected, np.float32)
    )


@pytest.mark.parametrize("size", PHOTOS, ids="{0[0]}x{0[1]}".format)
@pytest.mark.parametrize("contract", CONTRACTS, ids=["crop", "whole", "stretch"])
def test_leads_back_to_the_photo(
    driver: Driver, tmp_path: Path, size: tuple[int, int], contract: Preprocess
) -> None:
    """Boxes, labels and shares; of equal logits the first class."""
    random = np.random.Generator(np.random.PCG64(size[0]))
    framing = Framing(width=size[0], height=size[1], contract=contract)
    place = {"width": size[0], "height": size[1], "contract": contract_json(contract)}

    boxes = random.normal(0.5, 0.5, (50, 4)).astype(np.float32)
    (tmp_path / "boxes").write_bytes(boxes.tobytes())
    answer = driver.ask("boxes", boxes=tmp_path / "boxes", **place)
    np.testing.assert_array_equal(np.array(answer["rows"]), framing.boxes_to_photo(boxes))

    logits = random.integers(0, 3, (7, 33, 33)).astype(np.float32)
    (tmp_path / "logits").write_bytes(logits.tobytes())
    answer = driver.ask(
        "segment",
        logits=tmp_path / "logits",
        classes=7,
        side=33,
        labels=tmp_path / "labels",
        shown=tmp_path / "shown",
        **place,
    )
    labels = logits.argmax(0).astype(np.uint8)
    assert (tmp_path / "labels").read_bytes() == labels.tobytes()
    assert (tmp_path / "shown").read_bytes() == framing.labels_to_photo(labels).tobytes()
    spec = ModelSpec(head=(HeadLayer(units=7),))
    regions = [[region.index, region.share] for region in regions_of(labels, spec)]
    assert answer["rows"] == regions


@pytest.mark.parametrize("seed", range(4))
def test_names_the_likeliest_classes(driver: Driver, tmp_path: Path, seed: int) -> None:
    """Of equal ones the lower index first; an output that holds probabilities is taken as it is."""
    random = np.random.Generator(np.random.PCG64(seed))
    logits = (random.integers(-9, 9, 40) * 1.5).astype(np.float32)
    (tmp_path / "logits").write_bytes(logits.tobytes())
    request = {"logits": tmp_path / "logits", "top": 12}
    rows = driver.ask("classify", probabilities=False, **request)["rows"]
    spec = ModelSpec(head=(HeadLayer(units=40),), labels=tuple(map(str, range(40))))
    expected = classes_of(logits, spec, 12)
    assert [str(index) for index, _ in rows] == [label for label, _ in expected]
    np.testing.assert_allclose([p for _, p in rows], [p for _, p in expected], rtol=1e-14)
    given = driver.ask("classify", probabilities=True, **request)["rows"]
    order = np.argsort(-logits, kind="stable")[:12]
    assert given == [[int(i), float(logits[i])] for i in order]


def test_times_by_the_clock(driver: Driver) -> None:
    """Warm-up does not count; percentiles lie between runs."""
    random = np.random.Generator(np.random.PCG64(0))
    intervals = random.integers(1_000_000, 9_000_000, 41)
    answer = driver.ask("time", ns=intervals.tolist(), warm_up=3)
    ms = intervals / 1e6
    assert answer == {
        "runs": 41,
        "mean": pytest.approx(ms.mean()),
        "fastest": pytest.approx(ms.min()),
        "slowest": pytest.approx(ms.max()),
        "p50": pytest.approx(np.percentile(ms, 50)),
        "p90": pytest.approx(np.percentile(ms, 90)),
    }
