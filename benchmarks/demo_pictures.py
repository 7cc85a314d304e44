"""The demo's test pictures as a folder per class, for `mnv2-export evaluate --data`."""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

from exporter import demo


def main() -> None:
    """Write a PNG per picture, numbered in the order of the test split."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder to write")
    out = parser.parse_args().out
    for index, (pixels, label) in enumerate(zip(*demo.unseen_images(), strict=True)):
        folder = out / demo.LABELS[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{index:03d}.png")


if __name__ == "__main__":
    main()
