"""What every command shares: quiet libraries, events shown as they come, errors as exit codes."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TextIO

import typer

from exporter.errors import ExportError, ParityError, TargetError
from exporter.memory import keep_pages
from exporter.quiet import quiet
from exporter.spec import ModelSpec

if TYPE_CHECKING:
    from exporter.events import Event
    from exporter.manifest import Manifest

    Judge = Callable[[Manifest], ExportError | None]

EXPECTED = (ExportError, typer.Exit, KeyboardInterrupt, SystemExit)
INTERRUPTED = 130  # 128 + SIGINT, as shells count


@dataclasses.dataclass(kw_only=True)
class Session:
    """One command's way of talking: where progress goes, and whether its document is out."""

    stream: TextIO
    as_json: bool
    silent: bool
    verbose: bool
    printed: bool = False

    def print_json(self, value: Any) -> None:
        """The one document on standard output; records become objects."""
        self.printed = True
        typer.echo(json.dumps(value, default=_plain, indent=2, sort_keys=True))

    def watch(self, events: Iterator[Event], *judges: Judge) -> Manifest:
        """Show events as they come, print the result, raise what the first judge objects to."""
        from exporter.manifest import to_json
        from exporter.ui import results
        from exporter.ui.tables import print_summary

        manifest, timings = self._follow(events)
        objections = [error for judge in judges if (error := judge(manifest)) is not None]
        if self.as_json:
            problem = described(objections[0]) if objections else {}
            self.print_json({"manifest": to_json(manifest), "seconds": timings, **problem})
        elif not self.silent:
            print_summary(results(), manifest)
        if objections:
            raise objections[0]
        return manifest

    def _follow(self, events: Iterator[Event]) -> tuple[Manifest, dict[str, Any]]:
        from exporter.events import ArtifactChecked, Finished, StageFinished, TargetFailed
        from exporter.ui.progress import Progress

        timings: dict[str, dict[str, float | None]] = {}
        manifest: Manifest | None = None
        with Progress(self.stream, quiet=self.as_json or self.silent) as progress:
            for event in events:
                progress.show(event)
                if self.verbose and isinstance(event, TargetFailed):
                    self.stream.write(event.trace)
                if isinstance(event, StageFinished):
                    timings[event.stage] = {"seconds": event.seconds}
                elif isinstance(event, ArtifactChecked):
                    seconds = {"emit": event.emit_seconds, "check": event.check_seconds}
                    timings[event.record.path] = seconds
                elif isinstance(event, Finished):
                    manifest = event.manifest
        assert manifest is not None, "a pipeline ends in Finished"
        return manifest, timings


@contextlib.contextmanager
def session(*, as_json: bool, verbose: bool, silent: bool = False) -> Iterator[Session]:
    """Silence libraries, and turn an ExportError into its line and exit code."""
    keep_pages()
    noise = contextlib.nullcontext(sys.stderr) if verbose else quiet(EXPECTED)
    printed = False
    try:
        with noise as stream:
            current = Session(stream=stream, as_json=as_json, silent=silent, verbose=verbose)
            try:
                yield current
            finally:
                printed = current.printed
    except ExportError as error:
        from exporter.ui import print_error

        if verbose:
            traceback.print_exc()
        if as_json and not printed:
            typer.echo(json.dumps(described(error)))
        print_error(sys.stderr, error.message, error.hint)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        typer.echo("interrupted: nothing was written", err=True)
        raise typer.Exit(INTERRUPTED) from None


def described(error: ExportError) -> dict[str, Any]:
    """What an error adds to the JSON document."""
    return {"error": error.message, "hint": error.hint, "exit_code": error.exit_code}


def drift(manifest: Manifest) -> ExportError | None:
    """An objection when an artifact or a pair drifted."""
    if not manifest.drifted:
        return None
    return ParityError(
        f"parity failed: {', '.join(manifest.drifted)}",
        "the table says where; do not ship these files",
    )


def failures(manifest: Manifest) -> ExportError | None:
    """An objection when a target wrote nothing."""
    if not manifest.failures:
        return None
    names = ", ".join(f"{f.target} {f.precision}: {f.error}" for f in manifest.failures)
    return TargetError(f"not built: {names}")


def _plain(value: Any) -> Any:
    if isinstance(value, ModelSpec):
        return value.to_json()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    raise TypeError(f"{type(value).__name__} has no JSON form")
