"""`sweep` on the command line: many widths, resolutions and precisions, built and compared."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from exporter.arguments import Json, Limit, Photos, Precisions, Quiet, Verbose
from exporter.known_targets import Targets, all_targets, jobs
from exporter.session import INTERRUPTED, described, session
from exporter.spec import Precision

if TYPE_CHECKING:
    from exporter.errors import ExportError
    from exporter.sweep.points import Point
    from exporter.sweep.records import Sweep
    from exporter.tasks import Task


def sweep(
    checkpoints: Annotated[
        list[Path] | None,
        typer.Argument(help="One for each width; widths without get random weights."),
    ] = None,
    widths: Annotated[
        str | None,
        typer.Option(help="Like 0.35,0.5,1.0; default: the checkpoints', else 0.35,0.5,0.75,1."),
    ] = None,
    resolutions: Annotated[str, typer.Option(help="Input sides in pixels.")] = "96,160,224",
    precision: Precisions = None,
    target: Targets = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Directory of the points.")] = Path(
        "sweep"
    ),
    processes: Annotated[
        int | None,
        typer.Option("--jobs", "-j", min=1, help="Points built at once; default: one a core."),
    ] = None,
    calibration: Photos = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", "-d", help="Labeled images, as of `evaluate`; needs checkpoints."),
    ] = None,
    limit: Limit = None,
    latency: Annotated[
        bool, typer.Option("--latency/--no-latency", help="Measure on this machine.")
    ] = True,
    threads: Annotated[int, typer.Option(min=1, help="That an artifact computes with.")] = 1,
    iterations: Annotated[int, typer.Option(min=1, help="Timed, of each artifact.")] = 50,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Make and prove everything anew.")
    ] = False,
    as_json: Json = False,
    silent: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Build many widths, resolutions and precisions; show what each costs and what it is worth."""
    with session(as_json=as_json, verbose=verbose, silent=silent) as current:
        from exporter.cache.store import Store
        from exporter.latency.records import Settings
        from exporter.pipeline import room_in
        from exporter.sweep import plot
        from exporter.sweep.points import read_widths
        from exporter.sweep.records import to_json, write_sweep
        from exporter.sweep.run import SweepRequest, check_place
        from exporter.sweep.run import sweep as run_sweep
        from exporter.ui import results
        from exporter.ui.sweep import SweepProgress, print_sweep
        from exporter.workers import cores

        stated = None if widths is None else read_widths(widths)
        points = _points(checkpoints or [], stated, resolutions, has_data=data is not None)
        check_place(out)
        request = SweepRequest(
            points=points,
            jobs=jobs(target, precision or [Precision.INT8], current.stream),
            targets=all_targets(),
            out=out,
            processes=processes or cores(),
            calibration=tuple(calibration or ()),
            data=data,
            limit=limit,
            settings=Settings(threads=threads, iterations=iterations) if latency else None,
            store=None if no_cache else Store(),
            command=shlex.join(["mnv2-export", *sys.argv[1:]]),
        )
        quiet = as_json or silent
        with SweepProgress(current.stream, points, quiet=quiet) as progress:
            try:
                found = run_sweep(request, progress.tell, progress.say)
            except KeyboardInterrupt:
                current.stream.write(f"interrupted: points that were done stay in {out}\n")
                raise typer.Exit(INTERRUPTED) from None
        with room_in(out):
            write_sweep(found, out)
            drawn = plot.draw(found, out) if plot.available() else ()
        problem = _objection(found)
        if as_json:
            current.print_json({**to_json(found), **(described(problem) if problem else {})})
        elif not silent:
            print_sweep(results(), found)
            if not plot.available():
                current.stream.write(f"no picture: {plot.CURE}\n")
            typer.echo(f"Wrote {', '.join(map(str, (out / 'sweep.json', *drawn)))}.")
        if problem is not None:
            raise problem


def _points(
    checkpoints: list[Path], widths: tuple[float, ...] | None, resolutions: str, *, has_data: bool
) -> tuple[Point, ...]:
    """Every combination; raises ExportError for one that cannot be."""
    from exporter.errors import UnsupportedError
    from exporter.sweep.points import WIDTHS, make_points, read_resolutions
    from exporter.tasks import Task

    known, task = _networks(checkpoints) if checkpoints else ({}, Task.CLASSIFICATION)
    chosen = widths or tuple(known) or WIDTHS
    points = make_points(chosen, read_resolutions(resolutions, task), known)
    without = next((point for point in points if point.checkpoint is None), None)
    if without is not None and has_data:
        raise UnsupportedError(
            f"--data: there is no checkpoint of width {without.width:g} to evaluate",
            "pass one for every width, or leave --data out",
        )
    if without is not None and task is not Task.CLASSIFICATION:
        raise UnsupportedError(
            f"there is no checkpoint of width {without.width:g}",
            "only classifiers are swept with random weights",
        )
    return points


def _networks(checkpoints: list[Path]) -> tuple[dict[float, Path], Task]:
    """Checkpoints by their width, and what they are for."""
    from exporter.checkpoints import load_checkpoint
    from exporter.errors import UnsupportedError

    known: dict[float, Path] = {}
    tasks = {}
    for path in checkpoints:
        spec = load_checkpoint(path).spec
        if spec.width in known:
            raise UnsupportedError(
                f"{path}: of width {spec.width:g}, as {known[spec.width]} is",
                "a sweep takes one checkpoint for each width",
            )
        known[spec.width] = path
        tasks[spec.task] = path
    if len(tasks) > 1:
        raise UnsupportedError(f"these are networks for {' and '.join(tasks)}", "sweep one task")
    return known, next(iter(tasks))


def _objection(found: Sweep) -> ExportError | None:
    from exporter.errors import ParityError, TargetError
    from exporter.verdicts import Outcome

    drifted = [f"{r.point} {r.artifact}" for r in found.rows if r.parity is Outcome.DRIFTED]
    if drifted:
        return ParityError(f"parity failed: {', '.join(drifted)}", "do not ship these files")
    if found.lost:
        named = ", ".join(f"{one.point} {one.what}".strip() for one in found.lost)
        return TargetError(f"missing: {named}", "the lines above say why")
    return None
