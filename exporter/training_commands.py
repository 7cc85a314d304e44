"""`train` and `qat` on the command line. What they do is in exporter/training/."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated

import typer

from exporter.arguments import Json, Quiet, Verbose
from exporter.errors import TrainingError, UnsupportedError
from exporter.session import INTERRUPTED, Session, session
from exporter.tasks import DEFAULTS, OUTPUT_STRIDES, Task
from exporter.training.recipe import OptimizerName, RecipeName
from exporter.training.recipes import Changes
from exporter.training.settings import Arithmetic, Asked
from exporter.training_arguments import (
    Accumulate,
    BatchSize,
    Explain,
    Loss,
    OnDevice,
    Resume,
    RunName,
    Runs,
    SaveEvery,
    Seed,
    TensorBoard,
    Val,
    Workers,
    option,
)
from exporter.training_session import (
    finish,
    only_the_lead_complains,
    print_explanation,
    settled,
)

TERMINATED = 128 + signal.SIGTERM
EPILOG = (
    f"Exit codes besides the general ones:\n\n{TrainingError.exit_code} {TrainingError.meaning}\n\n"
    f"{INTERRUPTED} Ctrl-C and {TERMINATED} SIGTERM: the run was saved, --resume goes on with it"
)
VAL_LIMIT = 2000  # images; integers run on the CPU
RESOLUTIONS = ", ".join(f"{d.resolution} ({t})" for t, d in DEFAULTS.items())
BITS = "Bits of {}, 2 to 8."

Data = Annotated[
    Path | None,
    typer.Argument(
        help="Folders of images by class (with train/ and val/, or split by --seed), a list file "
        "or shards; for --task detection COCO or Pascal VOC, for --task segmentation these or "
        "folders images/ and masks/.",
        show_default=False,
    ),
]
Float = Annotated[
    Path | None,
    typer.Argument(
        help="The float model: a run such as runs/latest, or any checkpoint that `build` reads.",
        show_default=False,
    ),
]


def train(
    data: Data = None,
    task: Annotated[Task | None, option("What to learn; default: classification.")] = None,
    recipe: Annotated[RecipeName | None, option("Default: finetune.")] = None,
    explain_only: Explain = False,
    val: Val = None,
    init: Annotated[
        Path | None,
        option(
            "Start from any checkpoint that `build` reads; a detector or a segmenter takes the "
            "backbone of a classifier."
        ),
    ] = None,
    width: Annotated[float | None, option("Default: of --init, else 1.0.")] = None,
    resolution: Annotated[
        int | None,
        option(f"Default: of --init, if it has the same task, else {RESOLUTIONS}."),
    ] = None,
    epochs: Annotated[int | None, option("Default: the recipe's.", least=1)] = None,
    batch: BatchSize = None,
    lr: Annotated[float | None, option("Peak learning rate of one worker.")] = None,
    optimizer: Annotated[OptimizerName | None, option("Of finetune: adamw or sgd.")] = None,
    freeze: Annotated[int | None, option("Keep the first N of 19 blocks.", least=0)] = None,
    head_epochs: Annotated[
        int | None, option("Train the head alone for N epochs first.", least=0)
    ] = None,
    loss: Loss = None,
    output_stride: Annotated[
        int | None,
        option(f"Of a segmenter: {' or '.join(map(str, OUTPUT_STRIDES))}; default: 16."),
    ] = None,
    full_aspp: Annotated[
        bool, typer.Option("--full-aspp", help="Give a segmenter DeepLabv3's dilated branches.")
    ] = False,
    seed: Seed = None,
    accumulate: Accumulate = None,
    device: OnDevice = None,
    precision: Annotated[Arithmetic | None, option("Default: auto, fp32 on a CPU.")] = None,
    workers: Workers = None,
    save_every: SaveEvery = None,
    tensorboard: TensorBoard = False,
    out: Runs = Path("runs"),
    name: RunName = None,
    resume: Resume = False,
    as_json: Json = False,
    silent: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Train on your own images, on one device or under torchrun; ends in a checkpoint for build."""
    changes = Changes(
        optimizer=optimizer,
        lr=lr,
        batch=batch,
        epochs=epochs,
        freeze=freeze,
        head_epochs=head_epochs,
        loss=loss,
    )
    asked = Asked(
        data=data,
        task=task,
        recipe=recipe,
        changes=changes,
        val=val,
        init=init,
        width=width,
        resolution=resolution,
        seed=seed,
        accumulate=accumulate,
        device=device,
        precision=precision,
        workers=workers,
        save_every=save_every,
        tensorboard=tensorboard or None,
        output_stride=output_stride,
        full_aspp=full_aspp or None,
    )
    with session(as_json=as_json, verbose=verbose, silent=silent) as current:
        if explain_only:
            print_explanation(asked, current)
            return
        with only_the_lead_complains(current):
            _train(asked, current, out, name, resume)


