"""A folder of small pictures in three colors, and the smallest network that learns them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from exporter.training.recipes import ADAMW, Recipe
from exporter.training.settings import Settings

COLORS = {"red": (200, 60, 60), "green": (60, 200, 60), "blue": (60, 60, 200)}
SMALL = ("--width", "0.35", "--resolution", "32", "--batch", "8", "--workers", "0")


def colors(path: Path, each: int = 12) -> Path:
    """So many noisy pictures of each color."""
    rng = np.random.default_rng(0)
    for name, color in COLORS.items():
        folder = path / name
        folder.mkdir(parents=True)
        for index in range(each):
            pixels = rng.normal(0, 40, (36, 36, 3)) + np.array(color)
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{index:02}.png")
    return path


def recipe(**changes: object) -> Recipe:
    """Fine-tuning of a few batches of eight."""
    from dataclasses import replace

    return replace(ADAMW, **{"epochs": 2, "batch": 8, **changes})


def settings(data: Path, how: Recipe | None = None, **changes: object) -> Settings:
    """A run that takes a second or two."""
    small = {"width": 0.35, "resolution": 32, "workers": 0, "report_every": 1}
    return Settings(data=data, recipe=how or recipe(), **{**small, **changes})
