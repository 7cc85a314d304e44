"""Checkpoints that users really have -> ModelSpec and a strict float32 state dict.

In reading order: `records` (what goes in and out), `sniff` (which container), then a reader per
format (`pytorch`, `safetensors` and `own`, `keras`), `detect` (width, classes and health of the
tensors) and `assemble` (file + stated options -> Checkpoint). What was found, and how, is in
`Checkpoint.detected`; what a file does not say has a default that names itself there. This package
loads torch when a file is read, not before.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporter.checkpoints.records import (
    Checkpoint,
    Detected,
    Overrides,
    Raw,
    TrainedIntegers,
    printable,
)
from exporter.checkpoints.sniff import Container, sniff
from exporter.errors import CheckpointError, UnsupportedError
from exporter.tasks import Task

if TYPE_CHECKING:
    from exporter.checkpoints.own import save_checkpoint
    from exporter.models import MobileNetV2, Network

__all__ = [
    "BEST",
    "LATEST",
    "RUN",
    "Checkpoint",
    "Detected",
    "Overrides",
    "TrainedIntegers",
    "build_model",
    "build_network",
    "check_classifier",
    "load_checkpoint",
    "run_checkpoint",
    "save_checkpoint",
]

NOTHING_STATED = Overrides()
BEST = "best.safetensors"  # what a training run has come to, in its folder
RUN = "run.json"  # what the run was asked to do
LATEST = "latest"  # beside runs: a link to the newest, or a file with its name


def __getattr__(name: str) -> Any:
    """`save_checkpoint` loads torch, which what is only stated about a file does not need."""
    if name != "save_checkpoint":
        raise AttributeError(f"module 'exporter.checkpoints' has no attribute {name!r}")
    from exporter.checkpoints.own import save_checkpoint

    return save_checkpoint


def load_checkpoint(path: Path, overrides: Overrides = NOTHING_STATED) -> Checkpoint:
    """Read, check and describe a checkpoint of any known format; nothing in it is executed.

    Raises CheckpointError for a file that is not a healthy MobileNetV2, and UnsupportedError for
    stated options that do not fit it.
    """
    from exporter.checkpoints.assemble import assemble

    path = run_checkpoint(path)
    try:
        return assemble(path, _read(path, overrides), overrides)
    except CheckpointError as error:
        raise CheckpointError(printable(error.message), printable(error.hint)) from None


def run_checkpoint(path: Path) -> Path:
    """The file that is meant: of a training run's folder its best checkpoint."""
    if path.name == LATEST and path.is_file():
        path = path.parent / path.read_text(errors="replace").strip()
    if (path / BEST).is_file():
        return path.resolve() / BEST
    if (path / RUN).is_file():
        raise CheckpointError(
            f"{path}: a training run that has not finished an epoch", "go on with it: --resume"
        )
    return path


def _read(path: Path, overrides: Overrides) -> Raw:
    from exporter.checkpoints import keras, pytorch, safetensors

    container = sniff(path)
    if container in (Container.HDF5, Container.KERAS_ZIP):
        return keras.read(path, container, overrides)
    if container is Container.SAFETENSORS:
        return safetensors.read(path)
    return pytorch.read(path, container)


def build_network(checkpoint: Checkpoint) -> Network:
    """The checkpoint's network with its weights, in eval mode."""
    from exporter.models import make_network

    network = make_network(checkpoint.spec)
    network.load_state_dict(checkpoint.state_dict, strict=True)
    return network.eval()


def build_model(checkpoint: Checkpoint) -> MobileNetV2:
    """`build_network` for those who take classifiers only; raises UnsupportedError for others."""
    from exporter.models import MobileNetV2

    check_classifier(checkpoint)
    network = build_network(checkpoint)
    assert isinstance(network, MobileNetV2)
    return network


def check_classifier(checkpoint: Checkpoint) -> None:
    """Raise UnsupportedError for a network of another task."""
    if checkpoint.spec.task is not Task.CLASSIFICATION:
        raise UnsupportedError(
            f"the checkpoint is a model for {checkpoint.spec.task}; only classifiers are taken here"
        )
