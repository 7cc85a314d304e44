"""`profile` on the command line: how long every artifact takes, here, on a phone or on Apple's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from exporter.arguments import Json, Quiet, Verbose
from exporter.known_targets import all_targets
from exporter.session import described, session

if TYPE_CHECKING:
    from exporter.devices.request import ProfileRequest, Tell
    from exporter.latency.records import DeviceProfile

DEVICES = "host, adb[:SERIAL], apple[:NAME]"


def profile(
    build: Annotated[Path, typer.Argument(help="The directory that `build` wrote.")],
    device: Annotated[
        str, typer.Option("--device", help="host, adb[:SERIAL] or apple[:NAME].")
    ] = "host",
    threads: Annotated[int, typer.Option(min=1, help="That an artifact computes with.")] = 1,
    iterations: Annotated[int, typer.Option(min=1, help="Timed, of each artifact.")] = 50,
    warmup: Annotated[
        int, typer.Option(min=0, help="Run before them, after the first inference.")
    ] = 5,
    artifact: Annotated[
        list[str] | None,
        typer.Option(
            "--artifact",
            "-a",
            help="File name; repeat for several; default: every one.",
            show_default=False,
        ),
    ] = None,
    layers: Annotated[
        bool,
        typer.Option("--layers/--no-layers", help="Times of layers too, in runs of their own."),
    ] = True,
    runner: Annotated[
        Path | None,
        typer.Option(help="adb: your own runner, an executable or a bundle.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="JSON file; default: in the build directory's profiles/.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
    silent: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Time every artifact on a device: load, first and steady inferences, memory, layers."""
    with session(as_json=as_json, verbose=verbose, silent=silent) as current:
        from exporter.devices.request import ProfileRequest
        from exporter.devices.result import check_out, objection, place_of
        from exporter.latency.records import Settings, to_json, write_profile
        from exporter.ui import results
        from exporter.ui.profile import print_profile, telling

        request = ProfileRequest(
            build=build,
            artifacts=tuple(artifact or ()),
            settings=Settings(threads=threads, iterations=iterations, warmup=warmup, layers=layers),
            runner=runner,
        )
        check_out(out, build)
        with telling(current.stream, quiet=as_json or silent) as tell:
            found = _measure(device, request, tell)
        path = out or place_of(found, build)
        write_profile(found, path)
        problem = objection(found)
        if as_json:
            current.print_json({**to_json(found), **(described(problem) if problem else {})})
        elif not silent:
            print_profile(results(), found, path)
        if problem is not None:
            raise problem


def host_worker() -> None:
    """One artifact in a process of its own, asked in JSON lines; started by `profile`."""
    from exporter.devices.host_worker import serve
    from exporter.quiet import silence_environment

    silence_environment()
    serve(all_targets())


def _measure(device: str, request: ProfileRequest, tell: Tell) -> DeviceProfile:
    """By whichever module reaches the device; only that one is loaded."""
    from exporter.errors import UnsupportedError

    kind, _, name = device.partition(":")
    if request.runner is not None and kind in ("host", "apple"):
        raise UnsupportedError("--runner is for --device adb", "leave it out")
    if kind == "host" and not name:
        from exporter.devices import host

        return host.profile(request, all_targets(), tell)
    if kind == "adb":
        from exporter.devices import adb
        from exporter.devices.result import with_delegations

        found = adb.profile(request, name or None, tell)
        return with_delegations(found, request.build, all_targets())
    if kind == "apple":
        from exporter.devices import apple

        return apple.profile(request, name, tell)
    raise UnsupportedError(f"--device {device}: there is no such device", f"choose from {DEVICES}")
