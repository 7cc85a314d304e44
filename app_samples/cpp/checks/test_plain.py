"""A build without libjpeg and libpng, as one makes it where these are not at hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from conftest import WORK, model_of, pixels_of, run
from made_images import picture

from exporter.preprocess import load_pixels
from exporter.spec import torchvision_preprocess

PLAIN = WORK / "plain" / "mnv2_runner"


def test_ppm_is_read(tmp_path: Path) -> None:
    """Byte for byte."""
    path = tmp_path / "image.ppm"
    picture(80, 60).save(path)
    contract = torchvision_preprocess(32)
    (found,) = pixels_of(PLAIN, tmp_path, contract, [path])
    assert np.array_equal(found, load_pixels(path, contract))


def test_the_rest_is_refused(tmp_path: Path) -> None:
    """By its name."""
    for name in ("image.png", "image.jpg"):
        picture(80, 60).save(tmp_path / name)
        done = run(PLAIN, "--model", model_of("classification"), tmp_path / name)
        assert done.code == 3
        assert "built without" in done.error
    done = run(PLAIN, "--out", "x.png", tmp_path / "image.png")
    assert done.code == 2


def test_it_runs_a_model(tmp_path: Path) -> None:
    """From a PPM to a picture."""
    picture(80, 60).save(tmp_path / "image.ppm")
    out = tmp_path / "out.ppm"
    done = run(PLAIN, "--model", model_of("segmentation"), "--out", out, tmp_path / "image.ppm")
    assert done.code == 0, done.error
    assert out.is_file()
