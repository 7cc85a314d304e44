"""A run on disk: its settings, its state to resume from, its checkpoints and its metrics.

    run.json            settings and model
    state.pt            everything that the next update depends on; read without running any code
    last.safetensors    the weights after the last whole epoch, ready for `build`
    best.safetensors    those of the epoch with the best score
    metrics.jsonl       a line per report and per epoch

Every file but metrics.jsonl is replaced whole: a kill or a full disk leaves the one before.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import pickle
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from exporter.checkpoints import LATEST, RUN
from exporter.errors import ArtifactError, CheckpointError, TrainingError
from exporter.files import write_atomic
from exporter.spec import ModelSpec
from exporter.training.candidates import Candidate, IntegerCandidate
from exporter.training.settings import Settings
from exporter.training.validation import Tally
from exporter.verdicts import QuantizationStage

STATE = "state.pt"
STATE_VERSION = 2
METRICS = "metrics.jsonl"
LAST = "last.safetensors"
FULL = (errno.ENOSPC, errno.EDQUOT)
FULL_HINT = "free some space, then add --resume; the last good checkpoint is kept"
OTHER_HINT = "check --out"


@dataclass(frozen=True, kw_only=True)
class Began:
    """What must be the same for a run to go on."""

    settings: Settings
    spec: ModelSpec
    workers: int
    images: tuple[int, int]  # to train and to validate on


@dataclass(frozen=True)
class RunFolder:
    """One run's directory."""

    path: Path

    def write_run(self, began: Began) -> None:
        """What the run was asked to do, and on what."""
        record = {
            "settings": began.settings.to_json(),
            "spec": began.spec.to_json(),
            "workers": began.workers,
            "images": list(began.images),
        }
        with _clear(self.path / RUN):
            write_atomic(self.path / RUN, json.dumps(record, indent=2, sort_keys=True).encode())

    def read_run(self) -> Began:
        """What the run was asked to do, and on what."""
        try:
            record = json.loads((self.path / RUN).read_text())
            train, val = map(int, record["images"])
            return Began(
                settings=Settings.from_json(record["settings"]),
                spec=ModelSpec.from_json(record["spec"]),
                workers=int(record["workers"]),
                images=(train, val),
            )
        except FileNotFoundError:
            raise ArtifactError(
                f"{self.path}: no run to resume", "leave --resume out to start one"
            ) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ArtifactError(f"{self.path / RUN}: cannot be read ({error})") from None

    def save_state(self, state: dict[str, Any]) -> None:
        """Replace the state; raises TrainingError where the disk takes no more."""
        data = io.BytesIO()  # torch would report a full disk as an internal failure
        torch.save({"version": STATE_VERSION, **state}, data)
        with _clear(self.path / STATE):
            write_atomic(self.path / STATE, data.getvalue())

    def load_state(self) -> dict[str, Any] | None:
        """The saved state on the CPU, or None when the run was killed before its first save."""
        path = self.path / STATE
        if not path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
            reason = str(error).splitlines()[0]
            raise ArtifactError(f"{path}: cannot be read ({reason})") from None
        if state.get("version") != STATE_VERSION:
            raise ArtifactError(f"{path}: was written by another version", "start a new run")
        return state

    def save_weights(self, name: str, candidate: Candidate, tally: Tally, *, best: bool) -> None:
        """Write a checkpoint that `build` takes."""
        try:
            candidate.save(self.path / name, tally, best=best)
        except CheckpointError as error:
            raise TrainingError(error.message, _hint(error.__context__)) from None

    def save_integers(
        self, name: str, candidate: IntegerCandidate, stages: tuple[QuantizationStage, ...] = ()
    ) -> None:
        """Write a checkpoint with an int8 graph, and with more stages in its record."""
        try:
            candidate.save_with(self.path / name, stages)
        except CheckpointError as error:
            raise TrainingError(error.message, _hint(error.__context__)) from None

    def append(self, row: dict[str, Any]) -> None:
        """One line of metrics."""
        with _clear(self.path / METRICS), (self.path / METRICS).open("a") as file:
            file.write(json.dumps(row) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """All whole lines; a kill may have cut the last one."""
        path = self.path / METRICS
        rows = []
        for line in path.read_text().splitlines() if path.exists() else []:
            with contextlib.suppress(ValueError):
                rows.append(json.loads(line))
        return rows

    def sweep(self) -> None:
        """Remove what a kill left half-written."""
        for path in self.path.glob(".*.*"):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)

    def rewind(self, *, step: int, epochs: int, unreported: bool) -> None:
        """Forget metrics of what will be done again, after so many updates and whole epochs."""
        limit = {"train": step - unreported, "val": epochs}
        unit = {"train": "step", "val": "epoch"}
        rows = [r for r in self.metrics() if r[unit[r["kind"]]] <= limit[r["kind"]]]
        kept = [json.dumps(row) + "\n" for row in rows]
        with _clear(self.path / METRICS):
            write_atomic(self.path / METRICS, "".join(kept).encode())


def create(out: Path, name: str | None, kind: str) -> RunFolder:
    """A new directory below `out`, named after its kind and a number unless named."""
    path = out / name if name else _numbered(out, kind)
    if path.exists() and (not path.is_dir() or any(map(_visible, path.iterdir()))):
        raise ArtifactError(
            f"{path}: exists already", "choose another --name, or go on with it: --resume"
        )
    with _clear(path):
        path.mkdir(parents=True, exist_ok=True)
    return RunFolder(path)


def _visible(path: Path) -> bool:
    """Not what a kill left half-written."""
    return not path.name.startswith(".")


def existing(out: Path, name: str | None) -> RunFolder:
    """The named run, or the latest."""
    return RunFolder(out / name if name else _latest(out))


def point_latest(folder: RunFolder) -> None:
    """Make `latest` lead to this run: a link, or a file with its name where links are barred."""
    link = folder.path.parent / LATEST
    if link.is_dir() and not link.is_symlink():
        return  # the user's own
    fresh = link.with_name(f".{LATEST}.{os.getpid()}")
    with _clear(link):
        try:
            fresh.symlink_to(folder.path.name, target_is_directory=True)
        except OSError:
            fresh.write_text(folder.path.name)
        os.replace(fresh, link)  # noqa: PTH105 (atomic)


def _latest(out: Path) -> Path:
    link = out / LATEST
    if link.is_file():
        return out / link.read_text().strip()
    return link.resolve() if link.is_symlink() else link


def _numbered(out: Path, kind: str) -> Path:
    number = 1
    while (out / f"{kind}-{number}").exists():
        number += 1
    return out / f"{kind}-{number}"


def _hint(error: BaseException | None) -> str:
    return FULL_HINT if isinstance(error, OSError) and error.errno in FULL else OTHER_HINT


@contextlib.contextmanager
def _clear(path: Path) -> Iterator[None]:
    """One line for whatever the file system objects to."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise TrainingError(f"{path}: cannot be written ({reason})", _hint(error)) from None
