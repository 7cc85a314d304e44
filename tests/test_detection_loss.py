"""Which anchor answers for which object, and what a wrong answer costs."""

import math

import numpy as np
import pytest
import torch

from exporter.detection.anchors import make_anchors
from exporter.detection.boxes import corners_of, decode, iou
from exporter.detection.loss import Balance, LossSettings, detection_loss, hard_negatives
from exporter.detection.matching import match
from exporter.models import make_network
from exporter.published import default_spec
from exporter.tasks import DetectionSpec, Task

SPEC = DetectionSpec()
HARD, FOCAL = LossSettings(), LossSettings(balance=Balance.FOCAL)


@pytest.fixture(scope="module")
def anchors() -> torch.Tensor:
    return torch.from_numpy(make_anchors(SPEC, 96))


def test_every_object_gets_an_anchor_and_near_anchors_take_it_too(anchors: torch.Tensor) -> None:
    boxes = torch.tensor([[0.1, 0.1, 0.52, 0.5], [0.7, 0.72, 0.74, 0.75]])  # one is tiny
    found = match(boxes, torch.tensor([3, 1]), anchors, SPEC)
    overlap = iou(boxes, corners_of(anchors))
    near = overlap[0] >= 0.5
    assert (found.classes[near] == 3).all()
    assert near.sum() > 1
    assert overlap[1].max() < 0.5
    assert found.classes[int(overlap[1].argmax())] == 1
    assert (found.classes > 0).sum() == near.sum() + 1


def test_matched_offsets_decode_to_the_object(anchors: torch.Tensor) -> None:
    box = torch.tensor([[0.2, 0.3, 0.6, 0.55]])
    found = match(box, torch.tensor([2]), anchors, SPEC)
    matched = found.classes > 0
    decoded = decode(found.offsets, anchors, SPEC)[matched]
    np.testing.assert_allclose(decoded, box.expand(len(decoded), 4), atol=1e-6)
    assert (found.offsets[~matched] == 0).all()


def test_objects_of_one_place_get_anchors_of_their_own(anchors: torch.Tensor) -> None:
    boxes = torch.tensor([[0.2, 0.2, 0.5, 0.5]] * 3)
    found = match(boxes, torch.tensor([1, 2, 3]), anchors, SPEC)
    assert {1, 2, 3} <= set(found.classes.tolist())


@pytest.mark.parametrize("boxes", [[], [[0.5, 0.5, 0.5, 0.9]], [[0.6, 0.2, 0.3, 0.4]]])
def test_no_object_or_none_with_an_area_matches_nothing(boxes: list, anchors) -> None:
    corners = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    found = match(corners, torch.ones(len(corners), dtype=torch.long), anchors, SPEC)
    assert (found.classes == 0).all()
    assert (found.offsets == 0).all()


def test_three_hard_negatives_per_positive() -> None:
    loss = torch.tensor([[5.0, 1, 9, 3, 4, 2, 8, 7], [1.0, 2, 3, 4, 5, 6, 7, 8]])
    positive = torch.zeros(2, 8, dtype=torch.bool)
    positive[0, 2] = True
    chosen = hard_negatives(loss, positive)
    assert chosen[0].nonzero().flatten().tolist() == [0, 6, 7]
    assert chosen[1].nonzero().flatten().tolist() == [5, 6, 7]  # no object: three all the same


def cross_entropy(logit: float, wanted: float) -> float:
    chance = 1 / (1 + math.exp(-logit))
    return -(wanted * math.log(chance) + (1 - wanted) * math.log(1 - chance))


def focal(logit: float, wanted: float) -> float:
    chance = 1 / (1 + math.exp(-logit))
    alpha, wrong = (0.25, 1 - chance) if wanted else (0.75, chance)
    return alpha * wrong**2 * cross_entropy(logit, wanted)


@pytest.mark.parametrize("settings", [HARD, FOCAL], ids=["hard", "focal"])
def test_the_loss_is_what_a_plain_loop_adds_up(settings: LossSettings) -> None:
    random = np.random.default_rng(0)
    logits, offsets = random.normal(0, 2, (2, 12, 3)), random.normal(0, 2, (2, 12, 4))
    classes = np.zeros((2, 12), int)
    classes[0, [1, 5]], classes[1, 7] = [1, 2], 2
    targets = random.normal(0, 2, (2, 12, 4))
    found = detection_loss(
        *(torch.from_numpy(v) for v in (logits, offsets, classes, targets)), settings
    )
    classification = box = 0.0
    for n in range(2):
        negatives = []
        for a in range(12):
            wanted = [float(classes[n, a] == c) for c in range(3)]
            pairs = list(zip(logits[n, a], wanted, strict=True))
            if settings is FOCAL:
                classification += sum(focal(*pair) for pair in pairs[1:])
            else:
                cost = sum(cross_entropy(*pair) for pair in pairs)
                if classes[n, a]:
                    classification += cost
                else:
                    negatives.append(cost)
            if classes[n, a]:
                for d in np.abs(offsets[n, a] - targets[n, a]):
                    box += 0.5 * d * d if d < 1 else d - 0.5
        classification += sum(sorted(negatives)[-3 * int((classes[n] > 0).sum()) :])
    assert found.classification.item() == pytest.approx(classification / 3)
    assert found.box.item() == pytest.approx(box / 3)
    assert found.total.item() == pytest.approx((classification + box) / 3)


