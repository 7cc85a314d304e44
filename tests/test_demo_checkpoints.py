"""The demo's detector and segmenter: complete, small, healthy and as right as stated."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file

from exporter import demo
from exporter.checkpoints import build_network, load_checkpoint
from exporter.demo import fitting, train_detection, train_segmentation
from exporter.models import MobileDeepLabV3, SSDLite
from exporter.models.network import make_network
from exporter.preprocess import normalize
from exporter.spec import ModelSpec, ResizeRule

LIMIT_BYTES = 1_500_000
# Measured 0.857 and 0.604; the margin covers rounding in other builds of numpy, Pillow and torch.
MIN_MAP50 = 0.84
MIN_MIOU = 0.595
MAX_GAIN = 40.0  # of batch norm, gamma / sqrt(var + eps); measured 34.7, of a channel that is dead
TASKS = [
    pytest.param(demo.DETECTION_CHECKPOINT, demo.detection_spec(), id="detection"),
    pytest.param(demo.SEGMENTATION_CHECKPOINT, demo.segmentation_spec(), id="segmentation"),
]


@pytest.mark.parametrize(("path", "spec"), TASKS)
def test_the_checkpoint_is_small_and_of_the_stated_spec(path: Path, spec: ModelSpec) -> None:
    """At most 1.5 MB; the background is the first label; photos are stretched to [-1, 1]."""
    assert path.stat().st_size <= LIMIT_BYTES
    assert load_checkpoint(path).spec == spec
    assert spec.labels[0] == "background"
    assert set(spec.labels[1:]) < set(demo.LABELS)
    assert spec.preprocess.resize_rule is ResizeRule.STRETCH
    assert spec.preprocess.value_range == (-1.0, 1.0)


@pytest.mark.parametrize(("path", "spec"), TASKS)
def test_the_checkpoint_is_healthy(path: Path, spec: ModelSpec) -> None:
    """Weights are finite float16 and no channel is blown up when batch norm is folded in."""
    assert all(v.dtype is torch.float16 for v in load_file(path).values())
    network = build_network(load_checkpoint(path))
    assert all(bool(v.isfinite().all()) for v in network.state_dict().values())
    for norm in (m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        assert norm.running_var is not None
        gain = norm.weight.abs() / (norm.running_var + norm.eps).sqrt()
        assert gain.max() < MAX_GAIN


def test_the_detector_finds_the_unseen_style() -> None:
    """The shipped weights reach their stated precision on a style that they never saw."""
    network = build_network(load_checkpoint(demo.DETECTION_CHECKPOINT))
    assert isinstance(network, SSDLite)
    assert train_detection.evaluate(network).map50 >= MIN_MAP50


def test_the_segmenter_outlines_the_unseen_style() -> None:
    """The shipped weights reach their stated overlap on a style that they never saw."""
    network = build_network(load_checkpoint(demo.SEGMENTATION_CHECKPOINT))
    assert isinstance(network, MobileDeepLabV3)
    assert train_segmentation.evaluate(network).mean_iou() >= MIN_MIOU


@pytest.mark.parametrize(
    ("module", "spec", "said"),
    [
        pytest.param(train_detection, demo.detection_spec(), "mAP50", id="detection"),
        pytest.param(train_segmentation, demo.segmentation_spec(), "mIoU", id="segmentation"),
    ],
)
def test_training_writes_a_checkpoint_that_loads(
    module: ModuleType,
    spec: ModelSpec,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Two steps through the command line leave a complete checkpoint of the demo's spec."""
    out = tmp_path / "demo.safetensors"
    monkeypatch.setattr(sys, "argv", ["train", "--out", str(out), "--steps", "2"])
    tiny = fitting.Recipe(batch=4, backgrounds=7, statistics_batches=2)
    monkeypatch.setattr(module, "DEFAULT", tiny)
    unseen_scenes = module.unseen_scenes
    monkeypatch.setattr(module, "unseen_scenes", lambda side, seed: unseen_scenes(side, 4, seed))
    module.main()
    assert load_checkpoint(out).spec == spec
    assert out.stat().st_size <= LIMIT_BYTES
    assert said in capsys.readouterr().out


@pytest.mark.parametrize("module", [train_detection, train_segmentation])
def test_training_starts_from_a_trained_backbone(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The features of the first step are the classifier's, the heads are new."""
    given = []

    def spy_fit(model: torch.nn.Module, *_: object) -> torch.nn.Module:
        given.append({name: value.clone() for name, value in model.state_dict().items()})
        return model

    monkeypatch.setattr(module, "fit", spy_fit)
    module.train(module.DEFAULT, 0, print)
    start = load_checkpoint(demo.CHECKPOINT).state_dict
    features = {name: value for name, value in given[0].items() if name.startswith("features.")}
    assert len(features) > 200
    assert all(torch.equal(value, start[name]) for name, value in features.items())


def test_the_segmenters_loss_is_of_the_pixels_labels() -> None:
    """Nothing for a network that says what every mask shows, much for another class."""
    spec = demo.segmentation_spec()
    network = make_network(spec)
    assert isinstance(network, MobileDeepLabV3)
    labels = torch.zeros(1, spec.resolution, spec.resolution, dtype=torch.long)
    images = torch.from_numpy(normalize(labels.numpy()[..., None].repeat(3, -1), spec.preprocess))
    with torch.no_grad():
        network.classifier.weight.zero_()
        network.classifier.bias.fill_(0.0)[0] = 100.0
        assert train_segmentation.loss_of(network.eval(), images, labels) < 1e-3
        assert train_segmentation.loss_of(network.eval(), images, labels + 3) > 50
