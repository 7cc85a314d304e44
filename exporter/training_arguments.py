"""Options that `train` and `qat` share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from exporter.training.recipe import Balance
from exporter.training.settings import Device

MOST_SEED = 2**32 - 1


def option(
    help_text: str, *names: str, least: float | None = None, most: float | None = None
) -> typer.models.OptionInfo:
    """An option whose default is told in its help."""
    made: typer.models.OptionInfo = typer.Option(
        *names, help=help_text, show_default=False, min=least, max=most
    )
    return made


Explain = Annotated[
    bool, typer.Option("--explain", help="Print each value of the recipe with its source.")
]
Val = Annotated[Path | None, option("Validation images, where the data has no val/.")]
BatchSize = Annotated[int | None, option("Images per worker and update.", least=1)]
Loss = Annotated[Balance | None, option("Of a detector's anchors; default: hard-negatives.")]
Seed = Annotated[int | None, option("Of weights, order and augmentation.", least=0, most=MOST_SEED)]
Accumulate = Annotated[
    int | None, option("Compute each batch in N parts, to save memory.", least=1)
]
OnDevice = Annotated[Device | None, option("Default: auto.")]
Workers = Annotated[
    int | None, option("Processes that load images; default: by the cores.", least=0)
]
SaveEvery = Annotated[
    int | None, option("Updates between saves within an epoch; default: 500.", least=1)
]
TensorBoard = Annotated[bool, typer.Option(help="Write TensorBoard events too.")]
Runs = Annotated[Path, typer.Option("--out", "-o", help="Where runs are kept.")]
RunName = Annotated[str | None, option("Of the run; default: recipe and number.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with --name or latest.")]
