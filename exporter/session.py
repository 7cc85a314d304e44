"""What every command shares: quiet libraries, events shown as they come, errors as exit codes."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
import traceback
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TextIO

import typer

from exporter.errors import ExportError, ParityError, TargetError
from exporter.quiet import quiet
from exporter.spec import ModelSpec

if TYPE_CHECKING:
    from exporter.events import Event
    from exporter.manifest import Manifest


@contextlib.contextmanager
def session(*, as_json: bool, verbose: bool) -> Iterator[TextIO]:
    """Silence libraries, and turn an ExportError into its line and exit code."""
    noise = contextlib.nullcontext(sys.stderr) if verbose else quiet((ExportError, typer.Exit))
    try:
        with noise as stream:
            yield stream
    except ExportError as error:
        from exporter.ui import print_error

        if verbose:
            traceback.print_exc()
        if as_json:
            problem = {"error": error.message, "hint": error.hint, "exit_code": error.exit_code}
            typer.echo(json.dumps(problem))
        print_error(sys.stderr, error.message, error.hint)
        raise typer.Exit(error.exit_code) from None


def watch(
    events: Iterator[Event], stream: TextIO, *, as_json: bool, silent: bool, verbose: bool
) -> Manifest:
    """Show events as they come; prints the result and returns its manifest."""
    from exporter.events import ArtifactChecked, Finished, StageFinished, TargetFailed
    from exporter.manifest import to_json
    from exporter.ui import results
    from exporter.ui.progress import Progress
    from exporter.ui.tables import print_summary

    timings: dict[str, dict[str, float | None]] = {}
    manifest: Manifest | None = None
    with Progress(stream, quiet=as_json or silent) as progress:
        for event in events:
            progress.show(event)
            if verbose and isinstance(event, TargetFailed):
                stream.write(event.trace)
            if isinstance(event, StageFinished):
                timings[event.stage] = {"seconds": event.seconds}
            elif isinstance(event, ArtifactChecked):
                seconds = {"emit": event.emit_seconds, "check": event.check_seconds}
                timings[event.record.path] = seconds
            elif isinstance(event, Finished):
                manifest = event.manifest
    assert manifest is not None, "a pipeline ends in Finished"
    if as_json:
        print_json({"manifest": to_json(manifest), "seconds": timings})
    elif not silent:
        print_summary(results(), manifest)
    return manifest


def judge_parity(manifest: Manifest) -> None:
    """Raise when an artifact or a pair drifted."""
    if manifest.drifted:
        raise ParityError(
            f"parity failed: {', '.join(manifest.drifted)}",
            "the table says where; do not ship these files",
        )


def judge_failures(manifest: Manifest) -> None:
    """Raise when a target wrote nothing."""
    if manifest.failures:
        names = ", ".join(f"{f.target} {f.precision}: {f.error}" for f in manifest.failures)
        raise TargetError(f"not built: {names}")


def print_json(value: Any) -> None:
    """One document on standard output; records become objects."""
    typer.echo(json.dumps(value, default=_plain, indent=2, sort_keys=True))


def _plain(value: Any) -> Any:
    if isinstance(value, ModelSpec):
        return value.to_json()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    raise TypeError(f"{type(value).__name__} has no JSON form")
