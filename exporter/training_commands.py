"""`train` on the command line: parse, call, print. What it does is in exporter/training/."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from exporter.arguments import Json, Quiet, Verbose
from exporter.errors import ExportError, TrainingError
from exporter.session import INTERRUPTED, Session, session
from exporter.training.recipes import Changes, OptimizerName, RecipeName, explain
from exporter.training.settings import Arithmetic, Asked, Device, asked_recipe, settle

if TYPE_CHECKING:
    from exporter.training.events import Trained, TrainingEvent
    from exporter.training.recipes import Recipe

TERMINATED = 128 + signal.SIGTERM
EPILOG = (
    f"Exit codes besides the general ones:\n\n{TrainingError.exit_code} {TrainingError.meaning}\n\n"
    f"{INTERRUPTED} Ctrl-C and {TERMINATED} SIGTERM: the run was saved, --resume goes on with it"
)

Data = Annotated[
    Path | None,
    typer.Argument(
        help="Folders of images by class (with train/ and val/, or split by --seed), a list file "
        "or shards.",
        show_default=False,
    ),
]


def _option(help_text: str, *names: str, least: float | None = None) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(
        *names, help=help_text, show_default=False, min=least
    )
    return option


def train(
    data: Data = None,
    recipe: Annotated[RecipeName | None, _option("Default: finetune.")] = None,
    explain_only: Annotated[
        bool, typer.Option("--explain", help="Print each value of the recipe with its source.")
    ] = False,
    val: Annotated[Path | None, _option("Validation images, where data/ has no val/.")] = None,
    init: Annotated[Path | None, _option("Start from any checkpoint that `build` reads.")] = None,
    width: Annotated[float | None, _option("Default: of --init, else 1.0.")] = None,
    resolution: Annotated[int | None, _option("Default: of --init, else 224.")] = None,
    epochs: Annotated[int | None, _option("Default: the recipe's.", least=1)] = None,
    batch: Annotated[int | None, _option("Images per worker and update.", least=1)] = None,
    lr: Annotated[float | None, _option("Peak learning rate of one worker.")] = None,
    optimizer: Annotated[OptimizerName | None, _option("Of finetune: adamw or sgd.")] = None,
    freeze: Annotated[int | None, _option("Keep the first N of 19 blocks.", least=0)] = None,
    head_epochs: Annotated[
        int | None, _option("Train the head alone for N epochs first.", least=0)
    ] = None,
    seed: Annotated[int | None, _option("Of weights, order and augmentation.", least=0)] = None,
    accumulate: Annotated[
        int | None, _option("Compute each batch in N parts, to save memory.", least=1)
    ] = None,
    device: Annotated[Device | None, _option("Default: auto.")] = None,
    precision: Annotated[Arithmetic | None, _option("Default: auto, fp32 on a CPU.")] = None,
    workers: Annotated[
        int | None, _option("Processes that load images; default: by the cores.", least=0)
    ] = None,
    save_every: Annotated[
        int | None, _option("Updates between saves within an epoch; default: 500.", least=1)
    ] = None,
    tensorboard: Annotated[bool, typer.Option(help="Write TensorBoard events too.")] = False,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where runs are kept.")] = Path("runs"),
    name: Annotated[str | None, _option("Of the run; default: recipe and number.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with --name or latest.")] = False,
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
    )
    asked = Asked(
        data=data,
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
    )
    with session(as_json=as_json, verbose=verbose, silent=silent) as current:
        if explain_only:
            _explain(asked_recipe(asked), current)
            return
        with _only_the_lead_complains(current):
            _run(asked, current, out, name, resume)


def _explain(recipe: Recipe, current: Session) -> None:
    from exporter.training.recipes import NOTES
    from exporter.ui import results
    from exporter.ui.training import print_recipe

    lines, note = explain(recipe), NOTES[recipe.name]
    if current.as_json:
        current.print_json({"recipe": recipe.name, "settings": lines, "note": note})
    else:
        print_recipe(results(), lines, note)


def _run(asked: Asked, current: Session, out: Path, name: str | None, resume: bool) -> None:
    from exporter.training import run_folder, tensorboard
    from exporter.training.runs import Place
    from exporter.training.runs import train as run_training
    from exporter.ui import results
    from exporter.ui.training import print_trained

    stored = run_folder.existing(out, name).read_settings()[0] if resume else None
    settings = settle(asked, stored)
    if settings.tensorboard:
        tensorboard.check()
    place = Place(out=out, name=name, resume=resume)
    lead = _is_lead()
    done, notes = _follow(run_training(settings, place), current, lead)
    if lead and current.as_json:
        record = {**dataclasses.asdict(done), "folder": str(done.folder)}
        current.print_json({"run": record, "notes": notes})
    elif lead and not current.silent:
        print_trained(results(), done)
    if done.signal is not None:
        if lead:
            current.stream.write(
                f"stopped after {done.step} updates; saved in {done.folder}, "
                "go on with: mnv2-export train --resume\n"
            )
        raise typer.Exit(128 + done.signal)


def _follow(
    events: Iterator[TrainingEvent], current: Session, lead: bool
) -> tuple[Trained, list[str]]:
    from exporter.events import Note
    from exporter.training.events import Trained
    from exporter.ui.training import TrainingProgress

    done: Trained | None = None
    notes = []
    quiet = current.as_json or current.silent or not lead
    with TrainingProgress(current.stream, quiet=quiet) as progress:
        for event in events:
            progress.show(event)
            if isinstance(event, Trained):
                done = event
            elif isinstance(event, Note):
                notes.append(event.text)
    assert done is not None, "a training says how it ended"
    return done, notes


def _is_lead() -> bool:
    """Whether this is the only process, or the first of those that a launcher started."""
    return os.environ.get("RANK", "0") == "0"


@contextlib.contextmanager
def _only_the_lead_complains(current: Session) -> Iterator[None]:
    """The others meet the same errors, and leave with the same code."""
    try:
        yield
    except KeyboardInterrupt:
        if _is_lead():
            current.stream.write("stopped at once; --resume goes on from the last save\n")
        raise typer.Exit(INTERRUPTED) from None
    except ExportError as error:
        if _is_lead():
            raise
        raise typer.Exit(error.exit_code) from None
