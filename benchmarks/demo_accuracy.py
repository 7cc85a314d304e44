"""How right the demo's float models are, over other draws of scenes and positions too."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable

import torch

from exporter import demo
from exporter.checkpoints import build_model, build_network, load_checkpoint
from exporter.demo import scenes, train_detection, train_segmentation
from exporter.fold import fold
from exporter.golden import run
from exporter.metrics import accuracy
from exporter.models import MobileDeepLabV3, SSDLite
from exporter.preprocess import normalize

DRAWS = 10


def main() -> int:
    """Print every task's figure of the test split, then mean and deviation over the draws."""
    torch.set_num_threads(1)
    tell("top-1 of the classifier", top1(), demo.TEST_SEED)
    tell("mAP50 of the detector", map50(), scenes.SCENES_SEED)
    tell("mIoU of the segmenter", mean_iou(), scenes.SCENES_SEED)
    return 0


def tell(what: str, measure: Callable[[int], float], test_seed: int) -> None:
    """One line: the test split's figure, and the spread that the draw causes."""
    draws = [measure(seed) for seed in range(DRAWS)]
    mean, spread = statistics.mean(draws), statistics.stdev(draws)
    print(f"{what}: test split {measure(test_seed):.1%}; {DRAWS} draws {mean:.1%} +- {spread:.1%}")


def top1() -> Callable[[int], float]:
    """By the golden on the folded graph."""
    graph = fold(build_model(load_checkpoint(demo.CHECKPOINT)))

    def measure(seed: int) -> float:
        pixels, labels = demo.unseen_images(seed)
        return accuracy(run(graph, normalize(pixels, graph.spec.preprocess)), labels).top1

    return measure


def map50() -> Callable[[int], float]:
    """Mean average precision at an overlap of a half."""
    network = build_network(load_checkpoint(demo.DETECTION_CHECKPOINT))
    assert isinstance(network, SSDLite)
    return lambda seed: train_detection.evaluate(network, seed).map50


def mean_iou() -> Callable[[int], float]:
    """Mean intersection over union, the background's included."""
    network = build_network(load_checkpoint(demo.SEGMENTATION_CHECKPOINT))
    assert isinstance(network, MobileDeepLabV3)
    return lambda seed: train_segmentation.evaluate(network, seed).mean_iou()


if __name__ == "__main__":
    sys.exit(main())
