"""Top-1 of the demo's float model over other draws of scenes and positions."""

from __future__ import annotations

import statistics
import sys

import torch

from exporter import demo, golden
from exporter.checkpoints import build_model, load_checkpoint
from exporter.fold import fold
from exporter.metrics import accuracy
from exporter.preprocess import normalize

DRAWS = 10


def main() -> int:
    """Print the test split's figure, then mean and deviation over the draws."""
    torch.set_num_threads(1)
    graph = fold(build_model(load_checkpoint(demo.CHECKPOINT)))

    def top1(seed: int) -> float:
        pixels, labels = demo.unseen_images(seed)
        return accuracy(golden.run(graph, normalize(pixels, graph.spec.preprocess)), labels).top1

    print(f"test split: {top1(demo.TEST_SEED):.1%}")
    draws = [top1(seed) for seed in range(DRAWS)]
    print(f"{DRAWS} draws: {statistics.mean(draws):.1%} +- {statistics.stdev(draws):.1%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
