"""What a Core ML package gave, for a person to read."""

from __future__ import annotations

import math

from rich.console import Console
from rich.markup import escape

from exporter.evaluation import Evaluation, Figures, Run, Top
from exporter.target import Arithmetic, Evaluator
from exporter.ui.tables import preprocess_text

BAR = 30  # characters of a probability of 1
SHOWN = 4  # layers that a line names


def print_evaluation(console: Console, found: Evaluation) -> None:
    """Each run, then how photos were made to fit, then what this proves."""
    for run in found.runs:
        _print_run(console, run)
    if found.preprocess is not None:
        text = preprocess_text(found.preprocess)
        console.print(f"photos: the package's own contract, {escape(text)}", soft_wrap=True)
    elif found.fit is not None:
        console.print(f"photos: {found.fit}, as Vision names it, where the size differed")
    if found.evaluator.arithmetic is Arithmetic.INTEGER:
        console.print(_integers(found.evaluator))
    used = found.evaluator
    console.print(
        f"[dim]reference evaluator, {used.arithmetic} arithmetic, {used.operations} operations, "
        f"{found.seconds:.2g} s: proves {escape(found.proves)}[/]",
        soft_wrap=True,
    )


def _print_run(console: Console, run: Run) -> None:
    files = run.inputs.values() if len(run.inputs) == 1 else map("=".join, run.inputs.items())
    console.print(f"[bold]{escape(' '.join(files))}[/]")
    if run.classes:
        width = max(len(str(label)) for label, _ in run.classes)
        for label, p in run.classes:
            shown = "not finite" if p is None else f"{p:6.1%} [green]{'#' * round(BAR * p)}[/]"
            console.print(f"  {escape(f'{label:<{width}}')} {shown}")
    elif run.label is not None:
        console.print(f"  {escape(str(run.label))}")
    for array in run.arrays:
        _print_array(console, array)
    for name in run.saved:
        console.print(f"  [dim]saved {escape(name)}[/]")


def _print_array(console: Console, array: Figures) -> None:
    shape = " x ".join(map(str, array.shape)) or "one number"
    text = f"{array.dtype} {shape}"
    if array.min is not None and array.mean is not None and array.max is not None:
        text += f", min {array.min:.6g}, mean {array.mean:.6g}, max {array.max:.6g}"
    console.print(
        f"  [bold]{escape(array.name)}[/] {escape(text)}{_not_finite(array)}", soft_wrap=True
    )
    if array.top:
        _print_top(console, array.top)


def _print_top(console: Console, top: Top) -> None:
    width = max(len(str(label)) for label, _ in top)
    for label, value in top:
        shown = "not finite" if value is None else f"{value:12.6g}"
        console.print(f"    {escape(f'{label:<{width}}')} {shown}")


def _not_finite(array: Figures) -> str:
    share = f"{array.not_finite} of {math.prod(array.shape)}"
    return f", [bold red]{share} not finite[/]" if array.not_finite else ""


def _integers(used: Evaluator) -> str:
    """How far the arithmetic reached."""
    real = used.real_layers
    text = f"{used.integer_layers} layers ran as integers"
    if not real:
        return f"{text}, every quantized one"
    named = ", ".join(map(escape, real[:SHOWN])) + (", ..." if len(real) > SHOWN else "")
    return f"{text}, [yellow]{len(real)} did not: {named}[/]"
