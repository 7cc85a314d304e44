"""`train` on the command line, and what `qat` has in common with it: call, show, say what is next.

What they do is in exporter/training/.
"""

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
from exporter.errors import ExportError, TrainingError, UnsupportedError
from exporter.session import INTERRUPTED, Session, session
from exporter.training.recipes import Changes, OptimizerName, RecipeName, explain
from exporter.training.settings import Arithmetic, Asked, Device, asked_recipe, settle

if TYPE_CHECKING:
    from exporter.training.events import Trained, TrainingEvent
    from exporter.training.recipes import Recipe
    from exporter.training.settings import Settings
    from exporter.verdicts import Quantization

TERMINATED = 128 + signal.SIGTERM
EPILOG = (
    f"Exit codes besides the general ones:\n\n{TrainingError.exit_code} {TrainingError.meaning}\n\n"
    f"{INTERRUPTED} Ctrl-C and {TERMINATED} SIGTERM: the run was saved, --resume goes on with it"
)

MOST_SEED = 2**32 - 1

Data = Annotated[
    Path | None,
    typer.Argument(
        help="Folders of images by class (with train/ and val/, or split by --seed), a list file "
        "or shards.",
        show_default=False,
    ),
]


def option(
    help_text: str, *names: str, least: float | None = None, most: float | None = None
) -> typer.models.OptionInfo:
    """An option whose default is told in its help."""
    made: typer.models.OptionInfo = typer.Option(
        *names, help=help_text, show_default=False, min=least, max=most
    )
    return made


