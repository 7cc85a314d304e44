"""`targets` and `describe` on the command line: what is known before anything is built."""

from __future__ import annotations

from typing import Annotated

import typer

from exporter.arguments import Json, Verbose
from exporter.errors import UnsupportedError
from exporter.known_targets import rows
from exporter.session import session
from exporter.spec import PaddingStyle
from exporter.tasks import DEFAULTS, OUTPUT_STRIDES, SegmentationSpec, Task

RESOLUTIONS = ", ".join(f"{d.resolution} ({t})" for t, d in DEFAULTS.items())
CLASSES = ", ".join(f"{d.classes} ({t})" for t, d in DEFAULTS.items())


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
    task: Annotated[Task, typer.Option(help="What it predicts.")] = Task.CLASSIFICATION,
    width: Annotated[float, typer.Option(help="Width multiplier.")] = 1.0,
    resolution: Annotated[
        int | None,
        typer.Option(help=f"Input side in pixels; default: {RESOLUTIONS}.", show_default=False),
    ] = None,
    classes: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of classes, beside classification with the background; "
            f"default: {CLASSES}.",
            show_default=False,
        ),
    ] = None,
    output_stride: Annotated[
        int | None,
        typer.Option(
            help=f"segmentation: input side by map side, {' or '.join(map(str, OUTPUT_STRIDES))}; "
            f"default: {OUTPUT_STRIDES[0]}.",
            show_default=False,
        ),
    ] = None,
    full_aspp: Annotated[
        bool, typer.Option("--full-aspp", help="segmentation: all branches of DeepLabv3.")
    ] = False,
    padding: Annotated[PaddingStyle, typer.Option(help="Padding style.")] = PaddingStyle.TORCH,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Count parameters and multiply-adds of a network of any task, width and resolution."""
    with session(as_json=as_json, verbose=verbose) as current:
        from exporter.published import default_spec
        from exporter.ui import results
        from exporter.ui.progress import busy
        from exporter.ui.tables import print_costs

        spec = default_spec(
            task,
            width=width,
            resolution=resolution,
            classes=classes,
            padding=padding,
            segmentation=_segmentation(task, output_stride, full_aspp),
        )
        with busy(current.stream, "counting"):
            from exporter.costs import costs

            counted = costs(spec)
        if as_json:
            current.print_json(counted)
        else:
            print_costs(results(), spec, counted)


def _segmentation(
    task: Task, output_stride: int | None, full_aspp: bool
) -> SegmentationSpec | None:
    """What was asked of a segmenter; raises UnsupportedError where another task was asked for."""
    if task is Task.SEGMENTATION:
        stride = OUTPUT_STRIDES[0] if output_stride is None else output_stride
        return SegmentationSpec(output_stride=stride, full_aspp=full_aspp)
    if output_stride is not None or full_aspp:
        raise UnsupportedError(
            f"--output-stride and --full-aspp are of segmentation, not of {task}",
            "add --task segmentation",
        )
    return None
