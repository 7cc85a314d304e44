"""The command line: parse, call, print. Only this module imports `targets`; none loads torch."""

from __future__ import annotations

import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from exporter.arguments import (
    ArithmeticOption,
    Batch,
    Build,
    CheckpointPath,
    Contract,
    Deployment,
    Files,
    FitOption,
    Format,
    Io,
    Json,
    LabeledImages,
    LabelsFile,
    Limit,
    LoweringOption,
    Out,
    Package,
    Photos,
    Precisions,
    Qat,
    Quiet,
    Resolution,
    Save,
    Softmax,
    Top,
    Verbose,
)
from exporter.errors import ALL_ERRORS, ExportError
from exporter.session import described, drift, failures, session
from exporter.spec import PaddingStyle, Precision
from exporter.target import (
    Arithmetic,
    DeploymentTarget,
    ExportOptions,
    IosFormat,
    IoType,
    Lowering,
    Target,
)
from exporter.training_commands import EPILOG, train
from targets import TARGETS, TargetName, get

if TYPE_CHECKING:
    from exporter.pipeline import Job

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

Targets = Annotated[
    list[TargetName] | None,
    typer.Option("--target", "-t", help="Repeat for several; default: all.", show_default=False),
]


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


@app.command()
def build(
    checkpoint: CheckpointPath = None,
    target: Targets = None,
    precision: Precisions = None,
    out: Out = Path("build"),
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
    as_json: Json = False,
    silent: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Build artifacts for every target and prove that each is the same model."""
    with session(as_json=as_json, verbose=verbose, silent=silent) as current:
        from exporter.checkpoints import Overrides
        from exporter.options import (
            check_ownership,
            read_batch,
            read_labels,
            read_preprocess,
        )
        from exporter.pipeline import BuildRequest
        from exporter.pipeline import build as run_build
        from exporter.quantize.settings import QatSettings
        from exporter.reference import Request

        options = ExportOptions(
            lowering=lowering,
            io=io,
            softmax=softmax,
            format=ios_format,
            deployment_target=deployment_target,
            batch=read_batch(batch),
        )
        jobs = _jobs(target, precision or [Precision.INT8], current.stream)
        check_ownership(options, [job[0].info.name for job in jobs])
        request = BuildRequest(
            request=Request(
                checkpoint=checkpoint,
                overrides=Overrides(
                    resolution=resolution,
                    labels=read_labels(labels) if labels else None,
                    preprocess=read_preprocess(preprocess) if preprocess else None,
                ),
                calibration=tuple(calibration or ()),
                qat=QatSettings() if qat else None,
            ),
            jobs=jobs,
            options=options,
            out=out,
            command=_command_line(),
        )
        current.watch(run_build(request), drift, failures)
        if not (as_json or silent):
            typer.echo(f"Wrote {out}. Prove it again: mnv2-export verify {out}")


@app.command()
def verify(
    directory: Annotated[Path, typer.Argument(help="What `build` wrote.")],
    as_json: Json = False,
    silent: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Re-run parity on what is on disk; the exit code tells."""
    with session(as_json=as_json, verbose=verbose, silent=silent) as current:
        from exporter.verify import verify as run_verify

        current.watch(run_verify(directory, _all_targets()), drift)


@app.command()
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

            found = run_inspect(artifact, _all_targets())
            counted = None if found.spec is None else costs(found.spec)
        if as_json:
            current.print_json({"inspection": found, "costs": counted})
        else:
            print_inspection(results(), found, counted)


@app.command()
def predict(
    artifact: Annotated[Path, typer.Argument(help="A file that `build` wrote.")],
    images: Annotated[list[Path], typer.Argument(help="Image files.")],
    top: Top = 5,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Classify images with any artifact that runs on this machine."""
    with session(as_json=as_json, verbose=verbose) as current:
        from exporter.ui import results
        from exporter.ui.progress import busy
        from exporter.ui.tables import print_predictions

        with busy(current.stream, f"loading {artifact.name}"):
            from exporter.inspection import predict as run_predict

            predictions = run_predict(artifact, images, _all_targets(), top)
        if as_json:
            current.print_json(predictions)
        else:
            print_predictions(results(), predictions)


@app.command()
def evaluate(
    path: Build,
    data: LabeledImages,
    limit: Limit = None,
    as_json: Json = False,
    silent: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Count how often every artifact that runs here is right, and compare it with float."""
    with session(as_json=as_json, verbose=verbose, silent=silent) as current:
        from exporter.ui import results
        from exporter.ui.progress import busy

        with busy(current.stream, f"loading {path.name}"):
            from exporter.accuracy import evaluate as run_evaluate
            from exporter.accuracy import objection
            from exporter.ui.accuracy import follow, print_accuracy

        events = run_evaluate(path, data, _all_targets(), limit)
        found = follow(current.stream, events, quiet=as_json or silent)
        problem = objection(found)
        if as_json:
            current.print_json({"evaluation": found, **(described(problem) if problem else {})})
        elif not silent:
            print_accuracy(results(), found)
        if problem is not None:
            raise problem


@app.command()
def coreml_run(
    package: Package,
    inputs: Files,
    fit: FitOption = None,
    arithmetic: ArithmeticOption = Arithmetic.DECLARED,
    top: Top = 5,
    save: Save = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Run any simple Core ML package on this machine: images or arrays in, its outputs out."""
    with session(as_json=as_json, verbose=verbose) as current:
        from exporter.ui import results
        from exporter.ui.evaluation import print_evaluation
        from exporter.ui.progress import busy

        with busy(current.stream, f"running {package.name}"):
            from exporter.evaluation import evaluate as run_evaluate
            from targets.mil.standalone import open_model

            model = open_model(package, arithmetic)
            found = run_evaluate(model, inputs, fit, top, save)
        if as_json:
            current.print_json(found)
        else:
            print_evaluation(results(), found)


app.command(epilog=EPILOG)(train)


@app.command()
def targets(as_json: Json = False, verbose: Verbose = False) -> None:
    """List the targets: format, precision, where they run, what they need."""
    with session(as_json=as_json, verbose=verbose) as current:
        from exporter.ui import results
        from exporter.ui.tables import print_targets

        rows = [(TARGETS[name], _missing(name)) for name in TargetName]
        if as_json:
            current.print_json([{"info": info, "missing": missing} for info, missing in rows])
        else:
            print_targets(results(), rows)


@app.command()
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


def _jobs(
    named: list[TargetName] | None, precisions: list[Precision], stream: TextIO
) -> tuple[Job, ...]:
    """Named targets must do all that is asked; unnamed ones do what they can, if installed."""
    from exporter.pipeline import jobs_for, offered_jobs

    precisions = list(dict.fromkeys(precisions))
    if named:
        return jobs_for([get(name) for name in dict.fromkeys(named)], precisions)
    missing = {name: _missing(name) for name in TargetName}
    for name, cure in missing.items():
        if cure:
            stream.write(f"left out {name}: {cure}\n")
    return offered_jobs([get(n) for n in TargetName if not missing[n]], precisions)


def _all_targets() -> dict[str, Target]:
    return {str(name): get(name) for name in TargetName}


def _missing(name: TargetName) -> str:
    """What a target needs that is not installed here, or nothing."""
    try:
        get(name).backend.check()
    except ExportError as error:
        return error.hint or error.message
    return ""


def _command_line() -> str:
    """The command as typed, with this program's name and not its path."""
    return shlex.join(["mnv2-export", *sys.argv[1:]])