def train(
    data: Data = None,
    recipe: Annotated[RecipeName | None, option("Default: finetune.")] = None,
    explain_only: Annotated[
        bool, typer.Option("--explain", help="Print each value of the recipe with its source.")
    ] = False,
    val: Annotated[Path | None, option("Validation images, where data/ has no val/.")] = None,
    init: Annotated[Path | None, option("Start from any checkpoint that `build` reads.")] = None,
    width: Annotated[float | None, option("Default: of --init, else 1.0.")] = None,
    resolution: Annotated[int | None, option("Default: of --init, else 224.")] = None,
    epochs: Annotated[int | None, option("Default: the recipe's.", least=1)] = None,
    batch: Annotated[int | None, option("Images per worker and update.", least=1)] = None,
    lr: Annotated[float | None, option("Peak learning rate of one worker.")] = None,
    optimizer: Annotated[OptimizerName | None, option("Of finetune: adamw or sgd.")] = None,
    freeze: Annotated[int | None, option("Keep the first N of 19 blocks.", least=0)] = None,
    head_epochs: Annotated[
        int | None, option("Train the head alone for N epochs first.", least=0)
    ] = None,
    seed: Annotated[
        int | None, option("Of weights, order and augmentation.", least=0, most=MOST_SEED)
    ] = None,
    accumulate: Annotated[
        int | None, option("Compute each batch in N parts, to save memory.", least=1)
    ] = None,
    device: Annotated[Device | None, option("Default: auto.")] = None,
    precision: Annotated[Arithmetic | None, option("Default: auto, fp32 on a CPU.")] = None,
    workers: Annotated[
        int | None, option("Processes that load images; default: by the cores.", least=0)
    ] = None,
    save_every: Annotated[
        int | None, option("Updates between saves within an epoch; default: 500.", least=1)
    ] = None,
    tensorboard: Annotated[bool, typer.Option(help="Write TensorBoard events too.")] = False,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where runs are kept.")] = Path("runs"),
    name: Annotated[str | None, option("Of the run; default: recipe and number.")] = None,
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
            print_explanation(asked_recipe(asked), current)
            return
        with only_the_lead_complains(current):
            _run(asked, current, out, name, resume)


def _run(asked: Asked, current: Session, out: Path, name: str | None, resume: bool) -> None:
    from exporter.training.runs import Place
    from exporter.training.runs import train as run_training

    settings = settled(asked, out, name, resume)
    if settings.recipe.name is RecipeName.QAT:
        raise UnsupportedError("the recipe qat trains integers", "use mnv2-export qat CHECKPOINT")
    place = Place(out=out, name=name, resume=resume)
    finish(run_training(settings, place), current, "train")


def print_explanation(recipe: Recipe, current: Session) -> None:
    """Every value of a recipe with its source."""
    from exporter.training.recipes import NOTES
    from exporter.ui import results
    from exporter.ui.training import print_recipe

    lines, note = explain(recipe), NOTES[recipe.name]
    if current.as_json:
        current.print_json({"recipe": recipe.name, "settings": lines, "note": note})
    else:
        print_recipe(results(), lines, note)


def settled(asked: Asked, out: Path, name: str | None, resume: bool) -> Settings:
    """What a new run is asked to do, or what one that goes on was."""
    from exporter.checkpoints import run_checkpoint
    from exporter.training import run_folder, tensorboard

    if asked.init is not None:  # `latest` will be another run by the time that this one goes on
        asked = dataclasses.replace(asked, init=run_checkpoint(asked.init).resolve())
    stored = run_folder.existing(out, name).read_run().settings if resume else None
    settings = settle(asked, stored)
    if settings.tensorboard:
        tensorboard.check()
    return settings


def finish(events: Iterator[TrainingEvent], current: Session, command: str) -> None:
    """Train, show it, print the result; exits by the signal that stopped the run."""
    from exporter.ui import results
    from exporter.ui.training import print_settled, print_trained

    lead = _is_lead()
    done, record, notes = _follow(events, current, lead)
    if lead and current.as_json:
        run = {**dataclasses.asdict(done), "folder": str(done.folder)}
        current.print_json({"run": run, "quantization": record, "notes": notes})
    elif lead and not current.silent:
        if record is not None:
            print_settled(results(), record)
        print_trained(results(), done, of_integers=command == "qat")
    if done.signal is not None:
        if lead:
            current.stream.write(
                f"stopped after {done.step} updates; saved in {done.folder}, go on with: "
                f"mnv2-export {command} --resume --out {done.folder.parent} "
                f"--name {done.folder.name}\n"
            )
        raise typer.Exit(128 + done.signal)


def _follow(
    events: Iterator[TrainingEvent], current: Session, lead: bool
) -> tuple[Trained, Quantization | None, list[str]]:
    """Show events as they come; how the run ended, what became of its stages, and all notes."""
    from exporter.events import Note
    from exporter.training.events import Settled, Started, Trained
    from exporter.ui.progress import Progress
    from exporter.ui.training import TrainingProgress

    done: Trained | None = None
    record: Quantization | None = None
    notes = []
    quiet = current.as_json or current.silent or not lead
    with contextlib.ExitStack() as shown:
        progress: Progress | TrainingProgress
        progress = shown.enter_context(Progress(current.stream, quiet=quiet))
        for event in events:
            if isinstance(event, Started):
                shown.close()
                progress = shown.enter_context(TrainingProgress(current.stream, quiet=quiet))
            progress.show(event)  # type: ignore[arg-type]  # each gets what is for it
            if isinstance(event, Trained):
                done = event
            elif isinstance(event, Settled):
                record = event.record
            elif isinstance(event, Note):
                notes.append(event.text)
    assert done is not None, "a training says how it ended"
    return done, record, notes


def _is_lead() -> bool:
    """Whether this is the only process, or the first of those that a launcher started."""
    return os.environ.get("RANK", "0") == "0"


@contextlib.contextmanager
def only_the_lead_complains(current: Session) -> Iterator[None]:
    """What all meet, the others have left for already; what only they have met, they tell."""
    try:
        yield
    except KeyboardInterrupt:
        if _is_lead():
            current.stream.write("stopped at once; a run that was saved goes on with --resume\n")
        raise typer.Exit(INTERRUPTED) from None
    except ExportError as error:
        if _is_lead():
            raise
        current.stream.write(f"worker {os.environ['RANK']}: {error.message}\n")
        raise typer.Exit(error.exit_code) from None
