"""The segmenter's loss and its mean IoU."""

import math

import numpy as np
import pytest
import torch

from exporter.errors import DataError
from exporter.segmentation import IGNORED, Confusion, segmentation_loss


def test_only_labeled_pixels_count() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    labels = torch.randint(0, 3, (2, 4, 4))
    labels[0, :2] = IGNORED
    costs = []
    for n, row, column in np.ndindex(2, 4, 4):
        label = int(labels[n, row, column])
        if label != IGNORED:
            values = logits[n, :, row, column].tolist()
            costs.append(math.log(sum(map(math.exp, values))) - values[label])
    assert len(costs) == 24
    assert segmentation_loss(logits, labels).item() == pytest.approx(sum(costs) / 24)


def test_a_batch_without_a_label_costs_nothing() -> None:
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = segmentation_loss(logits, torch.full((1, 4, 4), IGNORED))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert (logits.grad == 0).all()


def test_mean_iou_is_that_of_sets_of_pixels() -> None:
    """Over two batches, with pixels to ignore and a class that never occurs."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 4, (2, 3, 8, 8))
    said = np.where(random.random(labels.shape) < 0.6, labels, random.integers(0, 4, labels.shape))
    labels[:, :, 0] = IGNORED
    confusion = Confusion(5)
    for batch in range(2):
        confusion.add(said[batch].astype(np.uint8), labels[batch].astype(np.uint8))
    counted = labels != IGNORED
    ious = []
    for category in range(4):
        true, claimed = (labels == category) & counted, (said == category) & counted
        ious.append((true & claimed).sum() / (true | claimed).sum())
    np.testing.assert_allclose(confusion.iou()[:4], ious)
    assert math.isnan(confusion.iou()[4])
    assert confusion.mean_iou() == pytest.approx(np.mean(ious))
    assert confusion.pixel_accuracy() == pytest.approx((labels == said)[counted].mean())


def test_nothing_labeled_is_no_figure() -> None:
    confusion = Confusion(3)
    confusion.add(np.zeros((2, 2), int), np.full((2, 2), IGNORED))
    assert math.isnan(confusion.mean_iou())
    assert math.isnan(confusion.pixel_accuracy())


@pytest.mark.parametrize("label", [-1, 3, 254])
def test_a_label_that_is_no_class_is_named(label: int) -> None:
    labels = np.array([[0, label], [IGNORED, 1]])
    with pytest.raises(DataError, match=f"label {label}, the model has classes 0 to 2"):
        Confusion(3).add(np.zeros((2, 2), int), labels)
