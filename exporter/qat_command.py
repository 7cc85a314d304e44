"""`qat` on the command line. What it does is in exporter/training/qat.py."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from exporter.arguments import Json, Quiet, Verbose
from exporter.errors import UnsupportedError
from exporter.session import session
from exporter.training.recipes import Changes, RecipeName
from exporter.training.settings import Asked, Device, asked_recipe
from exporter.training_commands import (
    MOST_SEED,
    finish,
    only_the_lead_complains,
    option,
    print_explanation,
    settled,
)

if TYPE_CHECKING:
    from exporter.session import Session

VAL_LIMIT = 2000  # images; integers run on the CPU
BITS = "Bits of {}, 2 to 8."

Float = Annotated[
    Path | None,
    typer.Argument(
        help="The float model: a run such as runs/latest, or any checkpoint that `build` reads.",
        show_default=False,
    ),
]


def qat(
    checkpoint: Float = None,
    data: Annotated[Path | None, option("Labeled images, as for `train`.")] = None,
    explain_only: Annotated[
        bool, typer.Option("--explain", help="Print each value of the recipe with its source.")
    ] = False,
    val: Annotated[Path | None, option("Validation images, where --data has no val/.")] = None,
    val_limit: Annotated[
        int | None, option(f"Validate on N images; default: {VAL_LIMIT}.", least=1)
    ] = None,
    epochs: Annotated[int | None, option("Default: 5.", least=1)] = None,
    batch: Annotated[int | None, option("Images per worker and update.", least=1)] = None,
    lr: Annotated[float | None, option("Peak learning rate; default: by the bits.")] = None,
    distill: Annotated[
        float | None, option("1: learn the float model's logits (default); 0: labels; or a mix.")
    ] = None,
    learn_ranges: Annotated[
        bool, typer.Option("--learn-ranges", help="Train the ranges of activations too.")
    ] = False,
    weights: Annotated[int | None, option(BITS.format("weights"))] = None,
    depthwise: Annotated[int | None, option(BITS.format("depthwise weights"))] = None,
    edges: Annotated[int | None, option(BITS.format("the first and last layer's weights"))] = None,
    activations: Annotated[
        int | None, option(BITS.format("activations; below 8 to study, not to build"))
    ] = None,
    seed: Annotated[
        int | None, option("Of order and augmentation.", least=0, most=MOST_SEED)
    ] = None,
    accumulate: Annotated[
        int | None, option("Compute each batch in N parts, to save memory.", least=1)
    ] = None,
    device: Annotated[Device | None, option("Default: auto.")] = None,
    workers: Annotated[
        int | None, option("Processes that load images; default: by the cores.", least=0)
    ] = None,
    save_every: Annotated[
        int | None, option("Updates between saves within an epoch; default: 500.", least=1)
    ] = None,
    tensorboard: Annotated[bool, typer.Option(help="Write TensorBoard events too.")] = False,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where runs are kept.")] = Path("runs"),
    name: Annotated[str | None, option("Of the run; default: qat and number.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with --name or latest.")] = False,
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
            print_explanation(asked_recipe(asked), current)
            return
        with only_the_lead_complains(current):
            _run(asked, current, out, name, resume)


def _run(asked: Asked, current: Session, out: Path, name: str | None, resume: bool) -> None:
    from exporter.training.qat import qat as run_qat
    from exporter.training.runs import Place

    if asked.init is None and not resume:
        raise UnsupportedError(
            "no float model to begin with", "mnv2-export qat runs/latest --data data/"
        )
    settings = settled(asked, out, name, resume)
    finish(run_qat(settings, Place(out=out, name=name, resume=resume)), current, "qat")
