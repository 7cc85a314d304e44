"""`targets` and `describe` on the command line: what is known before anything is built."""

from __future__ import annotations

from typing import Annotated

import typer

from exporter.arguments import Json, Verbose
from exporter.known_targets import rows
from exporter.session import session
from exporter.spec import PaddingStyle


def targets(as_json: Json = False, verbose: Verbose = False) -> None:
    """List the targets: format, precision, where they run, what they need."""
    with session(as_json=as_json, verbose=verbose) as current:
        from exporter.ui import results
        from exporter.ui.tables import print_targets

        listed = rows()
        if as_json:
            current.print_json([{"info": info, "missing": missing} for info, missing in listed])
        else:
            print_targets(results(), listed)


def describe(
    width: Annotated[float, typer.Option(help="Width multiplier.")] = 1.0,
    resolution: Annotated[int, typer.Option(help="Input side in pixels.")] = 224,
    classes: Annotated[int, typer.Option(min=1, help="Number of classes.")] = 1000,
    padding: Annotated[PaddingStyle, typer.Option(help="Padding style.")] = PaddingStyle.TORCH,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Count parameters and multiply-adds of a MobileNetV2 of any width and resolution."""
    with session(as_json=as_json, verbose=verbose) as current:
        from exporter.spec import HeadLayer, ModelSpec, torchvision_preprocess
        from exporter.ui import results
        from exporter.ui.progress import busy
        from exporter.ui.tables import print_costs

        spec = ModelSpec(
            width=width,
            resolution=resolution,
            head=(HeadLayer(units=classes),),
            padding=padding,
            preprocess=torchvision_preprocess(resolution),
        )
        with busy(current.stream, "counting"):
            from exporter.costs import costs

            counted = costs(spec)
        if as_json:
            current.print_json(counted)
        else:
            print_costs(results(), spec, counted)
