"""`report` on the command line: a build told to a person, in a file that can be forwarded."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from exporter.arguments import Json, Verbose
from exporter.errors import UnsupportedError
from exporter.known_targets import all_targets
from exporter.report.formats import IMAGES, STANDARD_OUTPUT, ReportFormat
from exporter.session import session


def report(
    build: Annotated[Path, typer.Argument(help="What `build` wrote.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The file; - for standard output.")
    ] = Path("report.html"),
    form: Annotated[
        ReportFormat | None,
        typer.Option("--format", help="Default: by the file's suffix.", show_default=False),
    ] = None,
    images: Annotated[
        int,
        typer.Option(min=0, help="Golden images for the signal by layer; 0 leaves it out."),
    ] = IMAGES,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Tell a build to a person: parity, accuracy, latency, sizes, code; HTML, Markdown or JSON."""
    with session(as_json=as_json, verbose=verbose) as current:
        from exporter.report.formats import chosen_format
        from exporter.report.gather import gather
        from exporter.report.write import check_packages, check_place, rendered, save
        from exporter.ui.profile import telling

        kind = chosen_format(out, form)
        to_stream = out == STANDARD_OUTPUT
        if to_stream and as_json:
            raise UnsupportedError(
                "--json and --out - both write to standard output",
                "add --out FILE, or leave out --json (--format json is the report itself)",
            )
        check_packages(kind)
        if not to_stream:
            check_place(out, build)
        with telling(current.stream, quiet=as_json) as tell:
            told = gather(build, all_targets(), images, tell)
        text = rendered(told, kind)
        if to_stream:
            typer.echo(text, nl=False)
            return
        save(text, out)
        if as_json:
            current.print_json(
                {
                    "out": str(out),
                    "format": kind,
                    "size_bytes": len(text.encode()),
                    "verdict": told.verdict,
                    "stale_profiles": {d.file: d.stale for d in told.devices if d.stale},
                }
            )
            return
        typer.echo(f"Wrote {out}: {told.verdict.headline}")
