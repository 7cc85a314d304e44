"""The command line: the app, its exit codes and its commands, which live in modules by theme.

Nothing here loads torch or numpy, so that `--help` answers at once.
"""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import typer

from exporter.build_commands import build, inspect, verify
from exporter.cache_commands import cache
from exporter.compare_commands import compare
from exporter.errors import ALL_ERRORS
from exporter.listing_commands import describe, targets
from exporter.profile_commands import host_worker, profile
from exporter.report_commands import report
from exporter.run_commands import coreml_run, evaluate, predict
from exporter.sample_commands import sample
from exporter.sweep_commands import sweep
from exporter.training_commands import EPILOG, qat, train

MEANINGS = {0: "done", 2: "usage", **{error.exit_code: error.meaning for error in ALL_ERRORS}}
EXIT_CODES = "Exit codes:\n\n" + "\n\n".join(f"{c} {MEANINGS[c]}" for c in sorted(MEANINGS))
TERMINATED = 128 + signal.SIGTERM  # as shells count
app = typer.Typer(
    name="mnv2-export",
    help="Put a MobileNetV2 on phones and prove that it is still the same model.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Entry point of the `mnv2-export` command."""
    # A job that is cancelled unwinds like one that fails, so it leaves no temporary folder.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    app()


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"mnv2-export {version('mnv2-export')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    del version


# In the order of `--help`.
app.command()(build)
app.command()(verify)
app.command()(inspect)
app.command()(predict)
app.command()(evaluate)
app.command()(coreml_run)
app.command()(profile)
app.command()(compare)
app.command()(report)
app.command()(sample)
app.command(epilog=EPILOG)(train)
app.command(epilog=EPILOG)(qat)
app.command()(sweep)
app.command()(cache)
app.command()(targets)
app.command()(describe)
app.command(hidden=True)(host_worker)
