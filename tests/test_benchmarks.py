"""The scripts in benchmarks/ that take a user's files, and the rows that they print."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from graphs import make_spec, random_model, sample_images
from PIL import Image

from exporter import demo, golden
from exporter.errors import DataError, MissingDependencyError, ParityError
from exporter.fold import fold
from exporter.quantize.settings import Bits, QatSettings
from exporter.spec import HeadLayer, PaddingStyle

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def rows(monkeypatch) -> ModuleType:
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("qat_rows")


def small_task(rows: ModuleType):
    spec = make_spec(0.35, 64, PaddingStyle.TORCH, (HeadLayer(units=20),))
    graph = fold(random_model(spec, seed=4))
    test = sample_images(spec, 40, seed=3)
    reference = golden.run(graph, test)
    return rows.Task(
        graph=graph,
        images=sample_images(spec, 8, seed=1),
        guard=sample_images(spec, 4, seed=2),
        test=test,
        reference=reference,
        labels=reference.argmax(1),
    )


def save_pictures(folder: Path, pixels: np.ndarray) -> Path:
    folder.mkdir()
    for i, picture in enumerate(pixels):
        Image.fromarray(picture).save(folder / f"{i}.png")
    return folder


def test_every_offered_stage_is_a_row_of_the_pte(rows) -> None:
    found = rows.stage_rows(small_task(rows), QatSettings(bits=Bits(weights=6), steps=1, batch=4))
    assert len(found) >= 3
    for row in found.values():
        assert row.ran_as == rows.EXECUTED
        assert np.array_equal(row.agrees, row.right)  # the labels are the float model's answers
        assert row.sqnr_db > 0.0


def test_four_bit_activations_are_named_as_simulated(rows) -> None:
    task = small_task(rows)
    bits = Bits(activations=4)
    found = rows.stage_rows(task, QatSettings(bits=bits, steps=1, batch=4))
    assert {row.ran_as for row in found.values()} == {rows.SIMULATED}


def test_a_pte_that_is_another_model_is_no_row(rows) -> None:
    logits = small_task(rows).reference
    rows.require_equal(logits, logits.copy())
    other = logits.copy()
    other[-1, 0] = np.nextafter(other[-1, 0], np.inf, dtype=np.float32)
    with pytest.raises(ParityError, match="other logits"):
        rows.require_equal(logits, other)


def test_shares_have_wilsons_interval_over_pictures(rows) -> None:
    seeds = [np.arange(100) < 90, np.arange(100) < 92]
    assert rows.share(seeds).split() == ["91.0%", "(83.8%", "to", "95.2%)"]


def test_few_held_out_photos_are_one_line(tmp_path) -> None:
    held = save_pictures(tmp_path / "held", demo.calibration_images(12))
    seen = save_pictures(tmp_path / "seen", demo.calibration_images(2, seed=1))
    command = [sys.executable, FOLDER / "qat.py", "--checkpoint", demo.CHECKPOINT]
    command += ["--calibration", seen, "--held-out", held]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == DataError.exit_code
    assert run.stderr.count("\n") == 1
    assert "12 photos" in run.stderr


def test_a_photo_on_both_sides_is_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    qat = importlib.import_module("qat")
    pictures = demo.calibration_images(3)
    held = save_pictures(tmp_path / "held", pictures)
    seen = save_pictures(tmp_path / "seen", pictures[2:])
    graph = fold(random_model(demo.spec(), seed=0))
    with pytest.raises(DataError, match=r"held/2\.png: is in"):
        qat.photo_tasks(graph, seen, held, seeds=3)


def test_photos_need_debians_tools(tmp_path) -> None:
    run = subprocess.run(
        [sys.executable, FOLDER / "photos.py", tmp_path / "photos"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": str(tmp_path)},
    )
    assert run.returncode == MissingDependencyError.exit_code
    assert "apt-get" in run.stderr
    assert not list(tmp_path.iterdir())
