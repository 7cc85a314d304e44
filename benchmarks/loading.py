"""Images per second that the training loader gives at 224 px, by number of worker processes.

JPEG files of ImageNet's usual size (500 x 375, about 110 kB) are made first, with photographic
statistics: sums of smooth noise at several scales.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from exporter.spec import torchvision_preprocess
from exporter.training.augment import Augment
from exporter.training.loading import Throughput, default_workers, train_batches, val_batches
from exporter.training.sources import Source, open_source
from exporter.training.views import ClassView

SIZE = (500, 375)
CONTRACT = torchvision_preprocess(224)
AUGMENT = Augment(brightness=0.4, contrast=0.4, saturation=0.4)


def write_photos(root: Path, count: int) -> None:
    """Half in either of two classes."""
    random = np.random.Generator(np.random.PCG64(0))
    for index in range(count):
        pixels = np.zeros((SIZE[1], SIZE[0], 3), np.float32)
        for side in (4, 16, 64, 256):
            coarse = Image.fromarray(random.integers(0, 256, (side, side, 3)).astype(np.uint8))
            pixels += np.asarray(coarse.resize(SIZE, Image.Resampling.BICUBIC), np.float32)
        folder = root / f"class {index % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels / 4).astype(np.uint8)).save(folder / f"{index}.jpg", quality=95)


def measure(source: Source, workers: int, batch: int) -> tuple[float, float]:
    """Training and validation images per second, the start of the workers included."""
    training, validation = Throughput(), Throughput()
    augmented, plain = ClassView(source, CONTRACT, AUGMENT), ClassView(source, CONTRACT)
    for _ in training.watch(train_batches(augmented, batch, epoch=0, seed=0, workers=workers)):
        pass
    for _ in validation.watch(val_batches(plain, batch, workers=workers)):
        pass
    return training.images_per_second, validation.images_per_second


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=50)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{platform.machine()}, {os.cpu_count()} cores, default workers: {default_workers()}")
    with tempfile.TemporaryDirectory() as folder:
        write_photos(Path(folder), arguments.images)
        source = open_source(Path(folder), None)
        measure(source, 1, 8)  # warm
        for workers in range(3):
            train, val = measure(source, workers, arguments.batch)
            print(f"{workers} workers: training {train:.0f}, validation {val:.0f} images/s")


if __name__ == "__main__":
    main()
