"""`sample` on the command line: an app with the model in place."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from exporter.arguments import Json, Verbose
from exporter.sample_kinds import SampleKind
from exporter.session import session
from exporter.spec import Precision


def sample(
    kind: Annotated[SampleKind, typer.Argument(help="Which app.")],
    build: Annotated[
        Path, typer.Option("--from", help="What `build` wrote.", show_default=True)
    ] = Path("build"),
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="The app's folder; default: KIND-app.", show_default=False
        ),
    ] = None,
    precision: Annotated[
        Precision | None,
        typer.Option(
            "--precision", "-p", help="Of the artifact; default: int8 if built.", show_default=False
        ),
    ] = None,
    update: Annotated[
        bool,
        typer.Option("--update", help="Exchange the model of an app that exists, nothing else."),
    ] = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Write an app that runs what was built, checks itself and measures: the place to start."""
    with session(as_json=as_json, verbose=verbose) as current:
        from exporter.sample import SampleRequest, make_sample

        made = make_sample(
            SampleRequest(
                kind=kind,
                build=build,
                out=out or Path(f"{kind}-app"),
                precision=precision,
                update=update,
            )
        )
        if as_json:
            current.print_json(made)
            return
        done = "Exchanged the model of" if update else "Wrote"
        typer.echo(f"{done} {made.out}: the {kind} sample with {made.artifact}, {made.files} files")
        typer.echo(f"Next, in {made.out}: {made.next_step}")
