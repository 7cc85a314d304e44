"""Real artifacts of detectors and segmenters, evaluated as a user does it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import invoke
from evaluated import SIDES
from graphs import random_network
from object_data import annotation, coco, save_mask, save_picture

from exporter.checkpoints import save_checkpoint
from exporter.published import default_spec
from exporter.tasks import Task

LABELS = ("background", "dog", "toothbrush")
COUNT = 12


def data_set(task: Task, folder: Path) -> Path:
    """Dogs on the left; on even pictures a toothbrush on the right."""
    names = [save_picture(folder / "images" / f"{i}.png", i).name for i in range(COUNT)]
    if task is Task.DETECTION:
        boxes = [annotation(i, i, (2, 3, 16, 20)) for i in range(COUNT)]
        boxes += [annotation(COUNT + i, i, (20, 3, 16, 20), 90) for i in range(0, COUNT, 2)]
        return coco(folder / "all.json", names, boxes)
    for index in range(COUNT):
        mask = np.zeros((30, 40), np.uint8)
        mask[3:23, 2:18], mask[3:23, 20:36] = 1, 0 if index % 2 else 2
        save_mask(folder / "masks" / f"{index}.png", mask)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("task", SIDES)
def test_equal_artifacts_have_equal_figures_and_float_ones_floats(task: Task, tmp_path) -> None:
    spec = default_spec(task, width=0.35, resolution=SIDES[task], classes=len(LABELS))
    spec = dataclasses.replace(spec, labels=LABELS)
    save_checkpoint(tmp_path / "m.safetensors", spec, random_network(spec).state_dict())
    data = data_set(task, tmp_path / "data")
    photos, out = tmp_path / "data" / "images", tmp_path / "build"
    made = invoke(
        "build", tmp_path / "m.safetensors", "-c", photos, "-o", out, "-p", "int8", "-p", "fp32"
    )
    assert made.exit_code == 0, made.output
    found = invoke("evaluate", out, "--data", data, "--worst", "3", "--json")
    assert found.exit_code == 0, found.output
    evaluation = json.loads(found.stdout)["evaluation"]
    scores = {row["path"]: row for row in evaluation["scores"]}
    assert scores["model-int8.pte"]["figures"] == scores["model-int8.tflite"]["figures"]
    ran = {path: row for path, row in scores.items() if row["seconds"] is not None}
    assert {"float model", "model-fp32.pte", "model-fp32.tflite", "model-fp32.onnx"} <= ran.keys()
    for path, row in ran.items():
        if "fp32" in path:
            assert all(abs(d["points"]) < 0.1 for d in row["against_float"].values()), path
    figures = [value["value"] for value in scores["float model"]["figures"].values()]
    assert all(0 < value < 1 for value in figures)
    assert len(evaluation["worst"]) == (2 if task is Task.DETECTION else 3)