@pytest.mark.parametrize("settings", [HARD, FOCAL], ids=["hard", "focal"])
def test_a_batch_without_objects_has_a_finite_gradient(settings: LossSettings) -> None:
    logits = torch.randn(2, 20, 4, requires_grad=True)
    offsets = torch.randn(2, 20, 4, requires_grad=True)
    nothing = torch.zeros(2, 20, dtype=torch.long), torch.zeros(2, 20, 4)
    found = detection_loss(logits, offsets, *nothing, settings)
    found.total.backward()
    assert found.box.item() == 0
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert logits.grad.abs().sum() > 0
    assert offsets.grad is not None
    assert (offsets.grad == 0).all()


@pytest.mark.parametrize("settings", [HARD, FOCAL], ids=["hard", "focal"])
def test_a_detector_learns_one_picture(settings: LossSettings) -> None:
    """Forward, loss, backward and step fit together: one square on one picture is found."""
    torch.manual_seed(0)
    model = make_network(default_spec(Task.DETECTION, width=0.1, resolution=64, classes=3))
    anchors = torch.from_numpy(make_anchors(SPEC, 64))
    picture = torch.zeros(4, 3, 64, 64)
    picture[:, :, 16:40, 24:48] = 1.0
    box = torch.tensor([[24 / 64, 16 / 64, 48 / 64, 40 / 64]])
    found = match(box, torch.tensor([2]), anchors, SPEC)
    classes, offsets = (v.expand(4, *v.shape) for v in found)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(60):
        raw = model(picture)
        loss = detection_loss(raw.class_logits, raw.box_offsets, classes, offsets, settings)
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
    with torch.no_grad():
        raw = model(picture)  # batch norm as in training: its averages have seen little
        best = int(raw.class_logits[0, :, 2].argmax())
        decoded = decode(raw.box_offsets[0], anchors, SPEC)[best]
    assert found.classes[best] == 2
    assert iou(decoded[None], box).item() > 0.8


def test_what_is_ignored_is_no_example_of_anything(anchors: torch.Tensor) -> None:
    """Anchors in a crowd are neither positive nor negative, unless an object has them."""
    boxes = torch.tensor([[0.1, 0.1, 0.5, 0.5]])
    crowd = torch.tensor([[0.0, 0.0, 0.6, 0.6]])
    plain = match(boxes, torch.tensor([2]), anchors, SPEC)
    found = match(boxes, torch.tensor([2]), anchors, SPEC, crowd)
    corners = corners_of(anchors)
    inner = torch.minimum(corners[:, 2:], crowd[:, 2:]) - torch.maximum(
        corners[:, :2], crowd[:, :2]
    )
    within = inner.clamp_min(0).prod(1) >= 0.5 * (corners[:, 2:] - corners[:, :2]).prod(1)
    assert torch.equal(found.classes > 0, plain.classes > 0)
    assert torch.equal(found.classes == -1, within & (plain.classes == 0))
    assert torch.equal(found.offsets, plain.offsets)
    alone = match(boxes[:0], torch.tensor([], dtype=torch.long), anchors, SPEC, crowd)
    assert torch.equal(alone.classes == -1, within)


@pytest.mark.parametrize("settings", [HARD, FOCAL], ids=["hard", "focal"])
def test_ignored_anchors_cost_nothing(settings: LossSettings) -> None:
    """However wrong they are; nor do they take the place of a negative."""
    torch.manual_seed(0)
    logits, offsets = torch.randn(1, 40, 3), torch.zeros(1, 40, 4)
    classes = torch.zeros(1, 40, dtype=torch.long)
    classes[0, 0], classes[0, 20:] = 1, -1
    wrong = logits.clone()
    wrong[0, 20:] = torch.tensor([-50.0, 50.0, 50.0])
    found = [detection_loss(x, offsets, classes, offsets, settings).total for x in (logits, wrong)]
    fewer = detection_loss(
        logits[:, :20], offsets[:, :20], classes[:, :20], offsets[:, :20], settings
    )
    assert found[0] == found[1]
    assert found[0].item() == pytest.approx(fewer.total.item())
