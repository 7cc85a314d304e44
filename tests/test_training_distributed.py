"""Two processes on gloo: the same model on each, and every image counted once."""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from shape_data import boxes, masks
from training_data import SMALL, colors

from exporter.checkpoints import load_checkpoint
from exporter.training.run_folder import RunFolder

TESTS = Path(__file__).parent


def start(arguments: list[str], cwd: Path) -> list[subprocess.Popen[str]]:
    """Two ranks of a command, without the launcher's own start-up."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    shared = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "OMP_NUM_THREADS": "1",
    }
    return [
        subprocess.Popen(
            [sys.executable, *arguments],
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]


def wait(processes: list[subprocess.Popen[str]]) -> list[tuple[str, str]]:
    """What each said, on standard output and on standard error."""
    try:
        return [process.communicate(timeout=120) for process in processes]
    finally:
        for process in processes:
            process.kill()


def launch(arguments: list[str], cwd: Path) -> None:
    """Two ranks of a command that succeeds."""
    processes = start(arguments, cwd)
    said = wait(processes)
    assert [process.returncode for process in processes] == [0, 0], said


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    folder = tmp_path_factory.mktemp("workers")
    data = colors(folder / "data")
    launch([str(TESTS / "training_worker.py"), str(data), str(folder)], folder)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def test_replicas_are_equal(records: list[dict]) -> None:
    """To the last bit, with other images on each: weights, their average, measured statistics."""
    first, second = records
    assert first["model"] == second["model"]
    assert first["average"] == second["average"]
    assert first["losses"] != second["losses"]
    assert not set(first["trained_on"]) & set(second["trained_on"])


def test_the_shared_evaluation_is_complete(records: list[dict]) -> None:
    """Each image on one worker, and sums equal to those of a worker that saw all of them."""
    seen = [index for record in records for index in record["evaluated"]]
    assert sorted(seen) == list(range(records[0]["images"]))
    for record in records:
        assert record["confusion"] == record["confusion_alone"]
        assert record["loss"] == pytest.approx(record["loss_alone"], rel=1e-5)
        assert sum(map(sum, record["confusion"])) == record["images"]
        assert record["quality"] == pytest.approx(record["quality_alone"], rel=1e-6)
        assert record["quality"]["sqnr_db"] == pytest.approx(10 * math.log10(0.81 / 0.01), abs=1e-3)


def test_workers_agree(records: list[dict]) -> None:
    assert [record["stop"] for record in records] == [15, 15]
    assert [record["said"] for record in records] == ["rank 0", "rank 0"]


def test_what_all_workers_object_to_is_said_once(tmp_path: Path) -> None:
    processes = start(["-m", "exporter", "train", "nowhere", *SMALL], tmp_path)
    (_, lead), (_, other) = wait(processes)
    assert [process.returncode for process in processes] == [4, 4]
    assert lead.count("nowhere: no such file or folder") == 1
    assert "Traceback" not in lead + other
    assert "nowhere" not in other


@pytest.mark.slow
def test_detectors_and_segmenters_are_shared_too(tmp_path: Path) -> None:
    """Equal replicas, and the figures of the whole split, of which each worker saw a part."""
    boxes(tmp_path / "data" / "detection", train=8, val=5)
    masks(tmp_path / "data" / "segmentation", train=8, val=5)
    launch([str(TESTS / "task_worker.py"), str(tmp_path / "data"), str(tmp_path)], tmp_path)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert first.keys() == {"detection", "segmentation"}
    for task, one in first.items():
        other = second[task]
        assert (one["model"], one["average"]) == (other["model"], other["average"])
        assert one["losses"] != other["losses"]
        assert one["shared"] == other["shared"]
        for images, loss, score in (one["shared"], one["alone"]):
            assert images == 5
            assert loss == pytest.approx(one["alone"][1], rel=1e-5)
            assert score == one["alone"][2]


@pytest.mark.slow
def test_a_worker_that_is_killed_ends_the_run_with_one_line(tmp_path: Path) -> None:
    data = colors(tmp_path / "data")
    options = ["--epochs", "500", "--batch", "4", "--name", "cut", "--save-every", "1"]
    processes = start(["-m", "exporter", "train", str(data), *SMALL, *options], tmp_path)
    deadline = time.monotonic() + 60
    while not (tmp_path / "runs" / "cut" / "state.pt").exists():
        assert time.monotonic() < deadline, wait(processes)
        time.sleep(0.1)
    processes[1].kill()
    _, lead = wait(processes)[0]
    assert processes[0].returncode == 11, lead
    assert "another worker ended" in lead
    assert "Traceback" not in lead


@pytest.mark.slow
def test_torchrun_is_the_same_command(tmp_path: Path) -> None:
    """`torchrun -m exporter train`: one folder, one document, the lead's word."""
    data = colors(tmp_path / "data")
    options = [str(data), *SMALL, "--batch", "4", "--epochs", "1", "--json"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [*torchrun, "-m", "exporter", "train", *options],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["run"]["best_epoch"] == 1
    folder = tmp_path / "runs" / "latest"
    assert load_checkpoint(folder / "best.safetensors").spec.classes == 3
    assert json.loads((folder / "run.json").read_text())["workers"] == 2
    rows = RunFolder(folder).metrics()
    assert [row["kind"] for row in rows].count("val") == 1
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["finetune-1", "latest"]
