"""What `train` and `qat` share around the run: settle it, show it, say what is next."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from exporter.errors import ExportError, UnsupportedError
from exporter.session import INTERRUPTED, Session
from exporter.tasks import Task
from exporter.training.recipe import RecipeName
from exporter.training.recipes import explain, note_on
from exporter.training.settings import Asked, asked_recipe, settle

if TYPE_CHECKING:
    from exporter.training.events import Trained, TrainingEvent
    from exporter.training.settings import Settings
    from exporter.verdicts import Quantization


def print_explanation(asked: Asked, current: Session) -> None:
    """Every value of the recipe that is asked for, with its source."""
    from exporter.ui import results
    from exporter.ui.training import print_recipe

    asked = _with_task(asked)
    recipe, task = asked_recipe(asked), asked.task or Task.CLASSIFICATION
    lines, note = explain(recipe, task), note_on(recipe, task)
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
    if stored is None:
        asked = _with_task(asked)
    else:
        _check_command(stored.recipe.name, asked)
    settings = settle(asked, stored)
    if settings.tensorboard:
        tensorboard.check()
    return settings


def _with_task(asked: Asked) -> Asked:
    """Integers are of the task of their float model."""
    if asked.recipe is not RecipeName.QAT or asked.init is None or asked.task is not None:
        return asked
    from exporter.checkpoints import load_checkpoint

    return dataclasses.replace(asked, task=load_checkpoint(asked.init).spec.task)


def _check_command(stored: RecipeName, asked: Asked) -> None:
    if (stored is RecipeName.QAT) != (asked.recipe is RecipeName.QAT):
        command = "qat" if stored is RecipeName.QAT else "train"
        raise UnsupportedError(
            f"the run to resume is one of the recipe {stored}",
            f"mnv2-export {command} --resume goes on with it",
        )


def finish(events: Iterator[TrainingEvent], current: Session, command: str) -> None:
    """Train, show it, print the result; exits by the signal that stopped the run."""
    from exporter.training.events import flat
    from exporter.ui import results
    from exporter.ui.training import print_settled, print_trained

    lead = _is_lead()
    done, record, notes = _follow(events, current, lead)
    if lead and current.as_json:
        run = {**flat(done), "folder": str(done.folder)}
        current.print_json({"run": run, "quantization": record, "notes": notes})
    elif lead and not current.silent:
        if record is not None:
            print_settled(results(), record, done.task)
        print_trained(results(), done, record)
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
