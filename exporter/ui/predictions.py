"""What an artifact says of photos: bars of classes, tables of objects, shares of regions."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from exporter.predictions import Classification, Detection, Prediction, Segmentation

BAR = 30  # characters of a whole
SIDES = ("left", "top", "right", "bottom")


def print_predictions(console: Console, predictions: Sequence[Prediction]) -> None:
    """Each image in turn, and at the end how to have it drawn."""
    for prediction in predictions:
        if isinstance(prediction, Classification):
            _print_classes(console, prediction)
        elif isinstance(prediction, Detection):
            _print_objects(console, prediction)
        else:
            _print_regions(console, prediction)
    drawable = [p for p in predictions if not isinstance(p, Classification)]
    if drawable and all(p.picture is None for p in drawable):
        console.print("[dim]--out FOLDER draws this onto the photos[/]")


def _print_classes(console: Console, prediction: Classification) -> None:
    """A bar per class."""
    console.print(f"[bold]{escape(prediction.image)}[/]")
    width = max(len(label) for label, _ in prediction.classes)
    for label, probability in prediction.classes:
        bar = "#" * round(BAR * probability)
        padded = escape(f"{label:<{width}}")
        console.print(f"  {padded} {probability:6.1%} [green]{bar}[/]")


def _print_objects(console: Console, prediction: Detection) -> None:
    """A row per object, its box in whole pixels."""
    _print_heading(console, prediction, "")
    if not prediction.objects:
        console.print(f"  nothing scores {prediction.threshold:.0%} or more")
    else:
        table = Table(box=None, padding=(0, 0, 0, 2), header_style="dim")
        table.add_column("label")
        for column in ("score", *SIDES):
            table.add_column(column, justify="right", no_wrap=True)
        for found in prediction.objects:
            sides = (str(round(value)) for value in found.box)
            table.add_row(escape(found.label), f"{found.score:.1%}", *sides)
        console.print(table)
    _print_picture(console, prediction)


def _print_regions(console: Console, prediction: Segmentation) -> None:
    """A bar per class, the background's dim."""
    part = "" if prediction.seen > 0.9995 else f", {prediction.seen:.1%} of it seen"
    _print_heading(console, prediction, part)
    width = max(len(region.label) for region in prediction.regions)
    for region in prediction.regions:
        label = escape(f"{region.label:<{width}}")
        bar = "#" * round(BAR * region.share)
        style = "green" if region.index else "dim"
        console.print(f"  {label} {region.percent:>6} [{style}]{bar}[/]")
    _print_picture(console, prediction)


def _print_heading(console: Console, prediction: Detection | Segmentation, more: str) -> None:
    size = f"{prediction.width} x {prediction.height} px{more}"
    console.print(f"[bold]{escape(prediction.image)}[/] [dim]{size}[/]")


def _print_picture(console: Console, prediction: Detection | Segmentation) -> None:
    if prediction.picture is not None:
        console.print(f"  [dim]drawn:[/] {escape(prediction.picture)}", soft_wrap=True)
