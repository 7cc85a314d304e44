"""Weights for a point that came without: random, with batch norm statistics measured on pictures.

Activations are then of a trained network's size, so what is built has the size and the speed of
the real one. What it says about a picture means nothing, and no accuracy is given for it.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from exporter import demo
from exporter.checkpoints import save_checkpoint
from exporter.data import load_image_set
from exporter.files import write_atomic
from exporter.models import make_network
from exporter.preprocess import normalize, to_pixels
from exporter.published import default_spec
from exporter.tasks import Task

COUNT, STATISTICS_COUNT = 96, 32


def write_random(
    path: Path, width: float, resolution: int, calibration: Sequence[Path], photos: Path
) -> None:
    """Write a checkpoint; without photos of the user's also the demo's, for calibration."""
    spec = default_spec(Task.CLASSIFICATION, width=width, resolution=resolution)
    if calibration:
        pixels = load_image_set(calibration, spec.preprocess, STATISTICS_COUNT).calibration
    else:
        pictures = [Image.fromarray(p) for p in demo.calibration_images(COUNT)]
        photos.mkdir(parents=True)
        for index, picture in enumerate(pictures):
            data = io.BytesIO()
            picture.save(data, "PNG")
            write_atomic(photos / f"{index:03d}.png", data.getvalue())
        pixels = np.stack([to_pixels(p, spec.preprocess) for p in pictures[:STATISTICS_COUNT]])
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        network = make_network(spec)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0
        network.train()(torch.from_numpy(normalize(pixels, spec.preprocess)))
    save_checkpoint(path, spec, network.eval().state_dict())
