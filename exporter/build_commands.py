"""`build`, `verify` and `inspect` on the command line: artifacts made, proved and looked into."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from exporter.arguments import (
    Batch,
    CheckpointPath,
    Contract,
    DemoTask,
    Deployment,
    Format,
    Io,
    Json,
    LabelsFile,
    LoweringOption,
    NmsOption,
    Out,
    OutputsOption,
    Photos,
    Precisions,
    Qat,
    Quiet,
    Resolution,
    Softmax,
    Verbose,
)
from exporter.known_targets import Targets, all_targets, jobs
from exporter.outputs import NmsMode
from exporter.session import drift, failures, session
from exporter.spec import Precision
from exporter.target import DeploymentTarget, ExportOptions, IosFormat, IoType, Lowering

if TYPE_CHECKING:
    from exporter.quantize.settings import QatSettings

Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        "-j",
        min=1,
        help="Processes that make artifacts; default: 1 (this one), 2 from four cores on.",
        show_default=False,
    ),
]
UseCache = Annotated[
    bool,
    typer.Option(
        "--cache",
        help="Take what is unchanged from the cache, with the proof of when it was made.",
    ),
]


def build(
    checkpoint: CheckpointPath = None,
    target: Targets = None,
    precision: Precisions = None,
    out: Out = Path("build"),
    demo: DemoTask = None,
    outputs: OutputsOption = None,
    nms: NmsOption = NmsMode.NONE,
    calibration: Photos = None,
    qat: Qat = False,
    labels: LabelsFile = None,
    resolution: Resolution = None,
    preprocess: Contract = None,
    lowering: LoweringOption = Lowering.DIRECT,
    io: Io = IoType.FLOAT32,
    softmax: Softmax = False,
    ios_format: Format = IosFormat.MLPACKAGE,
    deployment_target: Deployment = DeploymentTarget.IOS17,
    batch: Batch = "1",
    workers: Jobs = None,
    cache: UseCache = False,
    as_json: Json = False,
    silent: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Build artifacts for every target and prove that each is the same model."""
    with session(as_json=as_json, verbose=verbose, silent=silent) as current:
        from exporter.cache.builds import NOTE_START
        from exporter.cache.store import Store
        from exporter.checkpoints import Overrides
        from exporter.options import (
            check_ownership,
            choose_demo,
            read_batch,
            read_labels,
            read_preprocess,
        )
        from exporter.pipeline import BuildRequest
        from exporter.pipeline import build as run_build
        from exporter.request import Request
        from exporter.workers import default_workers

        options = ExportOptions(
            lowering=lowering,
            io=io,
            softmax=softmax,
            format=ios_format,
            deployment_target=deployment_target,
            batch=read_batch(batch),
        )
        chosen = jobs(target, precision or [Precision.INT8], current.stream, nms)
        check_ownership(options, [job[0].info.name for job in chosen])
        request = BuildRequest(
            request=Request(
                checkpoint=checkpoint,
                overrides=Overrides(
                    resolution=resolution,
                    labels=read_labels(labels) if labels else None,
                    preprocess=read_preprocess(preprocess) if preprocess else None,
                ),
                calibration=tuple(calibration or ()),
                demo=choose_demo(demo, checkpoint),
                outputs=outputs,
                nms=nms,
                qat=_training() if qat else None,
            ),
            jobs=chosen,
            options=options,
            out=out,
            command=_command_line(),
            workers=workers or default_workers(),
            cache=Store() if cache else None,
        )
        manifest = current.watch(run_build(request), drift, failures)
        if not (as_json or silent):
            kept = sum(NOTE_START in " ".join(a.notes) for a in manifest.artifacts)
            told = f" ({kept} of {len(manifest.artifacts)} artifacts from the cache)" * (kept > 0)
            typer.echo(f"Wrote {out}{told}. Prove it again: mnv2-export verify {out}")


def verify(
    directory: Annotated[Path, typer.Argument(help="What `build` wrote.")],
    as_json: Json = False,
    silent: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Re-run parity on what is on disk; the exit code tells."""
    with session(as_json=as_json, verbose=verbose, silent=silent) as current:
        from exporter.verify import verify as run_verify

        current.watch(run_verify(directory, all_targets()), drift)


def inspect(
    artifact: Annotated[Path, typer.Argument(help="A file that `build` wrote.")],
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Show what is inside: I/O, operations, delegation, size by layer, preprocessing, labels."""
    with session(as_json=as_json, verbose=verbose) as current:
        from exporter.ui import results
        from exporter.ui.progress import busy
        from exporter.ui.tables import print_inspection

        with busy(current.stream, f"reading {artifact.name}"):
            from exporter.costs import costs
            from exporter.inspection import inspect as run_inspect

            found = run_inspect(artifact, all_targets())
            counted = None if found.spec is None else costs(found.spec)
        if as_json:
            current.print_json({"inspection": found, "costs": counted})
        else:
            print_inspection(results(), found, counted)


def _training() -> QatSettings:
    from exporter.quantize.settings import QatSettings

    return QatSettings()


def _command_line() -> str:
    """The command as typed, with this program's name and not its path."""
    return shlex.join(["mnv2-export", *sys.argv[1:]])
