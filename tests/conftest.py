"""Fixtures that cost something, made once per session."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

os.environ["TQDM_DISABLE"] = "1"  # read when tqdm is first imported
os.environ["OMP_NUM_THREADS"] = "1"  # of commands too; these networks are too small to share
torch.set_num_threads(1)


@dataclass(frozen=True)
class DemoBuild:
    """What `mnv2-export build` wrote and said, at every precision."""

    folder: Path
    result: Result


def invoke(*arguments: object) -> Result:
    """Run the command line in this process."""
    from exporter.cli import app

    return CliRunner().invoke(app, [str(a) for a in arguments], prog_name="mnv2-export")


@pytest.fixture(scope="session")
def demo_build(tmp_path_factory: pytest.TempPathFactory) -> DemoBuild:
    """The embedded default for all targets."""
    folder = tmp_path_factory.mktemp("demo") / "build"
    precisions = ["-p", "int8", "-p", "fp16", "-p", "fp32"]
    return DemoBuild(folder=folder, result=invoke("build", "--out", folder, *precisions))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small classifier with random weights, as a user's file."""
    from graphs import TWO_LAYERS, make_spec, random_model

    from exporter.checkpoints import save_checkpoint
    from exporter.spec import PaddingStyle

    spec = make_spec(0.35, 64, PaddingStyle.SAME, TWO_LAYERS)
    path = tmp_path_factory.mktemp("checkpoint") / "mine.safetensors"
    save_checkpoint(path, spec, random_model(spec).state_dict())
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pictures to calibrate with."""
    from test_preprocess import picture

    folder = tmp_path_factory.mktemp("photos")
    for index in range(3):
        picture(200 + 40 * index, 150).save(folder / f"{index}.png")
    return folder
