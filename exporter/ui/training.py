"""A run as it goes: a bar with loss, lr, images/s and the time left, or plain lines."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import TaskID, TextColumn
from rich.table import Table

from exporter.events import Note
from exporter.tasks import Task
from exporter.training.events import Reported, Started, Trained, TrainingEvent, Validated
from exporter.training.recipes import MOST_BITS, Setting
from exporter.ui.live import PLAIN_EVERY_S, LiveDisplay, counting_bar
from exporter.verdicts import AGREEMENTS, Quantization


class TrainingProgress(LiveDisplay):
    """Draws training events; nothing when quiet."""

    def __init__(
        self, stream: TextIO, *, quiet: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(stream, quiet=quiet)
        self.clock = clock
        self.spoke = -PLAIN_EVERY_S
        self.task: TaskID | None = None
        self.drawing = self.bar = counting_bar(self.console, TextColumn("{task.fields[figures]}"))

    def show(self, event: TrainingEvent) -> None:
        """Take one event."""
        if self.quiet:
            return
        if isinstance(event, Started):
            self.console.print(escape(_started(event)))
            self.task = self.bar.add_task(
                "starting", total=event.steps, completed=event.step, figures=""
            )
        elif isinstance(event, Reported):
            self._report(event)
        elif isinstance(event, Validated):
            self.console.print(_validated(event))
        elif isinstance(event, Note):
            self.console.print(f"  [dim]{escape(event.text)}[/]")

    def _report(self, event: Reported) -> None:
        epoch = f"epoch {event.epoch}/{event.epochs}"
        figures = f"loss {event.loss:.3f}  lr {event.lr:.2e}  {event.images_per_s:.0f} images/s"
        if self.is_live and self.task is not None:
            self.bar.update(
                self.task, completed=event.step, description=epoch, figures=figures, refresh=True
            )
        elif self.clock() - self.spoke >= PLAIN_EVERY_S:
            self.spoke = self.clock()
            self.console.print(f"{epoch}, update {event.step}/{event.steps}: {figures}")


def print_trained(console: Console, event: Trained, record: Quantization | None = None) -> None:
    """Where the run stands, and what to do next."""
    if event.loss is not None:
        which = "no epoch won" if event.best_epoch is None else f"best epoch {event.best_epoch}"
        told = f"validation loss {event.loss:.3f}" if event.score is None else event.score.told()
        console.print(
            f"{which}: [bold]{told}[/] of {event.images:,} images, {event.seconds:.0f} s",
            soft_wrap=True,
        )
    best = event.folder / "best.safetensors"
    if event.best_epoch is not None or record is not None:
        next_step = f"Next: mnv2-export build {best}"
        if record is not None and record.settings["bits"]["activations"] < MOST_BITS:
            next_step = "It is for study: build refuses fewer than 8 bits of activation."
        console.print(escape(f"Wrote {best}. {next_step}"), soft_wrap=True)


def print_settled(console: Console, record: Quantization, task: Task) -> None:
    """Every stage, which was kept, and which won."""
    table = Table()
    figures = [stage.accuracy.deciding for stage in record.stages if stage.accuracy]
    scored = [name for name, _ in figures[:1]]
    for column in ("stage", "SQNR to float", f"{AGREEMENTS[task]} agreement", *scored, "kept"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for stage in record.stages:
        name = stage.name
        if name == "end-to-end QAT":
            name += f", best of {record.settings['end_to_end']['epochs']} epochs"
        name = f"[bold]{name}[/]" if stage is record.winner else name
        table.add_row(
            name,
            f"{stage.quality.ratio_db:.1f} dB",
            f"{stage.quality.top1_agreement:.1%}",
            *([f"{stage.accuracy.deciding[1]:.1%}"] if stage.accuracy else [""] * len(scored)),
            "yes" if stage.kept else "no",
        )
    console.print(table)
    console.print(escape(record.told(task)), soft_wrap=True)


def print_recipe(console: Console, settings: tuple[Setting, ...], note: str) -> None:
    """Every value with its source."""
    table = Table()
    for column in ("setting", "value", "source"):
        table.add_column(column, overflow="fold")
    for line in settings:
        table.add_row(line.name, escape(line.value), escape(line.source))
    console.print(table)
    console.print(escape(note), soft_wrap=True)


def _started(event: Started) -> str:
    workers = "1 worker" if event.workers == 1 else f"{event.workers} workers"
    resumed = f", resumed after {event.step} updates" if event.step else ""
    task = "" if event.task is Task.CLASSIFICATION else f" of {event.task}"
    return (
        f"{event.folder}: recipe {event.recipe}{task}, {event.train_images:,} images of "
        f"{event.classes} classes, {event.val_images:,} to validate, {workers} on {event.device}, "
        f"{event.precision}, {event.epochs} epochs of "
        f"{event.steps // event.epochs:,} updates{resumed}"
    )


def _validated(event: Validated) -> str:
    mark = "  [green]best so far[/]" if event.best else ""
    near = f", {event.quality.ratio_db:.1f} dB SQNR to float" if event.quality else ""
    score = f", [bold]{event.score.told()}[/]" if event.score else ""
    return (
        f"epoch {event.epoch}/{event.epochs}: validation loss {event.loss:.3f}{score} "
        f"of {event.images:,}{near}{mark}"
    )