def _train(asked: Asked, current: Session, out: Path, name: str | None, resume: bool) -> None:
    from exporter.training.runs import Place
    from exporter.training.runs import train as run_training

    settings = settled(asked, out, name, resume)
    if settings.recipe.name is RecipeName.QAT:
        raise UnsupportedError("the recipe qat trains integers", "use mnv2-export qat CHECKPOINT")
    place = Place(out=out, name=name, resume=resume)
    finish(run_training(settings, place), current, "train")


def qat(
    checkpoint: Float = None,
    data: Annotated[Path | None, option("Labeled images, as for `train`.")] = None,
    explain_only: Explain = False,
    val: Val = None,
    val_limit: Annotated[
        int | None, option(f"Validate on N images; default: {VAL_LIMIT}.", least=1)
    ] = None,
    epochs: Annotated[int | None, option("Default: 5.", least=1)] = None,
    batch: BatchSize = None,
    lr: Annotated[float | None, option("Peak learning rate; default: by the bits.")] = None,
    distill: Annotated[
        float | None, option("1: learn the float model's results (default); 0: labels; or a mix.")
    ] = None,
    loss: Loss = None,
    learn_ranges: Annotated[
        bool, typer.Option("--learn-ranges", help="Train the ranges of activations too.")
    ] = False,
    weights: Annotated[int | None, option(BITS.format("weights"))] = None,
    depthwise: Annotated[int | None, option(BITS.format("depthwise weights"))] = None,
    edges: Annotated[int | None, option(BITS.format("the first and last layer's weights"))] = None,
    activations: Annotated[
        int | None, option(BITS.format("activations; below 8 to study, not to build"))
    ] = None,
    seed: Seed = None,
    accumulate: Accumulate = None,
    device: OnDevice = None,
    workers: Workers = None,
    save_every: SaveEvery = None,
    tensorboard: TensorBoard = False,
    out: Runs = Path("runs"),
    name: RunName = None,
    resume: Resume = False,
    as_json: Json = False,
    silent: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Train the integers of a float model; ends in a checkpoint whose int8 graph `build` takes."""
    asked = Asked(
        data=data,
        recipe=RecipeName.QAT,
        changes=Changes(
            lr=lr,
            batch=batch,
            epochs=epochs,
            distill=distill,
            loss=loss,
            learn_ranges=learn_ranges or None,
            weight_bits=weights,
            depthwise_bits=depthwise,
            edge_bits=edges,
            activation_bits=activations,
        ),
        val=val,
        val_limit=val_limit if resume else val_limit or VAL_LIMIT,
        init=checkpoint,
        seed=seed,
        accumulate=accumulate,
        device=device,
        workers=workers,
        save_every=save_every,
        tensorboard=tensorboard or None,
    )
    with session(as_json=as_json, verbose=verbose, silent=silent) as current:
        if explain_only:
            print_explanation(asked, current)
            return
        with only_the_lead_complains(current):
            _qat(asked, current, out, name, resume)


def _qat(asked: Asked, current: Session, out: Path, name: str | None, resume: bool) -> None:
    from exporter.training.qat import qat as run_qat
    from exporter.training.runs import Place

    if asked.init is None and not resume:
        raise UnsupportedError(
            "no float model to begin with", "mnv2-export qat runs/latest --data data/"
        )
    settings = settled(asked, out, name, resume)
    finish(run_qat(settings, Place(out=out, name=name, resume=resume)), current, "qat")
